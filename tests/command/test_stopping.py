"""Being stopped: real processes, real signals."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support import signals

from jaxmu import stopping
from jaxmu.errors import Interrupted, SettingsError
from jaxmu.stopping import Stop

GO_ON = "; run the same command again to go on where it stopped\n"
PROGRAM = """
import hashlib, sys, time
from jaxmu.command import cli

def ready():
  print("ready", flush=True)
  time.sleep(0.05)

def compiled(seconds):
  "Like a compiled program: no bytecode runs, and other threads do."
  start = time.monotonic()
  hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000)
  rounds = int(200_000 * seconds / (time.monotonic() - start))
  ready()
  hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)

def main(args):
  stop = args.stop
{body}

sys.exit(cli.run(main, cli.parser("A program.", config=False), []))
"""
AT_ONCE = """
  ready()
  time.sleep(60)
"""
LEGS = """
  with stop.deferring():
    ready()
    for leg in range(1000):
      time.sleep(0.5)
      print("leg", stop.wanted, flush=True)
      stop.check()
"""
ONE_BLOCK = """
  with stop.deferring():
    ready()
    time.sleep(1.5)
    print("saved", flush=True)
  print("never")
"""
LONG_LEG = """
  with stop.deferring():
    compiled(60)
"""
ANYWHERE = """
  import threading
  from jaxmu import stopping
  def other():
    with stopping.uninterrupted():
      time.sleep(0.1)
  with stopping.uninterrupted():
    ready()
    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(1.5)
    thread.join()
    print("saved", flush=True)
  print("never")
"""
FAILS = """
  with stop.deferring():
    ready()
    time.sleep(1.5)
    raise ZeroDivisionError
"""
SWALLOWED = """
  try:
    ready()
    time.sleep(60)
  except BaseException:  # as in a destructor, where exceptions are dropped
    pass
  with stop.deferring():
    print("leg", flush=True)
    stop.check()
"""
DROPPED = """
  import weakref
  class Thing: pass
  def callback(reference):  # what is raised here is printed and dropped
    ready()
    time.sleep(1.5)
  thing = Thing()
  reference = weakref.ref(thing, callback)
  del thing
  for _ in range(600):
    time.sleep(0.1)
"""
DESTRUCTOR = """
  class Thing:
    def __del__(self):
      ready()
      time.sleep(1.5)
      print("whole", flush=True)
  Thing()
  for _ in range(600):
    time.sleep(0.1)
"""
MODULE = "import time; print('ready', flush=True); time.sleep(1.5); print('whole', flush=True)"
IMPORT = f"""
  import os, tempfile
  with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "slow_module.py"), "w") as file:
      file.write({MODULE!r})
    sys.path.append(folder)
    import slow_module
    time.sleep(60)
"""
SLOW_END = """
  import atexit
  atexit.register(time.sleep, 60)
  ready()
  time.sleep(60)
"""


class Program:
  """A started program; `send` waits until it is ready for signals."""

  def __init__(self, body, before=""):
    command = ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, "-c"]
    pipe, code = subprocess.PIPE, PROGRAM.format(body=body)
    command = signals.as_in_a_terminal([*command, code])
    self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert self.process.stdout.readline() == "ready\n"

  def send(self, number):
    self.process.send_signal(number)

  def end(self):
    """Return exit code, and what was printed to both streams."""
    out, err = self.process.communicate(timeout=30)
    return self.process.returncode, out, err


@pytest.mark.parametrize(
  ("number", "code", "name"),
  [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGHUP, 75, "SIGHUP"), (signal.SIGINT, 130, "Ctrl-C")],
)
def test_a_signal_ends_at_once_or_at_the_next_leg(number, code, name):
  plain, legs = Program(AT_ONCE), Program(LEGS)
  plain.send(number)
  legs.send(number)
  assert plain.end() == (code, "", f"stopped by {name}{GO_ON}")
  found, out, err = legs.end()
  assert (found, err) == (code, f"\n{stopping.LINE}\nstopped by {name}{GO_ON}")
  assert out.removesuffix("leg True\n").replace("leg False\n", "") == ""  # a busy machine is late


@pytest.mark.parametrize("body", [ONE_BLOCK, ANYWHERE], ids=["of its own", "of any room"])
def test_the_end_of_a_block_is_a_check(body):
  program = Program(body)
  program.send(signal.SIGTERM)
  code, out, err = program.end()
  assert (code, out) == (75, "saved\n") and err.endswith(f"stopped by SIGTERM{GO_ON}")


def test_an_error_of_the_block_is_not_hidden_by_a_signal():
  program = Program(FAILS)
  program.send(signal.SIGTERM)
  code, _, err = program.end()
  assert code == 1 and "ZeroDivisionError" in err


def test_a_signal_whose_exception_is_dropped_is_obeyed_at_the_next_leg():
  program = Program(SWALLOWED)
  program.send(signal.SIGTERM)
  assert program.end() == (75, "leg\n", f"stopped by SIGTERM{GO_ON}")


@pytest.mark.parametrize("body", [IMPORT, DESTRUCTOR], ids=["import", "destructor"])
def test_imports_and_destructors_come_to_their_end(body):
  """An exception in the midst of a compiled module's import crashes Python."""
  program = Program(body)
  program.send(signal.SIGTERM)
  assert program.end() == (75, "whole\n", f"stopped by SIGTERM{GO_ON}")


