"""Progress and end of a training run: its speed, TensorBoard event files, signals."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from redub.core.extras import optional
from redub.core.stopping import Stopped
from redub.training.job import TrainReport
from redub.training.step import StepReport
from redub.training.vocoder_job import VocoderReport


class Speed:
    """Loss and utterances per second over the last 20 steps."""

    def __init__(self) -> None:
        self.recent: deque[tuple[float, int]] = deque(maxlen=20)

    def after(self, step: StepReport) -> str:
        """Add a step; returns its loss and the present speed as text."""
        self.recent.append((time.monotonic(), step.lines))
        seconds = self.recent[-1][0] - self.recent[0][0]
        done = sum(lines for _, lines in itertools.islice(self.recent, 1, None))
        speed = f", {done / seconds:.0f} lines/s" if seconds > 0 else ""
        return f"loss {step.loss:.3f}{speed}"


@contextlib.contextmanager
def event_files(
    folder: Path, *, wanted: bool
) -> Iterator[Callable[[Mapping[str, Any]], None] | None]:
    """Open TensorBoard event files, if ``wanted``.

    Yields:
        A function that writes one row of the metrics; None if not ``wanted``.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    if not wanted:
        yield None
        return
    optional("tensorboard", extra="tensorboard", purpose="train.tensorboard = true")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "tensorboard") as writer:  # type: ignore[no-untyped-call]

        def observe(row: Mapping[str, Any]) -> None:
            """Write the numbers of one metrics row, tagged ``train/…`` or ``validation/…``."""
            for name, value in row.items():
                if name not in ("step", "epoch") and isinstance(value, int | float):
                    kind = "validation" if name.startswith("validation_") else "train"
                    tag = f"{kind}/{name.removeprefix('validation_')}"
                    writer.add_scalar(tag, value, row["step"])  # type: ignore[no-untyped-call]

        yield observe


def raise_stopped(signum: int, report: TrainReport | VocoderReport) -> None:
    """Raise the signal that ended a training, or that arrived in its last step.

    Args:
        signum: the signal that this process received; 0 where another process of the run did.

    Raises:
        Stopped: a signal arrived; names the step and checkpoint that were saved.
    """
    if signum or report.stopped:
        raise Stopped(
            signum or signal.SIGTERM,
            step=report.last_step,
            checkpoint=report.checkpoint,
            is_complete=not report.stopped,
        )
