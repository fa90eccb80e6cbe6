"""`redub bad explain`: what an error code means, from the source of redub.

Reads the files of the package: each ``code="E-…"`` with the class and the message next to it, and
the table of faults of footage. The reference page of errors is made from the same codes.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redub
from redub.core.config import nearest
from redub.core.errors import RedubError, UsageError
from redub.footage.faults import FAULTS

PACKAGE = Path(redub.__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorCode:
    """An error code.

    meaning: a sentence for faults of footage, else empty. errors: classes that carry the code.
    exit_codes: those of the classes. messages: with ``…`` for what is filled in. places: where the
    source names the code, ``redub/footage/probe.py:120``.
    """

    code: str
    meaning: str
    errors: tuple[str, ...]
    exit_codes: tuple[int, ...]
    messages: tuple[str, ...]
    places: tuple[str, ...]

    def lines(self) -> list[str]:
        """The facts in sentences."""
        said = [f"{self.code}: {self.meaning}" if self.meaning else self.code]
        if self.errors:
            codes = ", ".join(map(str, self.exit_codes))
            said.append(f"error: {', '.join(self.errors)} (exit code {codes})")
        said += [f"message: {message}" for message in self.messages]
        return [*said, *(f"raised at: {place}" for place in self.places)]


@dataclass(slots=True)
class _Found:
    """What the source says about one code."""

    classes: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)


def explain_code(code: str) -> ErrorCode:
    """Everything about an error code.

    Raises:
        UsageError: no such code; the message names the nearest one.
    """
    known = codes()
    wanted = code.upper()
    if wanted not in known:
        raise UsageError(f"unknown code '{code}'; {nearest(wanted, known)}")
    return known[wanted]


def codes() -> dict[str, ErrorCode]:
    """Every error code of the source, sorted."""
    kinds = error_classes()
    return {
        code: ErrorCode(
            code=code,
            meaning=FAULTS.get(code, ""),
            errors=(names := tuple(sorted(found.classes & set(kinds)))),
            exit_codes=tuple(sorted({kinds[name].exit_code for name in names})),
            messages=tuple(found.messages),
            places=tuple(found.places),
        )
        for code, found in sorted(_found_codes().items())
    }


def error_classes() -> dict[str, type[RedubError]]:
    """Every class of RedubError by name."""
    for file in sorted(PACKAGE.rglob("*.py")):
        if "default_code" in file.read_text(encoding="utf-8") and file != Path(__file__):
            name = ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
            importlib.import_module(name)
    found: dict[str, type[RedubError]] = {}
    waiting: list[type[RedubError]] = [RedubError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found


def _found_codes() -> dict[str, _Found]:
    found: dict[str, _Found] = defaultdict(_Found)
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE.parent).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                for code in _default_codes(node):
                    found[code].classes.add(node.name)
            elif isinstance(node, ast.Call):
                _named_in_call(node, found)
            elif isinstance(node, ast.Tuple):
                _message_after_code(node.elts, found)
            for code in _codes_in(node):
                found[code].places.append(f"{name}:{getattr(node, 'lineno', 0)}")
    return dict(found)


def _default_codes(kind: ast.ClassDef) -> Iterator[str]:
    for line in kind.body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "default_code":
            yield from _codes_in(line.value)


def _named_in_call(call: ast.Call, found: dict[str, _Found]) -> None:
    """An error that is made with ``code=``, or any call that is given a code and then a text."""
    _message_after_code(call.args, found)
    for keyword in call.keywords:
        if keyword.arg != "code":
            continue
        for code in (c for part in ast.walk(keyword.value) for c in _codes_in(part)):
            name = _called_name(call)
            if name == "refused":  # a folder of weights refuses itself
                name = "ModelRefusedError"
            if name[:1].isupper():
                found[code].classes.add(name)
            _add_message(found[code], call.args[0] if call.args else None)


def _message_after_code(values: list[ast.expr], found: dict[str, _Found]) -> None:
    for code, message in itertools.pairwise(values):
        for name in _codes_in(code):
            _add_message(found[name], message)


def _add_message(found: _Found, node: ast.expr | None) -> None:
    message = "" if node is None else _spelled(node)
    if message and message not in found.messages:
        found.messages.append(message)


def _codes_in(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return []
    return [node.value] if re.fullmatch(r"E-[A-Z0-9-]+", node.value) else []


def _called_name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _spelled(node: ast.expr) -> str:
    """A message's text, with ``…`` for what is filled in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_spelled(v) if isinstance(v, ast.Constant) else "…" for v in node.values)
    return ""
