"""Arrays in a memory file, which goes from one process to another by its descriptor."""

from __future__ import annotations

import fcntl
import mmap
import os

import numpy as np

from redub.core.types import ByteArray


class SharedBuffer:
    """Shared memory that one process fills and another one maps, without a copy.

    Attributes:
        descriptor: the memory file, None before :meth:`allocate` and for size 0.
        size: in bytes.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self.size = 0

    def allocate(self, size: int) -> ByteArray:
        """Create the memory file and map it as a (size,) uint8 array.

        Raises:
            MemoryError: the memory limit of the process is reached.
        """
        self.size = size
        if size == 0:
            return np.zeros(0, np.uint8)
        self.descriptor = os.memfd_create("redub", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, size)
        try:
            # numpy keeps the mapping open as long as an array refers to it.
            return np.frombuffer(mmap.mmap(self.descriptor, size), np.uint8)
        except OSError as error:
            raise MemoryError from error  # mmap raises OSError where memory is short

    def close(self) -> None:
        """Close the memory file; mapped arrays stay valid."""
        if self.descriptor is not None:
            os.close(self.descriptor)


def mapped(descriptor: int | None) -> ByteArray:
    """Map a memory file that another process filled, as (n,) uint8; the file is closed.

    Without a file there are no bytes. Changes of the array stay private to this process.
    """
    if descriptor is None:
        return np.zeros(0, np.uint8)
    try:
        # Seal it: a hostile child could shrink it later and kill this process by SIGBUS.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        size = os.fstat(descriptor).st_size
        return np.frombuffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_COPY), np.uint8)
    finally:
        os.close(descriptor)
