"""The command line that was typed: options before the command, and the next command to type."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from pathlib import Path

PROGRESS_EVERY_S = 10.0


HERE = Path()


@dataclasses.dataclass(slots=True)
class Invocation:
    """Options before the command.

    ``folder``: the ``-C`` folders, joined; ``started_in``: the working folder before ``-C``;
    ``progress_every_s``: seconds between progress lines.
    """

    folder: Path = HERE
    started_in: str = ""
    progress_every_s: float = PROGRESS_EVERY_S


INVOCATION = Invocation()


def command(*words: str | Path, project: Path = HERE) -> str:
    """A complete command to type, quoted for the shell.

    Args:
        words: the command without ``redub``.
        project: the folder that ``-C`` after the command named; ``-C`` is added where a folder was
            named before or after the command.
    """
    folder = INVOCATION.folder / project
    place = () if folder == HERE else ("-C", folder)
    return shlex.join(map(str, ("redub", *words, *place)))


def as_typed(*left_out: str) -> str:
    """The command line of this process without some of its options, quoted for the shell.

    Args:
        left_out: long options that take a value, such as ``--resume``; an option without a value
            is written with a final ``=``, such as ``--estimate=``.
    """
    words, kept = iter(sys.argv[1:]), []
    for word in words:
        if f"{word}=" in left_out or (word.partition("=")[0] in left_out and "=" in word):
            continue
        if word in left_out:
            next(words, None)
            continue
        kept.append(word)
    return shlex.join([*program_name(), *kept])


def program_name() -> list[str]:
    """``redub``, or the ``torchrun`` command where the user started ``torchrun``.

    With ``--devices`` redub starts the processes itself, so its name is ``redub``.
    """
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    by_hand = not any(word.partition("=")[0] == "--devices" for word in sys.argv)
    if os.environ.get("WORLD_SIZE", "1") == "1" or not by_hand:
        return ["redub"]
    return ["torchrun", "--nproc-per-node", count, "-m", "redub.cli"]


def is_first_process() -> bool:
    """Whether this process has rank 0; it alone prints."""
    return os.environ.get("RANK", "0") == "0"
