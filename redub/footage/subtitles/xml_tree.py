"""Read XML from strangers into a small tree whose texts know their lines.

Declarations of entities are refused, because a few bytes of them may stand for gigabytes. External
entities are never loaded. Prefixes of names are dropped, so every namespace of a format works.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat

from redub.core.errors import ClipError
from redub.footage.subtitles.text import LinedText, one_line

_MAX_DEPTH = 100


@dataclass(slots=True)
class Node:
    """An element; ``children`` are elements and texts in their order."""

    name: str
    line: int
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node | LinedText] = field(default_factory=list)

    def text(self) -> LinedText:
        """All text inside, in its order."""
        return LinedText.joined(
            (part.text() if isinstance(part, Node) else part for part in self.children), between=""
        )


def read_xml(text: str, on_comment: Callable[[LinedText], None]) -> Node:
    """Read a document; the result is a node above its root.

    Raises:
        ClipError: E-SUB-FORMAT, not well-formed, too deep, or with a declaration of entities.
    """
    parser = expat.ParserCreate("utf-8")
    top = Node("", 1)
    open_nodes = [top]

    def _start(tag: str, attributes: dict[str, str]) -> None:
        if len(open_nodes) > _MAX_DEPTH:
            raise ClipError(
                f"the subtitle file has elements that are {_MAX_DEPTH} levels deep; wanted TTML",
                code="E-SUB-FORMAT",
            )
        own = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        node = Node(tag.rpartition(":")[2], parser.CurrentLineNumber, own)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def _end(tag: str) -> None:
        open_nodes.pop()

    def _words(words: str) -> None:
        line = parser.CurrentLineNumber
        open_nodes[-1].children.append(LinedText(words, [line] * len(words)))

    def _comment(words: str) -> None:
        on_comment(LinedText(words, [parser.CurrentLineNumber] * len(words)))

    parser.StartElementHandler = _start
    parser.EndElementHandler = _end
    parser.CharacterDataHandler = _words
    parser.CommentHandler = _comment
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(text.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise ClipError(
            f"the subtitle file cannot be parsed: it is not well-formed XML: {error}; wanted TTML",
            code="E-SUB-FORMAT",
        ) from error
    return top


def _refuse_entity(name: str, *rest: object) -> None:
    raise ClipError(
        f"the subtitle file declares the XML entity '{one_line(name)[:40]}'; write its text out",
        code="E-SUB-FORMAT",
    )
