"""The sections of a config that one kind of study reads: shadow models, and a search."""

from typing import Annotated

from pydantic.dataclasses import dataclass

from jaxmu.settings.choices import (
  ENDS,
  FITS,
  HIGHEST,
  RANDOM,
  REQUESTS,
  SAMPLERS,
  SEARCH_RANGES,
  VARIANCES,
)
from jaxmu.settings.entries import Entry
from jaxmu.settings.ranges import (
  CANDIDATES,
  DRAWS,
  FORGET_SETS,
  NOT_NEGATIVE,
  POSITIONS,
  ROUNDS,
  SEARCHED_SPLITS,
  SHADOW_SPLITS,
  SHARE,
  TRIALS,
  UNIT,
)
from jaxmu.settings.readers import file_path, further_seeds, sha256, shares, words
from jaxmu.settings.sections import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScenarioSettings:
  """Who is to be forgotten ([scenarios](scenarios.md)).

  Benchmarks read all of it, searches on seeds all but several forget sets and rounds, studies of
  shadow models `classes` and `groups` with their `share`.
  """

  forget: Annotated[
    str,
    Entry(
      "rule by which forgotten samples are chosen: `random` (a share, the paper's), `classes`, "
      "`groups` (users, persons), `ranked` (the most or the least exposed), or `listed` (a file)",
      choices=REQUESTS,
    ),
  ] = RANDOM
  classes: Annotated[
    str,
    Entry(
      "of rule `classes`: which, by number or name, apart by commas: `3`, `0,2`, `cat,dog`; `each` "
      "forgets one class after the other, a draw each",
      read=words,
    ),
  ] = ""
  groups: Annotated[
    int, Entry("of rule `groups`: how many are forgotten, drawn at random", within=POSITIONS)
  ] = 0
  share: Annotated[
    float,
    Entry("share of the samples that a rule finds; 0.5 forgets half of a class", within=SHARE),
  ] = 1.0
  draws: Annotated[
    int,
    Entry("independent forget sets of each seed; they share its original model", within=DRAWS),
  ] = 1
  rounds: Annotated[
    int,
    Entry(
      "parts into which a forget set is cut at random, to be forgotten one after the other: each "
      "method goes on from its own model of the round before",
      within=ROUNDS,
    ),
  ] = 1
  retain_share: Annotated[
    float,
    Entry(
      "share of the retain set that methods may read, drawn at random, whatever the rule; 0 hides "
      "it. Original and retrained models read all of it, and all of it is measured",
      within=UNIT,
    ),
  ] = 1.0
  scores: Annotated[
    str,
    Entry(
      "of rule `ranked`: a `.npy` file with a number for each sample, or the run directory of a "
      "U-LiRA study of the same data (accuracy of its attack on the original models)",
      read=file_path,
      incidental=True,
    ),
  ] = ""
  scores_sha256: Annotated[
    str,
    Entry(
      "SHA-256 of these numbers: found when a config is read. Where it is given, others are "
      "refused",
      read=sha256,
    ),
  ] = ""
  take: Annotated[
    str,
    Entry("of rule `ranked`: samples with the `highest` or the `lowest` numbers", choices=ENDS),
  ] = HIGHEST
  path: Annotated[
    str,
    Entry(
      "of rule `listed`: a `.npz` file of positions, `forget` and perhaps `control` "
      "([format](scenarios.md#a-list-of-ones-own))",
      read=file_path,
      incidental=True,
    ),
  ] = ""
  path_sha256: Annotated[
    str,
    Entry(
      "SHA-256 of these positions: found when a config is read. Where it is given, a file of "
      "others is refused",
      read=sha256,
    ),
  ] = ""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SearchSettings:
  """Hyper-parameter search (spec evaluation 6), read where `study` is "search".

  `seeds` are then the seeds of the searches. What makes a search longer is incidental: it goes on.
  """

  trials: Annotated[
    int,
    Entry(
      "trials of each method on each seed; this section is read where `study` is `search` only",
      within=TRIALS,
      incidental=True,
    ),
  ] = 100
  sampler: Annotated[
    str,
    Entry(
      "`nsga3` (the reference's), `tpe` (minimises the one number by which configurations are "
      "chosen), `random`, or `fixed`: one trial of what `unlearning` says",
      choices=SAMPLERS,
    ),
  ] = "nsga3"
  batch: Annotated[
    int,
    Entry(
      "trials that are drawn together before their results are looked at; a generation of `nsga3`",
      within=TRIALS,
    ),
  ] = 50
  ranges: Annotated[
    str,
    Entry(
      "what is drawn from: the `reference`'s ranges, or `amended` ones ([why](search.md#ranges))",
      choices=SEARCH_RANGES,
    ),
  ] = "amended"
  start: Annotated[
    str,
    Entry(
      "what other searches chose, tried before anything is drawn: a cell that is shipped "
      "(`digits_cnn`) or a run directory, as for `tuned`. Empty: nothing",
      read=file_path,
    ),
  ] = ""
  rungs: Annotated[
    tuple[float, ...],
    Entry(
      "shares of the most epochs that a trial may have, such as `0.25,0.5`: there trials are "
      "looked at, and only the better ones go on ([successive halving](search.md#halving)). Empty: "
      "all run to their end, as the reference's do",
      read=shares,
    ),
  ] = ()
  keep: Annotated[
    float, Entry("share of a seed's trials that go on at each of `rungs`", within=SHARE)
  ] = 0.5
  hopeless: Annotated[
    float,
    Entry(
      "S above which a trial does not go on at one of `rungs`, however the others are; 0: none",
      within=NOT_NEGATIVE,
    ),
  ] = 0.0
  splits: Annotated[
    int,
    Entry(
      "search on that many splits of [shadow models](shadow_models.md), on the first forget set of "
      "each, and not on `seeds`; 0: on `seeds`",
      within=SEARCHED_SPLITS,
      incidental=True,
    ),
  ] = 0
  robust: Annotated[
    int,
    Entry(
      "best trials of each seed's search that are run on all seeds, for the rule that chooses by "
      "the mean; 0: none",
      within=CANDIDATES,
      incidental=True,
    ),
  ] = 5
  robust_seeds: Annotated[
    tuple[int, ...],
    Entry(
      "further seeds on which these run as well; none of `seeds`",
      read=further_seeds,
      incidental=True,
    ),
  ] = ()
  check_seeds: Annotated[
    tuple[int, ...],
    Entry(
      "seeds on which the configurations chosen, and those that `unlearning` gives, are compared; "
      "none of `seeds` and `robust_seeds`. Empty: no comparison",
      read=further_seeds,
      incidental=True,
    ),
  ] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UliraSettings:
  """Shadow models (spec evaluation 9), read where `study` is "ulira".

  What makes a study larger, and its attacker, are incidental: a study grows in its place.
  """

  splits: Annotated[
    int,
    Entry(
      "random halves of the pool; this section is read where `study` is `ulira` only",
      within=SHADOW_SPLITS,
      incidental=True,
    ),
  ] = 64
  forgets: Annotated[
    int, Entry("forget sets in each half", within=FORGET_SETS, incidental=True)
  ] = 10
  pool: Annotated[
    int,
    Entry(
      "samples that are attacked, the first of the pool's random order; 0 takes all, 95 % of the "
      "training part",
      within=POSITIONS,
    ),
  ] = 0
  share_original: Annotated[
    bool, Entry("one original model per split, not one per forget set as in the paper")
  ] = True
  fit: Annotated[
    str,
    Entry(
      "the attacker's Gaussians: `normal` (mean, standard deviation), `robust` (median, MAD), "
      "`median` (median, standard deviation)",
      choices=FITS,
      incidental=True,
    ),
  ] = "normal"
  variance: Annotated[
    str,
    Entry(
      "of the attacker's Gaussians: `sample` (each sample has its own for each side), `scaled` "
      "(each sample has its own among models that never saw it, times one ratio for all samples "
      "where it was forgotten), `fixed` (one for all), or `auto`: scaled below 16 forgetting "
      "models per sample",
      choices=("auto", *VARIANCES),
      incidental=True,
    ),
  ] = "auto"
