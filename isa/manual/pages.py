"""The pages of docs/isa."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from isa.instruction import rows
from isa.manual.answers import index, unit_page
from isa.manual.document import Block, Heading, Paragraph, Table, markdown
from isa.manual.topics import TOPICS, machine_answer
from isa.preset import load_preset, preset_names
from isa.units import UNITS

PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("The machine", ("registers", "memory", "encoding", "formats", "traps", "privileged", "csrs", "ordering", "timing", "counters",
                     "services", "reset")),
    ("Instructions", tuple(UNITS)),
    ("Numbers, and how meanings are written", ("numbers", "arithmetic", "vocabulary")),
    ("Machines", ("machines",)),
)


def pages() -> dict[str, str]:
    """File name -> Markdown, for every page of docs/isa."""
    note = Paragraph("<!-- Generated from the instruction table by `make docs`. Do not edit. -->")
    topics = {name: TOPICS[name]().blocks for name in TOPICS}
    topics["machines"] += [block for name in preset_names() for block in _below(machine_answer(load_preset(name)).blocks)]
    units = {unit.name: unit_page(unit) for unit in UNITS.values()}
    contents = {"index": [*index()[:2], *_parts(topics)], **units, **topics}
    return {f"{name}.md": markdown([note, *blocks]) for name, blocks in contents.items()}


def _parts(topics: dict[str, list[Block]]) -> list[Block]:
    """The pages in the order in which an implementer reads them."""
    about = {unit.name: f"{unit.title}, {len(list(rows(unit.name)))} instructions" for unit in UNITS.values()}
    about |= {name: blocks[0].text for name, blocks in topics.items() if isinstance(blocks[0], Heading)}
    named = {name for _, names in PARTS for name in names}
    parts = [*PARTS, ("More", tuple(name for name in about if name not in named))]
    blocks: list[Block] = []
    for title, names in parts:
        if names:
            blocks += [Heading(2, title),
                       Table(("page", "is"), [(f"[{name}]({name}.md)", about[name]) for name in names if name in about])]
    return blocks


def _below(blocks: Sequence[Block]) -> list[Block]:
    """The same blocks one heading level down."""
    return [Heading(block.level + 1, block.text) if isinstance(block, Heading) else block for block in blocks]


def write(directory: Path) -> None:
    """Write every page; pages that no longer exist are removed. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    current = pages()
    for stale in directory.glob("*.md"):
        if stale.name not in current:
            stale.unlink()
    for name, text in current.items():
        (directory / name).write_text(text, encoding="utf-8")
