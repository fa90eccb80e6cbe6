"""Stop the program on Ctrl-C (SIGINT) and SIGTERM, which have the same effect.

Most work stops at once: :class:`Stopped` is raised where the signal arrives, and the store is
intact at any moment. Training stops after the present step (:func:`deferred`), because it saves a
checkpoint first. A second signal ends the process at once; earlier checkpoints stay intact.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_PRESS_S = 0.25  # shells and wrappers may send the same signal a second time
AGAIN_S = 0.05  # delay before a lost signal is sent again
SAVING = "stopping: a checkpoint is saved after this step; a second signal ends without saving"
AT_ONCE = "ended without saving; earlier saves are intact"


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived; like KeyboardInterrupt, no ``except Exception`` catches it.

    ``signum``: the signal. ``stage``: the interrupted stage (``extract``), empty if unknown.
    ``done``: its progress (``12 of 168 clips``), empty if unknown. ``step`` and ``checkpoint``: the
    checkpoint that a training saved. ``is_complete``: the signal came in the last step.
    """

    def __init__(
        self,
        signum: int,
        *,
        step: int | None = None,
        checkpoint: Path | None = None,
        is_complete: bool = False,
    ) -> None:
        super().__init__(signum)
        self.signum = signum
        self.stage, self.done = "", ""
        self.step, self.checkpoint, self.is_complete = step, checkpoint, is_complete

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells report it: 130 or 143."""
        return 128 + self.signum


class _Signals:
    """The signal that arrived in this process, and what the next one does."""

    def __init__(self) -> None:
        self.requested = 0  # number of the first signal
        self.requested_s = 0.0
        self.holds = 0  # open :func:`deferred` and :func:`uninterrupted`
        self.says_saving = False
        self.notice: Callable[[str], None] = lambda text: None

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: raise :class:`Stopped`, note it, or end the process at the second.

        A second signal within ``SAME_PRESS_S`` seconds is ignored.
        """
        if self.requested:
            if time.monotonic() - self.requested_s > SAME_PRESS_S:
                self.notice(AT_ONCE)
                os._exit(128 + number)
            return
        self.requested, self.requested_s = number, time.monotonic()
        if self.says_saving:
            self.notice(SAVING)
        if not self.holds:
            raise Stopped(number)

    def unraisable(self, met: sys.UnraisableHookArgs) -> None:
        """Send the signal again if it arrived in a finaliser, where Python drops exceptions."""
        if not isinstance(met.exc_value, Stopped):
            sys.__unraisablehook__(met)
            return
        self.requested = 0
        threading.Timer(AGAIN_S, os.kill, (os.getpid(), met.exc_value.signum)).start()


_SIGNALS = _Signals()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def listen(notice: Callable[[str], None]) -> None:
    """Handle SIGINT and SIGTERM from now on; call it in the main thread.

    SIGINT is handled even if the process was started with SIGINT ignored, as shells do for
    background jobs.

    Args:
        notice: prints one sentence; it may be called while other output is being printed.
    """
    _SIGNALS.notice = notice
    sys.unraisablehook = _SIGNALS.unraisable
    for number in SIGNALS:
        signal.signal(number, _SIGNALS.arrived)


def leave() -> None:
    """Restore the default signal handlers, after the work, when nothing catches Stopped."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def requested() -> int:
    """The number of the signal that arrived in this process, 0 if none did."""
    return _SIGNALS.requested


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], int]]:
    """Note a signal instead of raising; yields a function that returns its number, 0 for none.

    The caller checks it after each step, saves, and raises :class:`Stopped` itself. Outside of the
    main thread signals cannot be handled, and the number stays 0.
    """
    if not _in_main_thread():
        yield lambda: 0
        return
    before = {number: signal.signal(number, _SIGNALS.arrived) for number in SIGNALS}
    is_listening = _SIGNALS.arrived in before.values()
    _SIGNALS.holds += 1
    _SIGNALS.says_saving = True
    try:
        yield requested
    finally:
        _SIGNALS.holds -= 1
        _SIGNALS.says_saving = False
        for number, handler in before.items():
            signal.signal(number, handler)
        if not is_listening:  # the process goes on and may train again
            _SIGNALS.requested = 0


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Block signals while child processes and threads are started; they inherit the block.

    Ctrl-C reaches every process of a terminal's foreground group, but only this process may end
    the others.

    Raises:
        Stopped: on leaving, if a signal arrived meanwhile.
    """
    # multiprocessing starts its tracker with the first process, and then unblocks these signals.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    _SIGNALS.holds += 1
    try:
        yield
    finally:
        _SIGNALS.holds -= 1
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    if _SIGNALS.requested and not _SIGNALS.holds and _in_main_thread():
        raise Stopped(_SIGNALS.requested)
