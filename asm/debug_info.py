"""The directives that a compiler writes for debuggers: `.file`, `.loc`, and numbers in LEB128.

The lines that .loc names become the program's source lines. The statements of sections .debug_* are checked, but the sections are
not part of the program: no tool here reads types and variables.
"""

from __future__ import annotations

import re
from functools import partial

from asm.diagnostics import SourceError
from asm.directives import Operands, directive, expression
from asm.expressions import span
from asm.fragments import Leb128, leb128
from asm.source import Site
from asm.state import AssemblyState
from asm.syntax import unescape

_STRING = re.compile(r'"([^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|$)')


@directive(".file", raw=True)
def _file(state: AssemblyState, site: Site, operands: Operands) -> None:
    """.file "NAME", .file NUMBER "NAME", .file NUMBER "FOLDER" "NAME" and more: .loc uses the files with a number."""
    number, _, rest = site.statement.operands.strip().partition(" ")
    if not number.isdecimal():
        return
    names = [unescape(text, 0).decode("utf-8", "surrogateescape") for text in _STRING.findall(rest)]
    if not names:
        raise SourceError(".file needs a name in double quotes", hint='written as `.file 1 "main.c"`')
    folder, name = names[0], names[1] if len(names) > 1 else ""
    # File 0 and its folder are those of the compilation, from which the names of the other files count.
    path = folder if not name else name if number == "0" or name.startswith("/") else f"{folder}/{name}"
    state.lines.files[site.callers().buffer, int(number)] = path


@directive(".loc", raw=True)
def _loc(state: AssemblyState, site: Site, operands: Operands) -> None:
    """.loc FILE LINE [COLUMN] [...]: where the instructions from here on come from."""
    words = site.statement.operands.split()
    if len(words) < 2 or not (words[0].isdecimal() and words[1].isdecimal()):
        raise SourceError(".loc needs the number of a file and of a line", hint="written as `.loc 1 25`")
    buffer = site.callers().buffer
    file = state.lines.files.get((buffer, int(words[0])))
    if file is None:
        raise SourceError(f"file {words[0]} has no name", 0, len(words[0]), hint=f'.file {words[0]} "NAME" gives it one')
    state.lines.said.append((len(state.marks), buffer, file if int(words[1]) else "", int(words[1])))


def _leb128(signed: bool, state: AssemblyState, site: Site, operands: Operands) -> None:
    section = state.contents(site)
    for operand in operands:
        node = expression(site, operand)
        value = state.symbols.known(node, section.here)
        if value is None:
            section.append(Leb128(section, state.symbols.bound(node, section.here), signed, site))
            continue
        try:
            section.tail.data += leb128(value, signed)
        except SourceError as error:
            error.start, error.end = span(node)
            raise


directive(".uleb128")(partial(_leb128, False))
directive(".sleb128")(partial(_leb128, True))
