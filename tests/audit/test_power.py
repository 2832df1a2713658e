"""What sets of a size can see: known values, and what intervals do on simulated data."""

from pathlib import Path

import numpy as np
import pytest

from jaxmu.audit import audit, influence, power
from jaxmu.audit.intervals import two_way

ATTACKS = ("T_MIA", "T_AUC", "T_strongest", "T_margin", "T_histogram")


def studies(sizes, shift, count):
  """Audit models whose forget samples have `shift` more on the label's logit."""
  rng, (n, u) = np.random.default_rng(5), sizes
  for _ in range(count):
    logits = rng.normal(size=(n + u, 4))
    labels = rng.integers(0, 4, n + u)
    logits[np.arange(n), labels[:n]] += shift
    yield audit(
      logits=logits, labels=labels, forget=np.arange(n), unseen=np.arange(n, n + u)
    ).intervals.set_index("metric")


def test_two_hundred_samples_a_side_see_about_five_points():
  assert power.visible("T_margin", 200, 200) == pytest.approx(
    0.5 + 1.96 * 0.5 * 0.07**0.5 / 20**0.5, abs=1e-4
  )
  assert 0.55 < power.visible("T_strongest", 200, 200) < 0.56
  assert power.visible("T_AUC", 200, 200) == pytest.approx(
    0.5 + 1.96 * (401 / 480_000) ** 0.5, abs=1e-4
  )
  # Equally many are compared, so further unseen samples help the AUC alone.
  assert power.visible("T_margin", 200, 5000) == power.visible("T_margin", 200, 200)
  assert power.visible("T_AUC", 200, 5000) < power.visible("T_AUC", 200, 200)
  assert (
    power.visible("T_MIA", 6, 6) < 1 == power.visible("T_MIA", 1, 1) == power.visible("T_MIA", 0, 9)
  )


def test_the_page_has_these_values():
  page = Path(__file__).parents[2] / "docs" / "deletion_request.md"
  lines = page.read_text().split("<!-- power:begin -->\n")[1].split("<!-- power")[0].splitlines()
  head, _, visible, reliable = ([cell.strip() for cell in line.split("|")[2:-1]] for line in lines)
  values = lambda of: [f"{of('T_strongest', int(n), int(n)):.3f}" for n in head]
  assert (visible, reliable) == (values(power.visible), values(power.reliable))


@pytest.mark.parametrize("sizes", [(80, 80), (150, 400)])
def test_it_is_what_intervals_about_one_half_reach(sizes):
  found = list(studies(sizes, 0.0, 25))
  for name in ATTACKS:
    reach = np.mean([one.loc[name, "value"] - one.loc[name, "low"] for one in found])
    assert power.visible(name, *sizes) - 0.5 == pytest.approx(reach, rel=0.15), name


def test_what_is_reliable_is_seen_in_about_four_of_five():
  rng, n = np.random.default_rng(5), 100
  sets = np.arange(n), np.arange(n, 2 * n)  # unseen, forget
  found = []
  for _ in range(400):
    losses = np.concatenate([rng.normal(size=n), rng.normal(size=n) - 0.415])
    unseen, forget = losses[:n], losses[n:]
    value = (forget[:, None] < unseen).mean(keepdims=True)[0]
    found.append(two_way(value, influence.of_auc(losses, sets)[None]))
  assert np.mean([one.value for one in found]) == pytest.approx(
    power.reliable("T_AUC", n, n), abs=0.01
  )
  assert 0.72 < np.mean([one.low > 0.5 for one in found]) < 0.88
