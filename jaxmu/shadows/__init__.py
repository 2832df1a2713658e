"""U-LiRA studies: populations of shadow models, their scores, and the attacks that read them."""

from jaxmu.shadows.driver import study
from jaxmu.shadows.plan import plan

__all__ = ["plan", "study"]
