"""Data-parallel training: several processes train one model.

Each process holds the whole model and computes gradients on some of a step's batches. Gradients
are summed over all processes, so each takes the same step, the one that a single process would take
with all batches. The result of a run does not depend on the number of processes.

``torchrun`` starts the processes; ``accelerate`` connects them (gloo on CPUs, NCCL on GPUs). This
module sums the gradients itself: ``DistributedDataParallel`` needs a batch in every process at
every step and a gradient for every parameter. At the end of an epoch a batch may be missing, and in
ablations a gradient.
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
BUCKET = 1 << 24  # gradient values that are summed in one call
PATIENCE = timedelta(hours=2)  # the other processes wait while the first validates and saves


@dataclass(frozen=True, slots=True)
class Replicas:
    """This process and the number of processes that train together; by default a single one."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @classmethod
    def joined(cls, device: str = "cpu") -> Replicas:
        """Connect to the processes that ``torchrun`` started; a single process without it.

        Args:
            device: ``cpu``, or ``cuda``: each process then uses the GPU of its local rank.

        Raises:
            MissingExtraError: the extra 'devices' is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=device)
        accelerate = optional("accelerate", extra="devices", purpose="training in processes")
        _end_with_parent()
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # the run sets its own number later
        if os.environ.get("MASTER_ADDR") in {"127.0.0.1", "localhost"}:
            for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                os.environ.setdefault(name, "lo")  # nothing leaves this machine
        state = accelerate.PartialState(cpu=device == "cpu", timeout=PATIENCE)
        own = "cpu" if state.device.type == "cpu" else str(state.device)
        return cls(state.process_index, state.num_processes, own)

    @property
    def is_first(self) -> bool:
        """Whether this process writes metrics, checkpoints and messages."""
        return self.rank == 0

    def own(self, count: int) -> range:
        """Numbers of the batches, of ``count`` in a step, for this process; may be empty."""
        return range(self.rank, count, self.count)

    def sum_(self, values: Tensor) -> Tensor:
        """Sum a tensor over all processes, in place."""
        if self.count > 1:
            torch.distributed.all_reduce(values)
        return values

    def any_(self, flag: bool) -> bool:
        """Whether the flag is True in any process."""
        if self.count == 1:
            return flag
        return bool(self.sum_(torch.tensor([float(flag)], device=self.device)).item())

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            torch.distributed.barrier()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum gradients over all processes; a parameter without a gradient anywhere keeps None."""
        if self.count == 1:
            return
        flags = [float(parameter.grad is not None) for parameter in parameters]
        has = self.sum_(torch.tensor(flags, device=self.device)).tolist()
        with_gradient = [one for one, count in zip(parameters, has, strict=True) if count]
        for some in _buckets(with_gradient):
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in some]
            flat = self.sum_(torch.cat([grad.flatten() for grad in grads]))
            pieces = torch.split(flat, [grad.numel() for grad in grads])
            for parameter, piece in zip(some, pieces, strict=True):
                parameter.grad = piece.view_as(parameter)


ALONE = Replicas()


def _end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when the launcher dies; Linux only."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Group parameters, in order, up to ``BUCKET`` values each."""
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
