"""Run one function over many tasks: here, in local worker processes, or on a Dask cluster.

A task is a small picklable order (paths, keys, clip rows), never arrays. Results are handed over
in the order of the tasks whatever order they finish in, because commits are numbered in plan
order: that is why the store comes out the same under every scheduler.

Decoding happens in a child process of the worker (``footage/decoder.py``), so a hostile file
cannot take a worker with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redub.core.config import nearest
from redub.core.errors import ClusterLostError, RedubError, UsageError
from redub.core.stopping import uninterrupted

Order = TypeVar("Order")
Result = TypeVar("Result")
IN_FLIGHT_PER_WORKER = 3
CONNECT_S = 15
WORKER_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
KEPT_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TOP_PAD_": str(16 * 2**20),
}
"""Dask has its workers give memory back at every 64 KiB, and they fetch it again for the next
array: a fifth of the time of an extraction was the kernel's, clearing pages."""


@dataclass(frozen=True, slots=True)
class Failure(Generic[Order]):
    """A task whose worker died under it, or that raised something that is not a RedubError."""

    order: Order
    message: str


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How to run tasks: ``sync``, ``processes`` or ``tcp://host:port``."""

    name: str = "processes"
    workers: int = 2

    def __post_init__(self) -> None:
        if self.name not in ("sync", "processes") and not self.name.startswith("tcp://"):
            hint = nearest(self.name, ["sync", "processes", "tcp://host:port"])
            raise UsageError(f"unknown scheduler '{self.name}'; {hint}")
        if self.workers < 1:
            raise UsageError(f"--workers is {self.workers}; wanted at least 1")

    def run(
        self, function: Callable[[Order], Result], orders: Sequence[Order]
    ) -> Iterator[Result | Failure[Order]]:
        """Yield one result per order, in the order of ``orders``.

        Raises:
            RedubError: what a task raised; it stops the stage (exit code by its kind).
            ClusterLostError: the scheduler or all workers went away (exit 9).
        """
        if not orders:
            return
        if self.name == "sync":
            yield from map(function, orders)
            return
        with contextlib.closing(_distributed(self, function, orders)) as results:
            yield from results


def _distributed(
    scheduler: Scheduler, function: Callable[[Order], Result], orders: Sequence[Order]
) -> Generator[Result | Failure[Order], None, None]:
    import dask
    from distributed import CancelledError, Client, as_completed

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "distributed.scheduler.allowed-failures": 2,
        "distributed.scheduler.no-workers-timeout": "60s",
        "distributed.admin.tick.limit": "1h",
        "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    }
    with dask.config.set(settings), contextlib.ExitStack() as stack:
        client: Client = stack.enter_context(_client(scheduler, stack))
        total = max(1, len(client.scheduler_info()["workers"]))
        window = IN_FLIGHT_PER_WORKER * total
        todo = iter(enumerate(orders))
        waiting = as_completed(loop=client.loop)
        position: dict[str, int] = {}
        finished: dict[int, Result | Failure[Order]] = {}

        suspects: list[int] = []  # lost with a worker; each gets one more try, alone
        retried: set[int] = set()

        def start(index: int) -> None:
            future = client.submit(
                function, orders[index], key=_task_key(index, index in retried), pure=False
            )
            position[future.key] = index
            waiting.add(future)

        def submit() -> None:
            for index, _ in todo:
                start(index)
                return
            if suspects and not position:
                start(suspects.pop(0))

        for _ in range(window):
            submit()
        emitted = 0
        while emitted < len(orders):
            try:
                future = next(waiting)
            except StopIteration:
                raise ClusterLostError("the cluster stopped before all tasks were done") from None
            index = position.pop(future.key)
            try:
                finished[index] = future.result()
            except RedubError:
                raise
            except CancelledError as error:
                raise ClusterLostError(
                    f"the Dask scheduler went away ({error}); what was committed is safe, "
                    "run the same command again"
                ) from error
            except Exception as error:  # a worker died or a task hit a bug: named, not fatal
                # Dask blames every task that was on a dying worker; alone, only the guilty fails.
                if index in retried:
                    finished[index] = Failure(orders[index], f"{type(error).__name__}: {error}")
                else:
                    retried.add(index)
                    suspects.append(index)
            future.release()
            submit()
            while emitted in finished:
                yield finished.pop(emitted)
                emitted += 1


def _task_key(index: int, again: bool) -> str:
    # Task keys are shown by dashboards; a hash tells nothing about the footage.
    return "redub-" + hashlib.sha256(f"{index} {again}".encode()).hexdigest()[:16]


def _client(scheduler: Scheduler, stack: contextlib.ExitStack) -> Any:
    from distributed import Client

    if scheduler.name.startswith("tcp://"):
        try:
            return Client(scheduler.name, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(
                f"no Dask scheduler answers at {scheduler.name}: {error}"
            ) from error
    return Client(stack.enter_context(local_cluster(scheduler.workers)), set_as_default=False)


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """Worker processes of this machine, on loopback, without a dashboard.

    Their scratch folder is private (0700) and goes with them.
    """
    import dask
    from distributed import LocalCluster

    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="redub-dask-"))
        stack.enter_context(
            dask.config.set({f"{WORKER_ENVIRONMENT}.{n}": v for n, v in KEPT_MEMORY.items()})
        )
        with uninterrupted():  # Ctrl-C is for this process; it closes the workers
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    # Not None: Dask would then serve its HTTP pages on 0.0.0.0:8787.
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,
                    local_directory=scratch,
                    silence_logs=logging.CRITICAL,
                )
            )
        yield cluster


def done(result: Result | Failure[Any]) -> Result:
    """A task's result; a worker that died under it is an error here, nothing is set aside."""
    if isinstance(result, Failure):
        raise RedubError(f"a worker failed: {result.message}", code="E-WORKER-LOST")
    return result
