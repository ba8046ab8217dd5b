"""The manual entry of an instruction: what its row and its meaning say, as blocks and as JSON.

The CSRs, counters and traps that it may touch are derived from the meaning (isa/effects.py).
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Sequence
from itertools import takewhile
from types import FunctionType
from typing import Any

import numpy as np

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.effects import closure, counters, csrs, traps
from isa.instruction import Row
from isa.manual.document import Block, Code, Heading, Paragraph, Table
from isa.numbers import NumberFormat


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
            (f"{form.mnemonic} {form.syntax}", f"{form.match:#010x}", ", ".join(o.shape for o in form.operands if o.access))
            for form in forms]))
    blocks.append(Code(source(row), "python"))
    settings = csrs(row)
    if settings:
        blocks.append(Table(("CSR", "is"), [(f"`{name}`", CSRS[name].text) for name in settings]))
    touched = [f"`{name}`" for name in COUNTERS if any(name in counters(form) for form in forms)]
    if any(operand.access for operand in row.operands):
        touched.append("the bytes of the regions that it reads and writes")
    blocks.append(Paragraph("Counters: " + ", ".join(touched) + "."))
    causes = traps(row)
    if causes:
        blocks.append(Paragraph("Traps: " + ", ".join(f"`{cause.name}`" for cause in causes) + "."))
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
                      "minimum": o.field.minimum, "maximum": o.field.maximum, "step": o.field.step, "is": o.describe()}
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


def source(row: Row) -> str:
    """The meaning's Python without its decorators, and what the names are that it takes from around it."""
    lines = textwrap.dedent(inspect.getsource(row.meaning)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("def "))
    outside = ", ".join(f"{name} = {_name(value)}" for name, value in closure(row.meaning).items()
                        if isinstance(value, str | FunctionType | np.ufunc | NumberFormat))
    return "\n".join([*lines[start:], *textwrap.wrap(f"where {outside}", 100, initial_indent="# ", subsequent_indent="# ")
                      * bool(outside)])


def _name(value: Any) -> str:
    match value:
        case str():          return repr(value)
        case NumberFormat(): return f"numbers.FORMATS[{value.name!r}]"
        case np.ufunc():     return f"numpy.{value.__name__}"
        case _:              return f"{value.__module__.removeprefix('isa.')}.{value.__name__}"
