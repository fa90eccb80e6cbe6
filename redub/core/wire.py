"""Messages between a child process and its parent: texts over a local socket.

A message is four bytes of length (big endian) and a text (JSON). It may
carry the descriptor of one open memory file that holds the arrays as raw bytes. Nothing is pickled:
if a hostile file takes over the child, the child can send wrong frames, but it cannot run code in
the parent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

MAX_MESSAGE_BYTES = 1 << 20


class WireClosedError(Exception):
    """The other process closed the socket, or sent bytes that are not a message."""


class WireTimeoutError(Exception):
    """No complete message arrived before the deadline."""


def send(wire: socket.socket, body: bytes, descriptor: int | None = None) -> None:
    """Send one message, and with it an open file descriptor if one is given.

    Raises:
        WireClosedError: the other process closed the socket.
    """
    data = len(body).to_bytes(4, "big") + body
    try:
        if descriptor is None:
            wire.sendall(data)
        else:
            sent = socket.send_fds(wire, [data], [descriptor])
            wire.sendall(data[sent:])
    except OSError as error:
        raise WireClosedError(str(error)) from error


def receive(
    wire: socket.socket, read: Callable[[bytes], T], *, deadline_s: float | None = None
) -> tuple[T, int | None]:
    """Receive one message.

    Args:
        read: reads the text.
        deadline_s: on the clock of ``time.monotonic()``; None waits without a limit.

    Returns:
        The message, and the open file descriptor that came with it or None.

    Raises:
        WireClosedError: the other process closed the socket, or sent no valid message.
        WireTimeoutError: no complete message arrived before the deadline. After every error, also
            one of ``read``, received descriptors are closed.
    """
    data, descriptor = bytearray(), None
    wanted = 4
    try:
        while len(data) < wanted:
            if deadline_s is not None:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise WireTimeoutError
                wire.settimeout(left_s)
            chunk, descriptors, _, _ = socket.recv_fds(wire, wanted - len(data), 1)
            for extra in descriptors:
                if descriptor is not None:
                    os.close(descriptor)
                descriptor = extra
            if not chunk:
                raise WireClosedError("closed")
            data += chunk
            if len(data) == 4 and wanted == 4:
                wanted = 4 + int.from_bytes(data, "big")
                if not 4 < wanted <= MAX_MESSAGE_BYTES:
                    raise WireClosedError(f"a message of {wanted} bytes")
        return read(bytes(data[4:])), descriptor
    except TimeoutError as error:
        _drop(descriptor)
        raise WireTimeoutError from error
    except (OSError, ValueError) as error:
        _drop(descriptor)
        raise WireClosedError(str(error)) from error
    except Exception:
        _drop(descriptor)
        raise


def _drop(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
