"""Run a training command as several processes on this machine, under torch's launcher."""

from __future__ import annotations

import logging
import sys
import uuid
from collections.abc import Sequence

from redub.core.errors import RedubError
from redub.core.extras import optional


def replicate(words: Sequence[str], count: int) -> int:
    """Run ``redub WORDS`` in ``count`` processes under torch's launcher.

    Sockets use the loopback interface only. A signal is passed on to all processes, which save a
    checkpoint before they end.

    Returns:
        The exit code: 0, that of the first process that failed, or 128 + the signal's number.

    Raises:
        MissingExtraError: the extra 'devices' is not installed.
        RedubError: the processes could not be started.
    """
    optional("accelerate", extra="devices", purpose="--devices")  # one message, not one per process
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(
        logging.CRITICAL
    )  # redub reports failures itself
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "redub.cli", *words)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as error:
        return 128 + int(error.sigval)
    except ValueError as error:
        raise RedubError(f"{count} processes could not be started: {error}") from error
    return 0
