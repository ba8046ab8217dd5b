"""The chapter on time: how long the machine takes, by which figures, and the rules in full."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from isa.manual.document import Block, Code, Heading, Paragraph, Table
from isa.queues import QUEUES
from isa.timing import attention, bank_commands, bank_state, banks, clock_rules, fetched, flash_rules, memory_rules
from isa.timing import rates as figures
from isa.timing.rates import CORE_RATES, RULES, Rate, is_rule
from isa.units import UNITS

HEAD = """\
Time is an estimate that follows from what a program has done: from the counters of each operation, in the order of the program, and
from the figures that a [machine](machines.md) gives. It is counted in whole cycles of the machine's clock. A program cannot see it:
`cycle` and `time` count instructions.

Both engines of the emulator agree in every cycle. No number of threads of the host changes one."""

ATTENTION = f"""\
Where the hbm region names a memory with attention units, operations of attn take what the rule of attention says, for keys and
values that lie in hbm: {", ".join(f"`attn.{step}`" for step in attention.STEPS)}."""

FIGURES = """\
A machine that gives any of these figures gives all of its core and of its units; one that gives none is not modelled in time. The
events of a rate are those of its counter, less those of the other one where two are named. Of the rates of a unit, the one that
takes longest counts."""

REGIONS = """\
Each region has a latency and a bandwidth, `latency_cycles` and `bytes_per_cycle`. A load of the core takes the latency of its
region longer than another instruction, a store nothing. Parts of a cycle of the core are rounded up to 1 / 2\\*\\*20
for each event. No event takes more than 2\\*\\*24 cycles."""

RULES_TEXT = """\
What follows is executed: by the reference engine as it stands, by the fast engine compiled. Numbers are 64-bit integers, and `//`
rounds down. Nothing is rounded but where a line says so. Each section begins with the numbers that its rules name, and with
rules of other sections that they call by another name."""

_SECTIONS: tuple[tuple[str, ModuleType], ...] = (
    ("Cycles of events", figures), ("The clock", clock_rules), ("Fetch on named memories", fetched), ("DRAM", memory_rules),
    ("Flash", flash_rules), ("Attention in memory", attention), ("Banks", banks), ("Commands to banks", bank_commands),
    ("The state of banks", bank_state))
_SAID_ABOVE = (figures, clock_rules)      # what these say of themselves stands at the beginning of the chapter


def timing() -> tuple[list[Block], Any]:
    """(blocks, data) of the chapter."""
    blocks: list[Block] = [Heading(1, "Time"), Paragraph(HEAD), Heading(2, "When an operation starts and ends")]
    said = _text(inspect.getdoc(clock_rules) or "")
    blocks += [*said[:-3], Paragraph(ATTENTION), *said[-3:]]        # the last three are of all operations
    rates = [*CORE_RATES, *(rate for unit in UNITS.values() for rate in unit.rates)]
    blocks += [Heading(2, "Figures"), Paragraph(FIGURES), _rates(rates), Paragraph(REGIONS), Heading(2, "What is waited for"),
               Table(("reason", "who", "waits for"), REASONS), Heading(2, "Rules"), Paragraph(RULES_TEXT)]
    rules: dict[str, str] = {}
    for title, module in _SECTIONS:
        found = {name: rule for name, rule in RULES.items() if rule.__module__ == module.__name__}
        sources = {name: inspect.getsource(rule) for name, rule in found.items()}
        blocks += [Heading(3, title), *([] if module in _SAID_ABOVE else _text(_without_files(module)))]
        if names := "\n".join(_names(module, found.values())):
            blocks.append(Code(names, "python"))
        blocks += [Code(source.replace("@rule\n", "", 1).rstrip("\n"), "python") for source in sources.values()]
        rules |= sources
    return blocks, {"queues": list(QUEUES), "reasons": [reason for reason, _, _ in REASONS],
                    "rates": [{"name": rate.name, "unit": rate.unit, "text": rate.text, "counter": rate.counter, "less": rate.less}
                              for rate in rates], "rules": rules}


REASONS: tuple[tuple[str, str, str], ...] = (
    ("signal",     "a queue, the core", "the signal of a tag"),
    ("memory",     "a queue",           "a region that another operation uses"),
    ("full queue", "the core",          "a place in the queue of a unit: the end of its oldest operation"),
    ("fence",      "the core",          "every queue, at a fence"),
    ("result",     "the core",          "an operation that returns a value in a register"),
)
assert tuple(reason for reason, _, _ in REASONS) == clock_rules.REASONS


def _rates(rates: Iterable[Rate]) -> Table:
    return Table(("figure", "unit", "counter", "is"), [
        (f"`{rate.name}`", rate.unit, " less ".join(f"`{name}`" for name in (rate.counter, rate.less) if name), rate.text)
        for rate in rates])


def _names(module: ModuleType, rules: Iterable[Callable[..., object]]) -> Iterator[str]:
    """What the rules of a module name: numbers, and other rules by another name than their own."""
    used = {node.id for rule in rules for node in ast.walk(ast.parse(inspect.getsource(rule))) if isinstance(node, ast.Name)}
    known = {name: value for name, value in vars(module).items() if name in used}
    numbers = textwrap.wrap("; ".join(f"{name}={value}" for name, value in known.items() if type(value) is int), 100)
    yield from (line.replace("=", " = ") for line in numbers)
    for name, value in known.items():
        if is_rule(value) and value.__name__ != name:
            yield f"{name} = {value.__name__}       # of {_title(value.__module__)}"


def _without_files(module: ModuleType) -> str:
    """What a module says of itself, for readers who have no sources: sections, where it names files."""
    text = re.sub(r" +\(isa/units/\S+\)", "", inspect.getdoc(module) or "")
    text = text.replace("isa/timing/memories.py", "the chapter on machines")
    for title, other in _SECTIONS:
        text = re.sub(rf"(isa/timing/)?\b{other.__name__.rpartition('.')[2]}\.py", title, text)
    return text


def _title(module: str) -> str:
    return next(title for title, other in _SECTIONS if other.__name__ == module)


def _text(text: str) -> list[Block]:
    """The paragraphs of a docstring but the first, and what is indented in it."""
    return [Code(inspect.cleandoc(part)) if part.startswith("    ") else Paragraph(part) for part in text.split("\n\n")[1:]]
