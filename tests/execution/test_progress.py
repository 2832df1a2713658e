"""Progress of one unit: a bar on a terminal, a plain line now and then elsewhere."""

import io

import numpy as np

from jaxmu.execution.observations import Leg
from jaxmu.execution.progress import INTERVAL, Progress
from jaxmu.training import EpochMetrics


def leg(epoch=0, epochs=2, accuracy=0.75):
  shape = (2, 3)
  metrics = EpochMetrics(np.full(shape, 0.5), np.full(shape, accuracy), np.full(shape, 0.1))
  return Leg("train", 0, epoch, epochs, 3, metrics, 600, 1.0, dict)


class Terminal(io.StringIO):
  def isatty(self):
    return True


def test_on_a_terminal_it_is_a_bar_with_the_facts():
  stream = Terminal()
  progress = Progress("original", 2, stream=stream)
  progress.leg(leg())
  progress.leg(leg(1))
  progress.close()
  said = stream.getvalue()
  for part in ("original (2 members)", "2/2", "step 6", "images/s", "accuracy 0.750"):
    assert part in said


def test_a_phase_of_another_length_begins_another_bar():
  stream = Terminal()
  progress = Progress("kde", 2, stream=stream)
  progress.leg(leg(1, epochs=2))
  progress.leg(leg(0, epochs=7))
  progress.close()
  assert "2/2" in stream.getvalue() and "1/7" in stream.getvalue()


def test_elsewhere_it_is_a_line_now_and_then():
  stream = io.StringIO()
  progress = Progress("ft", 2, stream=stream)
  progress.leg(leg())
  assert stream.getvalue() == ""  # not every epoch
  progress.said -= INTERVAL + 1
  progress.leg(leg(1))
  (line,) = stream.getvalue().splitlines()
  assert line.startswith("ft: train: epoch 2/2, step 6, 2 members, ")
  assert line.endswith("accuracy 0.750, 0 s left")


def test_time_left_goes_by_the_epochs_that_are_done():
  stream = io.StringIO()
  progress = Progress("ft", 6, stream=stream)
  progress.said -= INTERVAL + 1
  progress.started -= 100
  progress.leg(leg(0, epochs=4))
  (line,) = stream.getvalue().splitlines()
  assert "epoch 1/4" in line and line.endswith(("300 s left", "301 s left", "302 s left"))


def test_members_at_rest_do_not_count():
  stream = io.StringIO()
  progress = Progress("ft", 2, stream=stream)
  progress.said -= 2 * INTERVAL + 1
  progress.leg(leg(accuracy=np.array([[0.5] * 3, [np.nan] * 3])))
  progress.said -= INTERVAL + 1
  progress.leg(leg(accuracy=np.nan))
  first, second = stream.getvalue().splitlines()
  assert "accuracy 0.500" in first and "accuracy 0.000" in second
