"""Run one function over many tasks: in this process, in local workers, or on a Dask cluster.

A task is a small picklable order (paths, keys, clip rows), never arrays. Results are yielded in the
order of the tasks, whatever the order in which they finish. Commits are numbered in this order, so
every scheduler writes the same store.

Media are decoded in a child process of the worker (``footage/child.py``), so a damaged or hostile
file cannot end a worker.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from redub.core.config import nearest
from redub.core.errors import ClusterLostError, RedubError, UsageError
from redub.core.stopping import uninterrupted

log = logging.getLogger(__name__)

Order = TypeVar("Order")
Result = TypeVar("Result")
IN_FLIGHT_PER_WORKER = 3
_ADDRESS = re.compile(r"tcp://(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):(\d{1,9})/?", re.ASCII)
CONNECT_S = 15
WITHOUT_WORKERS_S = 60.0
"""A cluster without any worker for so long is lost."""
LOOK_S = 2.0  # between two looks whether there are workers
WORKER_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"
UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.system-monitor.gil.enabled": False,
}
"""Dask looks at its workers a hundred times a second, for pages that nothing here shows."""
KEPT_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TOP_PAD_": str(16 * 2**20),
}
"""Settings of the C allocator in workers. Under Dask's own settings a worker returns memory at
every 64 KiB and requests it again for the next array: clearing pages took a fifth of an extraction.
"""


@dataclass(frozen=True, slots=True)
class Failure(Generic[Order]):
    """A task whose worker died, or that raised an exception other than a RedubError."""

    order: Order
    message: str


@dataclass(frozen=True, slots=True)
class Scheduler:
    """How to run tasks: ``sync``, ``processes`` or ``tcp://host:port``."""

    name: str = "processes"
    workers: int = 2

    def __post_init__(self) -> None:
        address = _ADDRESS.fullmatch(self.name)
        if self.name not in ("sync", "processes") and address is None:
            hint = nearest(self.name, ["sync", "processes", "tcp://host:port"])
            raise UsageError(f"unknown scheduler '{self.name}'; {hint}")
        if address and not 0 < int(address[1]) < 65_536:
            raise UsageError(f"the scheduler '{self.name}' has no port from 1 to 65535")
        if self.workers < 1:
            raise UsageError(f"--workers is {self.workers}; wanted at least 1")

    def run(
        self, function: Callable[[Order], Result], orders: Sequence[Order]
    ) -> Iterator[Result | Failure[Order]]:
        """Yield one result per order, in the order of ``orders``.

        Raises:
            RedubError: a task raised it; it stops the stage (exit code by its class).
            ClusterLostError: the scheduler or all workers are gone (exit 9).
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
    """Run tasks on a cluster; yield one result per order, in their order."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "distributed.scheduler.allowed-failures": 2,
        "distributed.scheduler.no-workers-timeout": "60s",
        "distributed.admin.tick.limit": "1h",
        "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    }
    with dask_settings(settings), contextlib.ExitStack() as stack:
        client = stack.enter_context(_client(scheduler, stack))
        workers = len(_some_workers(client, scheduler.name))
        dispatch = _Dispatch(client, function, orders)
        for _ in range(IN_FLIGHT_PER_WORKER * workers):
            dispatch.submit()
        finished: dict[int, Result | Failure[Order]] = {}
        emitted = 0
        while emitted < len(orders):
            finished |= dispatch.next_finished()
            while emitted in finished:
                yield finished.pop(emitted)
                emitted += 1


@contextlib.contextmanager
def dask_settings(settings: Mapping[str, object]) -> Iterator[None]:
    """Change settings of Dask inside the block.

    ``distributed`` is imported first, because its import adds its default settings. In a process
    that imported it only inside the block, Dask removed all of them at the end of the block.
    """
    import dask
    import distributed  # noqa: F401  # adds its settings

    with dask.config.set(settings):
        yield


