"""The manual entry of an instruction: what its row and its meaning say, as blocks and as JSON.

The CSRs, counters and traps that it may touch are derived from the meaning (isa/effects.py), and so are the links to what its
Python text names (isa/reach.py).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import takewhile
from operator import attrgetter
from types import FunctionType
from typing import Any

import numpy as np

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.effects import TrapRule, counters, csrs, trap_rules, traps
from isa.instruction import Row
from isa.manual.document import Block, Code, Heading, Table
from isa.manual.notation import names_in
from isa.manual.vocabulary import label, link, uses
from isa.numbers import NumberFormat
from isa.reach import Definition, closure, definition_of, named_by, text_of
from isa.traps import Cause

_SHOWN = (str, int, FunctionType, np.ufunc, NumberFormat)
_MEMORY = {Cause.LOAD_ACCESS, Cause.STORE_ACCESS}


def families(some: Iterable[Row]) -> list[list[Row]]:
    """Rows grouped by shared meaning, syntax and text: the forms of one operation for several number formats or units."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in some:
        groups.setdefault((getattr(row.meaning, "__code__", None), row.syntax, row.text), []).append(row)
    return list(groups.values())


def family_name(forms: Sequence[Row]) -> str:
    """What the mnemonics have in common, up to a dot."""
    parts = zip(*(row.mnemonic.split(".") for row in forms), strict=False)
    return ".".join(part[0] for part in takewhile(lambda part: len(set(part)) == 1, parts))


def entry(forms: Sequence[Row], level: int = 3) -> list[Block]:
    """The manual's entry for one instruction, or for the forms of one operation, under a heading of `level`."""
    row = forms[0]
    blocks: list[Block] = [
        Heading(level, family_name(forms)),
        Code(f"{row.mnemonic} {row.syntax}".strip(), "asm"),
        Code(row.text),
        Code(picture(row)),
    ]
    if row.operands:
        blocks.append(Table(("operand", "field", "is"), [(o.name, o.field.name, o.describe()) for o in row.operands]))
    if len(forms) > 1:
        blocks.append(Table(("form", "fixed bits", "addresses of"), [
            (f"{form.mnemonic} {form.syntax}", f"{form.match:#010x}", ", ".join(o.contents for o in form.operands if o.access))
            for form in forms]))
    names = {**_taken(forms), **names_in(forms)}
    if names:
        blocks.append(Table(("where", "is"), [(f"`{name}`", what) for name, what in names.items()]))
    blocks += [Code(text_of(row.meaning), "python"), *uses(_named(forms), row.unit)]
    settings = [name for name in CSRS if any(name in csrs(form) for form in forms)]
    if settings:
        blocks.append(Table(("CSR", "is"), [(f"`{name}`", CSRS[name].text) for name in settings]))
    counted = {name for form in forms for name in counters(form)}
    touched = [(f"`{name}`", COUNTERS[name].text) for name in COUNTERS if name in counted]
    if any(operand.access for operand in row.operands) or (not row.is_xslim and _MEMORY & set(traps(row))):
        touched.append(("bytes_read, bytes_written", "of each region: the bytes that the instruction reads and writes there"))
    if "core.loads" in counted:
        touched.append(("loads", "of the region that is loaded from: 1"))
    blocks.append(Table(("[counter](counters.md)", "counts"), touched))
    rules: dict[TrapRule, list[Row]] = {}
    for form in forms:
        for rule in dict.fromkeys(trap_rules(form)):
            rules.setdefault(rule, []).append(form)
    if rules:
        blocks.append(Table(("[trap](traps.md)", "mtval", "when"), [
            (f"`{rule.cause.name}`", rule.mtval, _only(rules[rule], forms) + _when(rule, row.unit))
            for rule in sorted(rules, key=attrgetter("cause"))]))
    if row.example:
        blocks.append(Code(textwrap.dedent(row.example).strip("\n"), "asm"))
    return blocks


