"""Sentences about what the utterances of a project can be used for, after each stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redub.commands.console import say

if TYPE_CHECKING:
    from redub.pipeline.reports.lines import LineUses
    from redub.pipeline.store.project import Project


def say_uses(found: LineUses, *, listed: bool = False) -> None:
    """Print the counts, and why utterances lack a use.

    Args:
        listed: the utterances were listed already; else the command that lists them is named.
    """
    say(found.sentence())
    reasons = found.reasons()
    for reason in reasons:
        say(reason)
    if reasons and not listed:
        say("`redub lines --why` lists them")


def say_uses_of(project: Project) -> None:
    """Print the counts of a project; nothing where it has no utterance."""
    from redub.core.errors import ConfigError
    from redub.pipeline.reports.lines import line_uses

    try:
        found = line_uses(project)
    except ConfigError:
        return
    say_uses(found)
