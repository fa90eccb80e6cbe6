"""The command line that was typed: options before the command, and the next command to type."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shlex
import sys
from pathlib import Path

PROGRESS_EVERY_S = 10.0


HERE = Path()


@dataclasses.dataclass(slots=True)
class Invocation:
    """Options before the command.

    ``folder``: the ``-C`` folders before the command, joined; ``project``: the folder that ``-C``
    after the command named; ``started_in``: the working folder before ``-C``;
    ``progress_every_s``: seconds between progress lines.
    """

    folder: Path = HERE
    project: Path = HERE
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


def with_place(text: str) -> str:
    """A message in which every command between backticks has the ``-C`` that this command has.

    Commands that take no ``-C`` (`redub init`, `redub demo`) and words that are no command stay as
    they are.
    """
    folder = INVOCATION.folder / INVOCATION.project
    if folder == HERE or "`redub " not in text:
        return text
    place = f" -C {shlex.quote(str(folder))}"

    def _placed(found: re.Match[str]) -> str:
        words = found[1]
        return f"`{words}{place if ' -C ' not in words and _takes_project(words) else ''}`"

    return re.sub(r"`(redub [^`\n]+)`", _placed, text)


def _takes_project(words: str) -> bool:
    """Whether a command line, which may lack arguments, names a command with ``--project``."""
    from redub.commands.apps import GROUPS, app

    typed = words.split()[1:]
    group = GROUPS.get(typed[0])
    name = typed[1] if group is not None and len(typed) > 1 else typed[0]
    for known in (app if group is None else group).registered_commands:
        assert known.callback is not None
        if (known.name or known.callback.__name__) == name:
            return "project" in inspect.signature(known.callback).parameters
    return False


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