class _Dispatch(Generic[Order, Result]):
    """The tasks in flight on a cluster; a task whose worker died is run once more, alone."""

    def __init__(
        self, client: Any, function: Callable[[Order], Result], orders: Sequence[Order]
    ) -> None:
        self.client, self.function, self.orders = client, function, orders
        self.todo = iter(range(len(orders)))
        self.flying: dict[str, Any] = {}  # task key to its future
        self.position: dict[str, int] = {}  # task key to the number of its order
        self.suspects: list[int] = []  # orders that failed once, to be run again
        self.retried: set[int] = set()

    def submit(self) -> None:
        """Start the next task; after the last one, one suspect at a time."""
        index = next(self.todo, None)
        if index is None and self.suspects and not self.position:
            index = self.suspects.pop(0)
        if index is not None:
            self._start(index)

    def _start(self, index: int) -> None:
        key = _task_key(index, index in self.retried)
        future = self.client.submit(self.function, self.orders[index], key=key, pure=False)
        self.position[future.key] = index
        self.flying[future.key] = future

    def _next_ended(self) -> Any:
        """Wait for a task to end, and look every :data:`LOOK_S` seconds whether there are workers.

        Raises:
            ClusterLostError: the scheduler is gone, or there was no worker for
                :data:`WITHOUT_WORKERS_S` seconds.
        """
        from distributed import CancelledError, wait

        alone_since: float | None = None
        while self.flying:
            futures = list(self.flying.values())
            try:
                with self.client.as_current():
                    ended = wait(futures, timeout=LOOK_S, return_when="FIRST_COMPLETED").done
                if ended:
                    return min(ended, key=lambda future: self.position[future.key])
            except CancelledError:
                return next(future for future in futures if future.cancelled())
            except TimeoutError:
                pass
            if self._has_workers():
                alone_since = None
            elif alone_since is None:
                alone_since = time.monotonic()
                log.warning("the cluster has lost all its workers; waiting for one")
            elif time.monotonic() - alone_since > WITHOUT_WORKERS_S:
                raise _without_workers("the cluster has had no worker")
        raise ClusterLostError("the cluster stopped before all tasks were done")

    def _has_workers(self) -> bool:
        try:
            return bool(self.client.nthreads())
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(
                f"the Dask scheduler is gone ({error}); committed rows are safe, "
                "run the same command again"
            ) from error

    def next_finished(self) -> dict[int, Result | Failure[Order]]:
        """Wait for a task to end and start another one.

        Returns:
            The number of its order and its result; empty if the task will be run again.

        Raises:
            RedubError: the task raised it.
            ClusterLostError: the scheduler or all workers are gone.
        """
        from distributed import CancelledError

        future = self.flying.pop(self._next_ended().key)
        index = self.position.pop(future.key)
        finished: dict[int, Result | Failure[Order]] = {}
        try:
            finished[index] = future.result()
        except RedubError:
            raise
        except CancelledError as error:
            raise ClusterLostError(
                f"the Dask scheduler is gone ({error}); committed rows are safe, "
                "run the same command again"
            ) from error
        except Exception as error:  # a worker died or a task has a bug: named, not fatal
            # Dask fails every task on a dying worker; run alone, only the faulty task fails.
            if index in self.retried:
                finished[index] = Failure(self.orders[index], f"{type(error).__name__}: {error}")
            else:
                self.retried.add(index)
                self.suspects.append(index)
        future.release()
        self.submit()
        return finished


def _some_workers(client: Any, address: str) -> dict[str, int]:
    """The workers of a cluster, with their threads; waits for the first one.

    Raises:
        ClusterLostError: there is none after :data:`WITHOUT_WORKERS_S` seconds.
    """
    began = time.monotonic()
    while not (found := dict(client.nthreads())):
        waited = time.monotonic() - began
        if waited > WITHOUT_WORKERS_S:
            raise _without_workers(f"the Dask scheduler at {address} has had no worker")
        if waited < LOOK_S:
            log.warning("%s has no worker yet; waiting for one", address)
        time.sleep(min(LOOK_S, 0.2))
    return found


def _without_workers(what: str) -> ClusterLostError:
    return ClusterLostError(
        f"{what} for {WITHOUT_WORKERS_S:g} s; committed rows are safe. Start `dask worker` "
        "processes, and run the same command again"
    )


def _task_key(index: int, again: bool) -> str:
    # Dashboards show task keys; a hash says nothing about the footage.
    return "redub-" + hashlib.sha256(f"{index} {again}".encode()).hexdigest()[:16]


def _client(scheduler: Scheduler, stack: contextlib.ExitStack) -> Any:
    from distributed import Client

    if scheduler.name.startswith("tcp://"):
        try:
            return Client(scheduler.name, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise ClusterLostError(
                f"no Dask scheduler responds at {scheduler.name}: {error}"
            ) from error
    return Client(stack.enter_context(local_cluster(scheduler.workers)), set_as_default=False)


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """Start worker processes on this machine, on loopback, without a dashboard.

    Their scratch folder is private (0700) and is removed with them.
    """
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="redub-dask-"))
        environment = {f"{WORKER_ENVIRONMENT}.{n}": v for n, v in KEPT_MEMORY.items()}
        stack.enter_context(dask_settings({**environment, **UNWATCHED}))
        with uninterrupted():  # Ctrl-C reaches only this process, which closes the workers
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
    """A task's result, for tasks that may not fail.

    Raises:
        RedubError: E-WORKER-LOST, the task is a :class:`Failure`.
    """
    if isinstance(result, Failure):
        raise RedubError(f"a worker failed: {result.message}", code="E-WORKER-LOST")
    return result