def test_an_exception_that_was_dropped_is_raised_again():
  program = Program(DROPPED)
  program.send(signal.SIGTERM)
  code, _, err = program.end()
  assert code == 75 and err.startswith("Exception ignored in")
  assert err.endswith(f"stopped by SIGTERM{GO_ON}")


def test_inside_a_compiled_program_the_first_is_answered_and_the_second_ends_it():
  program = Program(LONG_LEG)
  program.send(signal.SIGTERM)
  assert program.process.stderr.readline() + program.process.stderr.readline() == (
    f"\n{stopping.LINE}\n"
  )
  time.sleep(2 * stopping.SAME)
  program.send(signal.SIGINT)
  assert program.end() == (128 + signal.SIGINT, "", "")


def test_the_same_request_twice_counts_once():
  """To a process and to its group, as some schedulers send it."""
  program = Program(LEGS)
  program.send(signal.SIGTERM)
  program.send(signal.SIGTERM)
  assert program.end()[:2] == (75, "leg True\n")


def test_a_second_signal_ends_also_what_python_does_at_its_end():
  program = Program(SLOW_END)
  program.send(signal.SIGINT)
  assert program.process.stderr.readline() == f"stopped by Ctrl-C{GO_ON}"
  program.send(signal.SIGINT)
  assert program.end() == (-signal.SIGINT, "", "")


def test_what_nohup_ignores_stays_ignored():
  program = Program(LEGS, before="trap '' HUP;")
  program.send(signal.SIGHUP)
  assert program.process.stdout.readline() == "leg False\n"
  program.send(signal.SIGTERM)
  assert program.end()[0] == 75


def test_handlers_are_put_back():
  before = [signal.getsignal(number) for number in stopping.SIGNALS]
  with Stop().install():
    assert signal.getsignal(signal.SIGTERM) not in before
  assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
  assert signal.set_wakeup_fd(-1) == -1


def test_blocks_of_programs_that_answer_no_signals():
  before = signal.getsignal(signal.SIGINT)
  with stopping.uninterrupted():
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_install_nothing():
  seen = []

  def run():
    with Stop().install():
      seen.append(signal.getsignal(signal.SIGTERM))

  thread = threading.Thread(target=run)
  thread.start()
  thread.join()
  assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_limit_of_time_ends_at_the_next_leg(monkeypatch):
  now = 1000.0
  monkeypatch.setattr(time, "monotonic", lambda: now)
  stop, never = Stop(after=60), Stop()
  now += 59
  assert not stop.wanted
  stop.check()
  now += 1
  with stop.deferring():
    assert stop.wanted and not never.wanted
    with pytest.raises(Interrupted, match="stopped by its limit of time") as error:
      stop.check()
  assert error.value.exit_code == 75
  never.check()
  never.limit(10)
  now += 10
  assert never.wanted


@pytest.mark.parametrize(
  ("text", "seconds"),
  [("90", 90), ("90s", 90), ("55m", 3300), ("2h", 7200), ("1h30m", 5400), ("1d12h", 129600)],
)
def test_durations(text, seconds):
  assert stopping.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-5", "1.5h", "30m1h", "1h30", "x", "9" * 5000])
def test_what_is_no_duration_is_one_line(text):
  with pytest.raises(SettingsError, match="is not a duration; expected one like 90s, 55m") as error:
    stopping.parse_duration(text)
  assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_interruptions_are_not_taken_for_failures():
  with pytest.raises(Interrupted):
    try:
      raise Interrupted(75, "SIGTERM")
    except Exception:
      os._exit(3)
