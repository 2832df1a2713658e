"""The data and the splits that settings ask for."""

from typing import NamedTuple

from jaxmu.data import forget_list, listed_request, requests, rounds, validation_control
from jaxmu.data.arrays import Dataset
from jaxmu.data.datasets import load
from jaxmu.data.listed_request import Listed, ListedRequest
from jaxmu.data.requests import Facts
from jaxmu.data.splits import Split, fixed_split, listed_split, redrawn_split
from jaxmu.data.transforms import randomise_labels, subset
from jaxmu.errors import DataError
from jaxmu.settings import Settings


def load_for(settings: Settings) -> Dataset:
  """Read the data, take the subset, and randomise labels as asked."""
  chosen = settings.data
  dataset = load(settings.dataset, data_dir=settings.data_dir or None, path=chosen.path or None)
  if chosen.subset_train or chosen.subset_test:
    dataset = subset(dataset, chosen.subset_train, chosen.subset_test)
  if chosen.random_labels:
    dataset = randomise_labels(dataset, chosen.random_labels, chosen.random_label_seed)
  return dataset


class Requested(NamedTuple):
  """A forget set of a seed.

  Attributes:
    draw: its number among those of the seed.
    whole: the split that forgets all of it at once.
    rounds: splits of what is forgotten one after the other; one, unless it comes in rounds.
  """

  seed: int
  draw: int
  whole: Split
  rounds: tuple[Split, ...]


def requests_for(settings: Settings, facts: Facts) -> list[Requested]:
  """Return every forget set of every seed, draw by draw; see `splits_for`."""
  asked, seed = settings.scenario, settings.data.split_seed
  facts = facts._replace(listed=_listed(settings, facts))
  known: dict[tuple[Split, int], tuple[Split, tuple[Split, ...]]] = {}
  found = []
  for own, base in zip(settings.seeds, _drawn(settings, facts)):
    for draw in range(requests.draws(asked, facts)):
      if (base, draw) not in known:
        whole = requests.apply(base, facts, asked, seed, draw)
        known[base, draw] = whole, rounds.divide(whole, asked.rounds, seed, draw)
      found.append(Requested(own, draw, *known[base, draw]))
  return found


def splits_for(settings: Settings, facts: Facts) -> list[Split]:
  """Split the data for every seed: once for all, or anew for each; the first draw and round.

  Args:
    facts: what is known of the samples; labels and groups only where a request reads them.

  Raises:
    DataError: a part would be empty; the data do not have what a request needs; a file of
      positions changed since the config was read, or its samples are not trained on.
  """
  return [one.rounds[0] for one in requests_for(settings, facts) if not one.draw]


def searched_splits_for(settings: Settings, facts: Facts) -> list[Split]:
  """Return the split of every seed with what a search compares with; see `splits_for`.

  Raises:
    DataError: too few groups for a validation control, and as `splits_for` does.
  """
  asked, seed = settings.scenario, settings.data.split_seed
  found = splits_for(settings, facts)
  known = {split: validation_control.add(split, facts, asked, seed) for split in set(found)}
  return [known[split] for split in found]


def _drawn(settings: Settings, facts: Facts) -> list[Split]:
  chosen, sizes = settings.data, (facts.num_train, len(facts.indices))
  if facts.listed is not None:
    return _around(settings, facts.listed, sizes)
  fractions = {"val_fraction": chosen.val_fraction, "forget_fraction": chosen.forget_fraction}
  if chosen.split_per_seed:
    draw = lambda seed: redrawn_split(*sizes, seed=chosen.split_seed + seed, **fractions)
    return [draw(seed) for seed in settings.seeds]
  return [fixed_split(*sizes, seed=chosen.split_seed, **fractions)] * len(settings.seeds)


def _listed(settings: Settings, facts: Facts) -> Listed | None:
  """Return the samples of the file `config.data.forget` or `config.scenario.path`, if any."""
  chosen, asked = settings.data, settings.scenario
  if chosen.forget:
    path, known = chosen.forget, chosen.forget_sha256
    found = ListedRequest(forget_list.read(path), None)
  elif asked.path:
    path, known, found = asked.path, asked.path_sha256, listed_request.read(asked.path)
  else:
    return None
  if found.sha256 != known:
    raise DataError(f"forget list {path} changed while it was in use; run the same command again")
  return found.rows(facts.indices, facts.num_train)


def _around(settings: Settings, listed: Listed, sizes: tuple[int, int]) -> list[Split]:
  """Return the splits that forget listed samples and keep their control apart."""
  chosen = settings.data
  draw = lambda seed: listed_split(
    listed.forget,
    *sizes,
    val_fraction=chosen.val_fraction,
    seed=chosen.split_seed + seed,
    control=listed.control,
  )
  if chosen.split_per_seed:
    return [draw(seed) for seed in settings.seeds]
  return [draw(0)] * len(settings.seeds)
