"""The kinds of studies, by what a config calls them."""

from jaxmu import data, models
from jaxmu.data import forget_list, listed_request, own_dataset
from jaxmu.errors import StoreError
from jaxmu.models import own_network
from jaxmu.settings import Catalog
from jaxmu.store import Run, given_weights, tuned
from jaxmu.studies import scores
from jaxmu.studies.benchmark import BENCHMARK
from jaxmu.studies.search import SEARCH
from jaxmu.studies.study import Study
from jaxmu.studies.ulira import ULIRA
from jaxmu.training import own_recipe
from jaxmu.unlearning import METHODS, get

STUDIES: dict[str, Study] = {"benchmark": BENCHMARK, "ulira": ULIRA, "search": SEARCH}


def catalog() -> Catalog:
  """Name what a config may ask for."""
  return Catalog(
    datasets=data.DATASETS,
    models=models.MODELS,
    methods={name: method.hyper for name, method in METHODS.items()},
    studies=tuple(STUDIES),
    forget_sha256=forget_list.identify,
    scores_sha256=scores.identify,
    listed_sha256=listed_request.identify,
    names_forget=forget_list.has_own,
    tuned=tuned.read,
    weights_sha256=given_weights.sha256,
    own={
      "methods": get,
      "models": own_network.read,
      "datasets": own_dataset.read,
      "optimizers": own_recipe.read_optimizer,
      "losses": lambda reference: own_recipe.function(reference, "loss"),
      "augmentations": lambda reference: own_recipe.function(reference, "augmentation"),
    },
  )


def study_of(run: Run) -> Study:
  """Return the kind of study that a run is of; StoreError where its config names none."""
  name = run.config.get("study")
  if name not in STUDIES:
    raise StoreError(f"{run.path} is of study {name!r}; known: {', '.join(STUDIES)}")
  return STUDIES[name]
