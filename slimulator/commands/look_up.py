"""isa and machines: the manual at the prompt."""

from __future__ import annotations

import shutil
from typing import Any

import click

from slimulator.commands.shared import JSON, json_text, to_stdout


@click.command("isa", short_help="Look up an instruction, CSR, counter, trap or format, or search for words.")
@click.argument("words", nargs=-1, metavar="[QUERY]")
@JSON
def look_up(words: tuple[str, ...], as_json: bool) -> None:
    """Print the manual of an instruction, a pseudo-instruction, a family (lut.mac), a unit, a CSR, counter or trap, or a topic.

    Topics: registers encoding formats numbers arithmetic vocabulary memory csrs counters traps privileged ordering reset services
    machines. Without a QUERY, all instructions are listed by unit; with --json, every row with its fields, fixed bits and operands.
    Any other words are searched for in all texts: slimulator isa sparse rows.
    """
    from isa import manual
    query = " ".join(words)
    name = query.lower() if query.lower() in manual.TOPICS else query
    pseudo = _pseudo_instruction(name)
    if name in manual.TOPICS and pseudo:            # `csrs` is both
        answer = manual.look_up(name)
        answer.blocks.extend(pseudo.blocks)
    else:
        answer = pseudo or manual.look_up(name, _pseudo_instructions())
    _show(answer, {"query": query, "answer": answer.data} if as_json else None)


def _pseudo_instructions() -> list[Any]:
    """The pseudo-instructions for a search: isa/ does not know them."""
    from asm.pseudo import PSEUDO
    from isa.manual.search import Entry
    return [Entry(name, "pseudo-instruction", expansion) for name, _, expansion in PSEUDO if expansion != name]


def _pseudo_instruction(name: str) -> Any:
    """The manual's answer for a name that only the assembler knows, None for others."""
    from asm.pseudo import PSEUDO
    from isa.instruction import TABLE
    from isa.manual import Answer
    from isa.manual.document import Heading, Paragraph, Table
    forms = [(f"{name} {operands}".strip(), expansion if expansion != name else "lui, addi, addiw, slli, depending on the value")
             for found, operands, expansion in PSEUDO if found == name]
    if not forms or name in TABLE:
        return None
    return Answer([Heading(1, name), Paragraph("A pseudo-instruction: the assembler replaces it with base instructions."),
                   Table(("written", "assembled"), forms)],
                  {"pseudo": name, "forms": [{"syntax": syntax, "expansion": expansion} for syntax, expansion in forms]})


@click.command("machines", short_help="List machine presets, every figure of one, or what differs between several.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@JSON
def machines(names: tuple[str, ...], as_json: bool) -> None:
    """List the machine presets, or print every figure of one (a name or a .toml file) with its source. Of several: the figures
    that differ, side by side.
    """
    from isa import manual
    from isa.preset import load_preset
    presets = [load_preset(name) for name in names]
    answers = [manual.machine_answer(preset) for preset in presets]
    answer = (manual.look_up("machines") if not names else answers[0] if len(names) == 1 else manual.Answer(
        manual.side_by_side(presets), [answer.data for answer in answers]))
    _show(answer, {"machines": [answer.data] if len(names) == 1 else answer.data} if as_json else None)


def _show(answer: Any, data: dict[str, Any] | None) -> None:
    """Print an answer of the manual as text, or `data` as JSON."""
    from isa.manual.document import plain
    width = min(shutil.get_terminal_size((110, 24)).columns, 120)
    to_stdout([json_text(data) if data is not None else plain(answer.blocks, width).rstrip("\n")])
