"""The batches of each epoch, and the position of a run in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypedDict

import numpy as np

from redub.core.errors import IntegrityError
from redub.training.data.batching import BatchingConfig, epoch_batches

log = logging.getLogger(__name__)


class PlanState(TypedDict):
    """The position of a run; ``halved_at``: (epoch, batch) at which memory ran out, or empty."""

    epoch: int
    batch_in_epoch: int
    halved_at: list[int]


class EpochPlan:
    """The batches of each epoch and the position of a run in them.

    The batches depend on the seed, the epoch and the lengths of the utterances alone, so a resumed
    run continues with the batch that an uninterrupted run would take next.

    Args:
        frames: mel frames of each training utterance.
        guard: called before the batches of an epoch are planned; raises an error if the data
            changed.
    """

    def __init__(
        self,
        frames: Sequence[int],
        batching: BatchingConfig,
        *,
        seed: int,
        guard: Callable[[], None],
    ) -> None:
        self.frames, self.batching, self.seed, self.guard = frames, batching, seed, guard
        self.epoch, self.batch = 0, 0
        self.halved_at: tuple[int, int] | None = None  # (epoch, batch) at which memory ran out
        self.planned: list[list[int]] = []
        self.planned_epoch = -1

    def next(self, count: int) -> list[list[int]]:
        """The next batches of this epoch, at most ``count``, each a list of utterance numbers.

        Raises:
            IntegrityError: the epoch has no such batch, because the utterances have changed.
        """
        planned = self._batches()
        some = planned[self.batch : self.batch + count]
        if not some:
            raise IntegrityError(
                f"batch {self.batch} of an epoch of {len(planned)} does not exist: the utterances "
                "are not those of the checkpoint's training",
                code="E-RUN-CHANGED",
            )
        return some

    def advance(self, count: int) -> None:
        """Move ``count`` batches forward; after the last batch the next epoch begins."""
        self.batch += count
        if self.batch == len(self.planned):
            self.epoch, self.batch = self.epoch + 1, 0

    def halve(self) -> bool:
        """Halve frames and utterances of all later batches; False if they are halved already."""
        if self.halved_at is not None:
            return False
        self.halved_at = (self.epoch, self.batch)
        self.planned_epoch = -1
        return True

    def state(self) -> PlanState:
        """The position as plain values, for a checkpoint."""
        return {
            "epoch": self.epoch,
            "batch_in_epoch": self.batch,
            "halved_at": list(self.halved_at or ()),
        }

    def restore(self, state: PlanState) -> None:
        """Set the position that :meth:`state` returned."""
        self.epoch, self.batch = state["epoch"], state["batch_in_epoch"]
        if halved_at := state["halved_at"]:
            self.halved_at = (halved_at[0], halved_at[1])

    def _batches(self) -> list[list[int]]:
        if self.planned_epoch != self.epoch:
            self.guard()
            batching = self.batching
            halved, place = self.halved_at or (self.epoch, None)
            if halved < self.epoch:
                batching = replace(
                    batching,
                    frames_per_batch=max(1, batching.frames_per_batch // 2),
                    lines_per_batch=max(1, batching.lines_per_batch // 2),
                )
            planned = epoch_batches(self.frames, batching, seed=self.seed, epoch=self.epoch)
            if halved == self.epoch and place is not None:
                planned = planned[:place] + [
                    half for batch in planned[place:] for half in halves(batch)
                ]
            self.planned, self.planned_epoch = planned, self.epoch
        return self.planned


def batch_seed(seed: int, epoch: int, batch: int) -> int:
    """The seed of a model's random numbers in one batch of one epoch.

    The numbers depend neither on the process that computes the batch nor on earlier batches.
    """
    words = np.random.SeedSequence((seed, epoch, batch)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def halves(batch: list[int]) -> list[list[int]]:
    """Split a batch into two; a batch of one utterance stays as it is."""
    middle = (len(batch) + 1) // 2
    return [half for half in (batch[:middle], batch[middle:]) if half]