def as_json(row: Row) -> dict[str, Any]:
    """The row as plain data. Bits are (high bit in word, low bit in word, low bit in value), as in isa/formats.py."""
    return {
        "mnemonic": row.mnemonic,
        "unit": row.unit,
        "format": row.format.name,
        "syntax": row.syntax,
        "text": row.text,
        "match": row.match,
        "mask": row.mask,
        "fixed": row.fixed,
        "fields": [{"name": field.name, "bits": [list(segment) for segment in field.segments], "signed": field.signed}
                   for field in row.format.fields],
        "operands": [{"name": o.name, "field": o.field.name, "role": o.role, "access": o.access, "shape": o.shape,
                      "scales": o.scales, "minimum": o.field.minimum, "maximum": o.field.maximum, "step": o.field.step,
                      "is": o.describe()}
                     for o in row.operands],
        "csrs": csrs(row),
        "counters": counters(row),
        "traps": [cause.name for cause in traps(row)],
        "example": row.example,
    }


def picture(row: Row) -> str:
    """The 32 bits, high bit first: fixed bits in binary, operands by name, field names below."""
    operands = {operand.field.name: operand.name for operand in row.operands}
    boxes = []
    for field in row.format.fields:
        for high, low, low_in_value in field.segments:
            bits = high - low + 1
            if field.name in row.fixed:
                label = format(row.fixed[field.name] >> low_in_value & (1 << bits) - 1, f"0{bits}b")
            else:
                label = operands[field.name]
                if len(field.segments) > 1:
                    top = low_in_value + bits - 1
                    label += f"[{top}:{low_in_value}]" if bits > 1 else f"[{top}]"
            boxes.append((high, low, label, field.name))
    above, line, inside, below = "", "+", "|", ""
    for high, low, label, name in sorted(boxes, reverse=True):
        numbers = f"{high}" if high == low else f"{high} {low}"
        width = max(len(label), len(numbers), len(name)) + 2
        above += " " + (f"{high}".center(width) if high == low else f"{high}" + f"{low}".rjust(width - len(f"{high}")))
        line += "-" * width + "+"
        inside += label.center(width) + "|"
        below += " " + name.center(width)
    return "\n".join(text.rstrip() for text in (above, line, inside, line, below))


def _form(row: Row, forms: Sequence[Row]) -> str:
    """What tells a form from the others: "f32", "i8.f32"."""
    return row.mnemonic.removeprefix(f"{family_name(forms)}.")


def _only(some: Sequence[Row], forms: Sequence[Row]) -> str:
    """Which forms something holds for: "in i8: ", or "" for all of them."""
    return "" if len(some) == len(forms) else f"in {', '.join(_form(row, forms) for row in some)}: "


def _when(rule: TrapRule, page: str) -> str:
    return rule.when + (f" ({link(label(rule.place), rule.place, page)})" if rule.place else "")


def _named(forms: Sequence[Row]) -> dict[str, Definition]:
    """What the Python text names; what differs between the forms is left to `_taken`."""
    return {name: definition for name, definition in named_by(forms[0].meaning).items() if name not in closure(forms[0].meaning)}


def _taken(forms: Sequence[Row]) -> dict[str, str]:
    """What the meanings take from around them, by name: a value, or each value with the forms that have it."""
    found = {}
    for name, value in closure(forms[0].meaning).items():
        if not isinstance(value, _SHOWN):
            continue
        by_form = {_form(form, forms): closure(form.meaning)[name] for form in forms}
        values: dict[str, list[str]] = {}
        for form, taken in by_form.items():
            values.setdefault(_name(taken, forms[0].unit), []).append(form)
        if len(values) > 1 and all(isinstance(taken, NumberFormat) and taken.name == form.rpartition(".")[2]
                                   for form, taken in by_form.items()):
            found[name] = "the number format that the form names, of [`FORMATS`](numbers.md)"
        else:
            found[name] = ", ".join(text if len(values) == 1 else f"{text} in {', '.join(some)}" for text, some in values.items())
    return found


def _name(value: Any, page: str) -> str:
    match value:
        case str() | int():                    return f"`{value!r}`"
        case NumberFormat():                   return f"[`FORMATS[{value.name!r}]`](numbers.md)"
        case np.ufunc():                       return f"`numpy.{value.__name__}`"
        case _:                                return link(value.__name__, definition_of(value), page)
