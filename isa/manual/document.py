"""Blocks of a manual page and their two renderings: Markdown for docs/isa, plain text for the prompt."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """`level` 1 is the page's title."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text; blank lines in it separate paragraphs."""

    text: str


@dataclass(frozen=True)
class Code:
    """Text in which every column counts: a picture, assembly, Python."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Table:
    """Cells by row. In plain text the last column is wrapped."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Paragraph | Code | Table


def markdown(blocks: Iterable[Block]) -> str:
    """The blocks as a Markdown file."""
    return "\n\n".join(map(_markdown_block, blocks)) + "\n"


def _markdown_block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return "#" * level + " " + text
        case Paragraph(text):
            return text.strip()
        case Code(text, language):
            return f"```{language}\n{text}\n```"
        case Table(header, rows):
            lines = [header, ["---"] * len(header), *rows]
            return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def plain(blocks: Iterable[Block], width: int = 110) -> str:
    """The blocks as text for a terminal of `width` columns; code is never wrapped."""
    return "\n\n".join(_plain_block(_unlinked(block), width) for block in blocks) + "\n"


_LINK = re.compile(r"\[([^\[\]]+|`[^`]+`)\]\([\w./#-]*\)")


def _unlinked(block: Block) -> Block:
    """The block with links as their text alone."""
    match block:
        case Paragraph(text):
            return Paragraph(_LINK.sub(r"\1", text))
        case Table(header, rows):
            return Table([_LINK.sub(r"\1", cell) for cell in header], [[_LINK.sub(r"\1", cell) for cell in row] for row in rows])
        case _:
            return block


def _plain_block(block: Block, width: int) -> str:
    match block:
        case Heading(level, text):
            return text + ("\n" + "=-"[level - 1] * len(text) if level < 3 else "")
        case Paragraph(text):
            return "\n\n".join(_filled(part, width) for part in text.strip().split("\n\n"))
        case Code(text):
            return textwrap.indent(text, "    ")
        case Table(header, rows):
            return _plain_table([header, *rows], width)


def _filled(text: str, width: int) -> str:
    """A paragraph in lines of `width`; items of a numbered list begin lines of their own."""
    return "\n".join(textwrap.fill(item, width, break_on_hyphens=False, subsequent_indent="   " * bool(re.match(r"\d+\. ", item)))
                     for item in re.split(r"\n(?=\d+\. )", text))


def _plain_table(lines: Sequence[Sequence[str]], width: int) -> str:
    columns = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    start = 2 + sum(column + 2 for column in columns)
    text = []
    for line in lines:
        left = "  " + "".join(cell.ljust(column + 2) for cell, column in zip(line, columns, strict=False))
        wrapped = textwrap.wrap(line[-1], max(width - start, 30), break_on_hyphens=False) or [""]
        text += [(left + wrapped[0]).rstrip(), *(" " * start + more for more in wrapped[1:])]
    return "\n".join(text)
