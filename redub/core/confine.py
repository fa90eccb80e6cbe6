"""Confine a child process that runs foreign code: decoders of media, native libraries of packages.

The process has a limited address space and few descriptors, cannot gain privileges, has no network
if the kernel allows that, and ends with its parent.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h
_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000  # linux/sched.h
_MAX_DESCRIPTORS = 64


def confine(memory_mib: int, parent_pid: int) -> None:
    """Give up privileges, network, memory and descriptors that the work does not need.

    The process exits at once if its parent is no longer ``parent_pid``.
    """
    libc = end_with_parent(parent_pid)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent handles them and ends this process
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Move to an empty network namespace. Without privileges that needs a user namespace, and some
    # kernels forbid both. The whitelists of protocols and formats apply in any case.
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    memory = memory_mib << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_DESCRIPTORS, _MAX_DESCRIPTORS))


def end_with_parent(parent_pid: int) -> ctypes.CDLL:
    """Let the kernel kill this process when its parent ends; exit if it has ended already.

    Returns:
        The C library, for other calls of the kernel.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(0)  # the parent died before the line above
    return libc


def allow_cpu(seconds: int) -> None:
    """Limit the CPU time of the next request, counted from the CPU time used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
