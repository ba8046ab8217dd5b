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


def pages() -> dict[str, str]:
    """File name -> Markdown, for every page of docs/isa."""
    note = Paragraph("<!-- Generated from the instruction table by `make docs`. Do not edit. -->")
    topics = {name: TOPICS[name]().blocks for name in TOPICS}
    topics["machines"] += [block for name in preset_names() for block in _below(machine_answer(load_preset(name)).blocks)]
    units = {unit.name: unit_page(unit) for unit in UNITS.values()}
    links = [(f"[{unit.name}]({unit.name}.md)", f"{unit.title}, {len(list(rows(unit.name)))} instructions")
             for unit in UNITS.values()]
    links += [(f"[{name}]({name}.md)", blocks[0].text) for name, blocks in topics.items() if isinstance(blocks[0], Heading)]
    contents = {"index": [*index()[:2], Table(("page", "is"), links)], **units, **topics}
    return {f"{name}.md": markdown([note, *blocks]) for name, blocks in contents.items()}


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
