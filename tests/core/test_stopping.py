"""What SIGINT and SIGTERM do to a process: real processes, real signals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from redub.core import stopping
from redub.core.stopping import SAME_PRESS_S, SAVING, Stopped, deferred, uninterrupted


def started(code):
    """A process of its own group that runs ``code`` and says when it is ready."""
    head = (
        "import sys, time\n"
        "from redub.core import stopping\n"
        "from redub.core.stopping import Stopped, deferred, uninterrupted\n"
        "def say(text): print(text, flush=True)\n"
        "stopping.listen(say)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", head + code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def ended(process):
    out, errors = process.communicate(timeout=60)
    assert errors == ""
    return process.returncode, out.splitlines()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_unwinds_and_knows_its_exit_code(name, code):
    process = started(
        "try:\n"
        "    say('ready'); time.sleep(60)\n"
        "except Exception: say('wrong')\n"
        "except Stopped as stopped:\n"
        "    say('unwound'); sys.exit(stopped.exit_code)\n"
    )
    os.killpg(process.pid, getattr(signal, name))
    assert ended(process) == (code, ["unwound"])


WORK = (
    "with deferred() as signalled:\n"
    "    say('ready')\n"
    "    while not signalled(): time.sleep(0.01)\n"
    "    say('saving'); time.sleep({seconds}); say(f'saved after {{signalled()}}')\n"
)


def test_deferred_work_is_finished_and_says_so_at_once():
    process = started(WORK.format(seconds=0))
    os.killpg(process.pid, signal.SIGTERM)
    assert ended(process) == (0, [SAVING, "saving", "saved after 15"])


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_ends_deferred_work_at_once(name, code):
    process = started(WORK.format(seconds=60))
    os.killpg(process.pid, signal.SIGINT)
    assert [process.stdout.readline() for _ in range(2)] == [f"{SAVING}\n", "saving\n"]
    time.sleep(2 * SAME_PRESS_S)
    os.killpg(process.pid, getattr(signal, name))
    status, said = ended(process)
    assert status == code
    assert said == ["ended without saving; earlier saves are intact"]


@pytest.mark.parametrize(("later_s", "ends"), [(0.0, []), (0.2, []), (0.3, [130]), (9.0, [130])])
def test_one_press_that_arrives_twice_is_one(monkeypatch, later_s, ends):
    # A wrapper passes on what the terminal has sent to the whole group already.
    clock, ended_with, signals = [50.0], [], stopping._Signals()
    monkeypatch.setattr(stopping.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(stopping.os, "_exit", ended_with.append)
    with pytest.raises(Stopped):
        signals.arrived(signal.SIGINT, None)
    clock[0] += later_s
    signals.arrived(signal.SIGINT, None)
    assert ended_with == ends


def test_what_is_started_uninterrupted_lives_through_a_signal_to_the_group():
    process = started(
        "import subprocess, threading\n"
        "with uninterrupted():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'input(); print(\"alive\")'],\n"
        "                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "try:\n"
        "    say('ready'); time.sleep(60)\n"
        "except Stopped:\n"
        "    say(child.communicate('go')[0].strip())\n"
    )
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == (0, ["alive"])


def test_a_signal_that_arrives_uninterrupted_is_raised_on_leaving():
    process = started(
        "try:\n"
        "    with uninterrupted():\n"
        "        say('ready'); time.sleep(0.3); say('done')\n"
        "    say('wrong')\n"
        "except Stopped as stopped: say(str(stopped.signum))\n"
    )
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == (0, ["done", "2"])


def test_a_signal_that_arrives_in_a_finaliser_is_not_lost():
    process = started(
        "class Held:\n"
        "    def __del__(self):\n"
        "        say('ready'); time.sleep(60); say('wrong')\n"
        "held = Held()\n"
        "try:\n"
        "    del held\n"
        "    time.sleep(60); say('wrong')\n"
        "except Stopped: say('unwound')\n"
    )
    os.killpg(process.pid, signal.SIGINT)
    assert ended(process) == (0, ["unwound"])


@pytest.fixture
def default_interrupt():
    """Python's own handler of SIGINT; a shell's background job starts with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("default_interrupt")
def test_a_caller_that_does_not_listen_can_train_again():
    for _ in range(2):
        with deferred() as signalled:
            assert signalled() == 0
            signal.raise_signal(signal.SIGINT)
            assert signalled() == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_stopped_passes_whoever_catches_exceptions():
    assert not issubclass(Stopped, Exception)
    with uninterrupted():
        pass  # nothing arrived, nothing is raised
