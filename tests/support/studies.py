"""A U-LiRA study small enough to run whole in a test: synthetic 8x8 images, ten shadow models."""

from jaxmu.command import cli
from jaxmu.settings import Settings
from jaxmu.studies import catalog
from support import sweeps

CONFIG = str(sweeps.ROOT / "configs" / "ulira_digits.py")


def arguments(output_dir, *overrides, methods="ft", splits=5, forgets=2):
  """Return the command line of the tiny study; later overrides win."""
  return [
    f"--config={CONFIG}",
    "--config.dataset=synthetic",
    "--config.model.width=4",
    f"--config.methods={methods}",
    "--config.training.num_epochs=3",
    "--config.unlearning.ft.num_epochs=3",
    "--config.checkpoint_seconds=0",
    "--config.evaluation.bootstrap=50",
    f"--config.ulira.splits={splits}",
    f"--config.ulira.forgets={forgets}",
    f"--config.output_dir={output_dir}",
    *overrides,
  ]


def settings(*argv) -> Settings:
  """Return the settings of a command line."""
  return Settings.from_config(cli.parse(cli.parser("study"), argv).config, catalog())
