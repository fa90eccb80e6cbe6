"""What was typed: the options before the command, and commands to type next."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from redub.commands.options import project_of

PROGRESS_EVERY_S = 10.0


HERE = Path()


@dataclasses.dataclass(slots=True)
class Invocation:
    """What was typed before the command: ``-C`` folders, and seconds between progress lines."""

    folder: Path = HERE
    started_in: str = ""
    progress_every_s: float = PROGRESS_EVERY_S


INVOCATION = Invocation()


def command(*words: str | Path, project: Path = HERE) -> str:
    """A complete command to type: quoted, with the project folder where one was named."""
    folder = INVOCATION.folder / project
    place = () if folder == HERE else ("-C", folder)
    return shlex.join(map(str, ("redub", *words, *place)))


def as_typed(*left_out: str) -> str:
    """This very command line without some of its options.

    Args:
        left_out: long options with a value, as ``--resume``; ending in ``=``: without one.
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
    """``redub``, or how torchrun starts it where it did (``--devices`` starts torchrun itself)."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    by_hand = not any(word.partition("=")[0] == "--devices" for word in sys.argv)
    if os.environ.get("WORLD_SIZE", "1") == "1" or not by_hand:
        return ["redub"]
    return ["torchrun", "--nproc-per-node", count, "-m", "redub.cli"]


def with_profile_option(
    words: Sequence[str], project: Path, of_this_command: str, profile: str | None
) -> str:
    """A command that goes on under ``--profile``, where that is not the project file's.

    Of the stages only `extract` and `run` take a profile; the others are walked by `run`.
    """
    if profile is None or words[0] in ("ingest", "weights", "runs", "report", "bad"):
        return command(*words, project=project)
    if words[0] in ("extract", "run", "status", "plan"):
        return command(*words, "--profile", profile, project=project)
    if project_of(project).config.profile == of_this_command:
        return command(*words, project=project)
    return command("run", "--from", words[0], "--profile", profile, project=project)


def is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"
