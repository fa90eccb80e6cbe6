"""Several processes that train one model.

Each holds the whole model and learns from some of a step's batches. Before the step the gradients
are added up, so every process takes the same step, and it is the step that one process would take
over all of the batches: a run does not depend on how many processes it has.

``torchrun`` starts the processes; ``accelerate`` joins them (gloo on processors, NCCL on GPUs). The
gradients are added here rather than by ``DistributedDataParallel``, which wants every process to
have a batch at every step and a gradient for every parameter; neither is so at the end of an epoch
and under ablations.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed
from torch import Tensor, nn

from redub.core.extras import optional

PR_SET_PDEATHSIG = 1
BUCKET = 1 << 24  # numbers that are added up at a time
PATIENCE = timedelta(hours=2)  # the first process validates and saves while the others wait


@dataclass(frozen=True, slots=True)
class Replicas:
    """This process among those that train together; alone by default."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    def joined(cls, device: str = "cpu") -> Replicas:
        """Join the processes that ``torchrun`` started, or stay alone where it did not.

        Args:
            device: ``cpu``, or ``cuda``: then each process has the GPU of its local rank.

        Raises:
            MissingExtraError: the extra 'devices' is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=device)
        accelerate = optional("accelerate", extra="devices", purpose="training in processes")
        _end_with_parent()
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the run's own setting comes later
        if os.environ.get("MASTER_ADDR") in {"127.0.0.1", "localhost"}:
            for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                os.environ.setdefault(name, "lo")  # nothing leaves this machine
        state = accelerate.PartialState(cpu=device == "cpu", timeout=PATIENCE)
        own = "cpu" if state.device.type == "cpu" else str(state.device)
        return cls(state.process_index, state.num_processes, own)

    @property
    def is_first(self) -> bool:
        """Whether this process writes: metrics, checkpoints, what is said."""
        return self.rank == 0

    def own(self, count: int) -> range:
        """Which of a step's batches this process learns from; there may be none."""
        return range(self.rank, count, self.count)

    def sum_(self, values: Tensor) -> Tensor:
        """Add up a tensor over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values

    def any_(self, flag: bool) -> bool:
        """Whether any process says so."""
        if self.count == 1:
            return flag
        return bool(self.sum_(torch.tensor([float(flag)], device=self.device)).item())

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            torch.distributed.barrier()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add up gradients; a parameter that no process has one for keeps none."""
        if self.count == 1:
            return
        flags = [float(parameter.grad is not None) for parameter in parameters]
        has = self.sum_(torch.tensor(flags, device=self.device)).tolist()
        learnt = [one for one, count in zip(parameters, has, strict=True) if count]
        for some in _buckets(learnt):
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in some]
            flat = self.sum_(torch.cat([grad.flatten() for grad in grads]))
            pieces = torch.split(flat, [grad.numel() for grad in grads])
            for parameter, piece in zip(some, pieces, strict=True):
                parameter.grad = piece.view_as(parameter)


ALONE = Replicas()


def _end_with_parent() -> None:
    """Be told to stop (SIGTERM) when the launcher dies, however it does; Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and size + parameter.numel() > BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket
