"""Directives: everything that starts with a dot and is not handled in preprocessing.

A directive is a function of the assembler's state, the place, and the parsed operands. Columns in errors count from the operands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from asm.budget import BYTE, FILE, MOST_BYTES, PRESET
from asm.diagnostics import SourceError, nearest, plural
from asm.encoding import Reloc
from asm.expressions import Function, Location, Name, Node, Unresolved, Value, span
from asm.floats import double_bits, single_bits
from asm.fragments import SMALL, Align, FilePart, Fill, Gap
from asm.operands import describe
from asm.source import Site
from asm.state import AssemblyState
from asm.syntax import Memory, ParsedOperand, String, Type, parse_operands
from isa.elf.writer import is_debugging, is_reserved
from isa.preset import PresetError, load_preset
from isa.program import FileSlice

Operands = Sequence[ParsedOperand]
Directive = Callable[[AssemblyState, Site, Operands], None]
DIRECTIVES: dict[str, Directive] = {}
DATA: set[str] = set()          # directives that make bytes from their operands; without names in them, the same bytes everywhere
RAW: set[str] = set()           # directives whose operands are not parsed: they read site.statement.operands
MOST_ALIGNMENT = 1 << 30


def directive(*names: str, raw: bool = False, data: bool = False) -> Callable[[Directive], Directive]:
    """Register a function under the names of a directive."""
    def register(function: Directive) -> Directive:
        for name in names:
            DIRECTIVES[name] = function
        if raw:
            RAW.update(names)
        if data:
            DATA.update(names)
        return function
    return register


# ------------------------------------------------------------------------------------------------ reading operands


def _count(site: Site, operands: Operands, least: int, most: int, usage: str) -> None:
    if not least <= len(operands) <= most:
        wanted = plural(least, "operand") if least == most else f"{least} to {most} operands"
        raise SourceError(f"{site.statement.operation} takes {wanted}, {len(operands)} given",
                          hint=f"written as `{site.statement.operation} {usage}`")


def expression(site: Site, operand: ParsedOperand) -> Node:
    """An operand that has to be an expression. Raises SourceError."""
    if isinstance(operand, Memory | String | Type | Function):
        raise SourceError(f"{describe(operand)} where {site.statement.operation} expects a number", operand.start, operand.end)
    return operand


def _number(state: AssemblyState, site: Site, operand: ParsedOperand, low: int, high: int, what: str) -> int:
    """An integer that is known at this line and lies in low..high."""
    node = expression(site, operand)
    try:
        return _in_range(state.symbols.now(node, state.section.here), node, low, high, what)
    except Unresolved:
        raise state.not_yet(node, site) from None


def _in_range(value: Value, node: Node, low: int, high: int, what: str) -> int:
    if isinstance(value, Location):
        raise SourceError(f"the {what} cannot be an address", *span(node))
    if not low <= value <= high:
        raise SourceError(f"{value} is out of range for the {what}: {low}..{high}", *span(node))
    return value


def _symbol(site: Site, operand: ParsedOperand) -> str:
    if not isinstance(operand, Name):
        raise SourceError(f"{describe(operand)} where {site.statement.operation} expects a symbol", *span(operand))
    return operand.text


# ------------------------------------------------------------------------------------------------ data


def _integers(size: int, state: AssemblyState, site: Site, operands: Operands) -> None:
    least, most = -(1 << (8 * size - 1)), (1 << (8 * size)) - 1
    section = state.contents(site)
    data = section.tail.data
    for operand in operands:
        node = expression(site, operand)
        value = state.symbols.known(node, section.here)
        if value is None:
            section.tail.relocs.append(Reloc(len(data), state.symbols.bound(node, section.here), node, site, size))
            value = 0
        elif not least <= value <= most:
            raise SourceError(f"{value} does not fit {plural(size, 'byte')}: {least}..{most}", *span(node))
        data += (value % (1 << (8 * size))).to_bytes(size, "little")


def _floats(bits: Callable[[ParsedOperand], int], size: int, state: AssemblyState, site: Site, operands: Operands) -> None:
    data = state.contents(site).tail.data
    for operand in operands:
        data += bits(operand).to_bytes(size, "little")


def _strings(end: bytes, state: AssemblyState, site: Site, operands: Operands) -> None:
    data = state.contents(site).tail.data
    for operand in operands:
        if not isinstance(operand, String):
            raise SourceError(f"{describe(operand)} where {site.statement.operation} expects a string in double quotes",
                              *span(operand))
        data += operand.value + end


for _names, _emit in {
    ".byte .1byte":              partial(_integers, 1),
    ".half .2byte .short .hword": partial(_integers, 2),
    ".word .4byte .long .int":   partial(_integers, 4),
    ".dword .8byte .quad":       partial(_integers, 8),
    ".float .single":            partial(_floats, single_bits, 4),
    ".double":                   partial(_floats, double_bits, 8),
    ".ascii":                    partial(_strings, b""),
    ".asciz .string":            partial(_strings, b"\0"),
}.items():
    directive(*_names.split(), data=True)(_emit)


def _space(state: AssemblyState, site: Site, count: ParsedOperand, pattern: bytes, zeros: bool) -> None:
    """`count` times a pattern; zeros alone leave a section without contents."""
    section = state.section if zeros else state.contents(site)
    node = expression(site, count)
    try:
        value = _in_range(state.symbols.now(node, section.here), node, 0, MOST_BYTES, "size")
    except Unresolved:
        section.append(Gap(section, state.symbols.bound(node, section.here), False, pattern, site))
        return
    if value * len(pattern) <= SMALL:
        state.budget.spend(value * len(pattern) >> BYTE)
        section.tail.data += pattern * value
    else:
        section.append(Fill(section, value, pattern, site))


@directive(".zero", ".skip", ".space")
def _zero(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 1, 2, "size, fill")
    fill = _number(state, site, operands[1], -128, 255, "fill byte") if len(operands) == 2 else 0
    _space(state, site, operands[0], bytes([fill % 256]), fill == 0)


@directive(".fill")
def _fill(state: AssemblyState, site: Site, operands: Operands) -> None:
    """.fill repeat, size, value: as in GNU as, at most 4 bytes of the value are used, the rest of a size up to 8 is zero."""
    _count(site, operands, 1, 3, "repeat, size, value")
    size = _number(state, site, operands[1], 0, 8, "size of an element in bytes") if len(operands) > 1 else 1
    value = _number(state, site, operands[2], -(1 << 63), (1 << 64) - 1, "value") if len(operands) > 2 else 0
    pattern = (value % (1 << 32 if size > 4 else 1 << 8 * size)).to_bytes(size, "little")
    _space(state, site, operands[0], pattern or b"\0", value == 0)


def _file(state: AssemblyState, site: Site, operand: ParsedOperand, name: str) -> Path:
    """The file that an operand of the directive `name` names, looked for as .include does."""
    if not isinstance(operand, String):
        raise SourceError(f"{name} needs a file name in double quotes", *span(operand))
    return state.files.find(operand.path(), site)


def _given(state: AssemblyState, operand: ParsedOperand) -> FileSlice | bytes | None:
    """The contents that the caller of `assemble` gave for the file that an operand names."""
    return state.files.given.get(operand.path()) if isinstance(operand, String) else None


@directive(".incbin")
def _incbin(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 1, 3, '"file", offset, length')
    if isinstance(given := _given(state, operands[0]), FileSlice):
        _count(site, operands, 1, 1, '"file"')              # it is taken whole
        section = state.contents(site)
        section.append(FilePart(section, given, site))
        return
    path = _file(state, site, operands[0], ".incbin")
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            offset = _number(state, site, operands[1], 0, size, f"offset in {path} of {size} bytes") if len(operands) > 1 else 0
            length = (_number(state, site, operands[2], 0, size - offset, f"length in {path} of {size} bytes")
                      if len(operands) > 2 else size - offset)
            section = state.contents(site)
            if site.buffer.grown:
                state.budget.spend(FILE + (min(length, SMALL) >> BYTE))
            if length <= SMALL:
                stream.seek(offset)
                section.tail.data += stream.read(length)
            else:
                section.append(FilePart(section, FileSlice(str(path), offset, length), site))
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None


# ------------------------------------------------------------------------------------------------ alignment and place


def _align(power: bool, size: int, state: AssemblyState, site: Site, operands: Operands) -> None:
    items = _with_gaps(site.statement.operands)
    if not 1 <= len(items) <= 3:
        raise SourceError(f"{site.statement.operation} takes 1 to 3 operands", hint="written as "
                          f"`{site.statement.operation} {'power of two' if power else 'bytes'}, fill, at most`")
    alignment, fill, most, *_ = [*items, None, None]
    assert alignment is not None
    _pad(state, site, alignment, fill, most, power, size)


def _with_gaps(text: str) -> list[ParsedOperand | None]:
    """The operands, None for a fill that is left out: ".balign 8,, 4"."""
    closed = re.sub(r",(\s*),", r" \1,", text, count=1)            # columns stay
    operands = parse_operands(closed)
    return [operands[0], None, *operands[1:]] if closed != text and operands else [*operands]


def _pad(state: AssemblyState, site: Site, alignment: ParsedOperand, filler: ParsedOperand | None, most: ParsedOperand | None,
         power: bool, size: int) -> None:
    boundary = _number(state, site, alignment, 0, 30 if power else MOST_ALIGNMENT,
                       "alignment, as a power of two" if power else "alignment in bytes")
    boundary = 1 << boundary if power else max(1, boundary)
    if boundary & (boundary - 1):
        below = 1 << boundary.bit_length() - 1
        raise SourceError(f"alignment {boundary} is not a power of two", *span(expression(site, alignment)),
                          hint=f"{below} and {2 * below} are")
    fill = None if filler is None else _number(state, site, filler, -(1 << 31), (1 << 32) - 1, "fill value")
    limit = 0 if most is None else _number(state, site, most, 0, MOST_ALIGNMENT, "greatest padding")
    section = state.contents(site) if fill else state.section
    section.align = max(section.align, boundary)
    if boundary > 1:
        code = fill is None and "x" in section.flags
        pattern = None if code else ((fill or 0) % (1 << 8 * size)).to_bytes(size, "little")
        section.append(Align(section, boundary, pattern, limit, site))


for _name, _power, _size in ((".align", True, 1), (".p2align", True, 1), (".p2alignw", True, 2), (".p2alignl", True, 4),
                             (".balign", False, 1), (".balignw", False, 2), (".balignl", False, 4)):
    directive(_name, raw=True)(partial(_align, _power, _size))


@directive(".org")
def _org(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 1, 2, "offset in the section, fill")
    fill = _number(state, site, operands[1], -128, 255, "fill byte") if len(operands) == 2 else 0
    section = state.contents(site) if fill else state.section
    node = state.symbols.bound(expression(site, operands[0]), section.here)
    section.append(Gap(section, node, True, bytes([fill % 256]), site))


# ------------------------------------------------------------------------------------------------ sections

_SECTION = re.compile(r'\s*+(?:"(?P<quoted>[^"]++)"|(?P<name>[^\s,"]++))\s*+(?:,\s*+"(?P<flags>[^"]*+)"\s*+'
                      r'(?:,\s*+[@%](?P<type>\w++)\s*+(?:,[^,]++)*+)?+)?+$')
_FLAGS = "awxMSGTo?R"           # the flags of GNU as; merging, groups and the like have no effect here


@directive(".section", ".pushsection", raw=True)
def _section(state: AssemblyState, site: Site, operands: Operands) -> None:
    if site.statement.operation == ".pushsection":
        state.section_stack.append((state.section, state.previous))
    try:
        state.enter_section(*_section_operands(site), site=site)
    except SourceError:
        state.enter_nowhere(site)           # the statements that follow are not reported
        raise


def _section_operands(site: Site) -> tuple[str, str | None, bool | None]:
    """Name, flags, and whether the section holds only zeros, as far as they are given."""
    parts = _SECTION.match(site.statement.operands)
    if parts is None:
        raise SourceError(f"{site.statement.operation} cannot be read", hint='written as `.section name, "awx", @progbits`')
    name = parts["quoted"] or parts["name"]
    if is_reserved(name) and not is_debugging(name):
        raise SourceError(f"section {name} cannot be written by hand: the program file has its own")
    flags = parts["flags"]
    if flags is not None:
        for letter in flags:
            if letter not in _FLAGS:
                start = parts.start("flags") + flags.index(letter)
                raise SourceError(f"unknown section flag {letter!r}: a allocated, w writable, x executable", start, start + 1)
    if parts["type"] not in (None, "progbits", "nobits", "note", "init_array", "fini_array"):
        raise SourceError(f"unknown section type @{parts['type']}: @progbits or @nobits",
                          parts.start("type") - 1, parts.end("type"))
    return (name, None if flags is None else "".join(f for f in "awx" if f in flags),
            None if parts["type"] is None else parts["type"] == "nobits")


@directive(".popsection")
def _popsection(state: AssemblyState, site: Site, operands: Operands) -> None:
    if not state.section_stack:
        raise SourceError(".popsection without .pushsection")
    state.section, state.previous = state.section_stack.pop()


@directive(".previous")
def _previous(state: AssemblyState, site: Site, operands: Operands) -> None:
    state.section, state.previous = state.previous, state.section


@directive(".text", ".data", ".rodata", ".bss", ".sram", ".flash", ".hbm")
def _named_section(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 0, 0, "")
    state.enter_section(site.statement.operation, None, None, site)


@directive(".address")
def _address(state: AssemblyState, site: Site, operands: Operands) -> None:
    """Ours: the load address of this section, directly after .section."""
    _count(site, operands, 1, 1, "address")
    section = state.section
    if section.here.offset or len(section.fragments) > 1:
        raise SourceError(f".address must come before the contents of section {section.name}")
    if "a" not in section.flags:
        raise SourceError(f"section {section.name} is not loaded and has no address")
    section.fixed_address = state.symbols.bound(expression(site, operands[0]), section.here)
    section.site = site


@directive(".machine", raw=True)
def _machine(state: AssemblyState, site: Site, operands: Operands) -> None:
    """Ours: the machine preset that the program is built for."""
    if site.buffer.grown:
        state.budget.spend(PRESET)
    text = site.statement.operands.strip()
    name = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if name.endswith(".toml"):
        state.files.check_allowed(Path(name))
    try:
        state.preset = load_preset(name)
    except (PresetError, OSError) as error:
        raise no_machine(name, error) from None


def no_machine(name: str, error: PresetError | OSError) -> SourceError:
    """The message for a preset or a preset file that cannot be used."""
    if isinstance(error, OSError):
        return SourceError(f"cannot read {name}: {error.strerror or error}")
    message, _, hint = str(error.problems[0]).partition("\nhint: ")
    return SourceError(f"{name}: {message}" if error.path else message, hint=hint)


@directive(".meta")
def _meta(state: AssemblyState, site: Site, operands: Operands) -> None:
    """Ours: the members of a JSON object in a file become members of the program's metadata."""
    _count(site, operands, 1, 1, '"file"')
    if isinstance(given := _given(state, operands[0]), bytes):
        state.meta |= _members(given, site.statement.operands.strip().strip('"'))
        return
    path = _file(state, site, operands[0], ".meta")
    try:
        if site.buffer.grown:
            state.budget.spend(FILE + path.stat().st_size)
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    state.meta |= _members(data, str(path))


def _members(data: bytes, name: str) -> dict[str, Any]:
    """The members of the JSON object that a file of this name holds. Raises SourceError."""
    try:
        found = json.loads(data.decode("utf-8"))
        json.dumps(found, allow_nan=False)             # the program file takes no NaN
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{name} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise SourceError(f"{name} holds {type(found).__name__}; expected a JSON object")
    return found


# ------------------------------------------------------------------------------------------------ symbols


def _binding(binding: str, state: AssemblyState, site: Site, operands: Operands) -> None:
    if not operands:
        raise SourceError(f"{site.statement.operation} needs a symbol")
    for operand in operands:
        entry = state.symbols.entry(_symbol(site, operand))
        entry.binding = binding
        state.mentioned.append((entry, operand, site))


directive(".globl", ".global")(partial(_binding, "global"))
directive(".weak")(partial(_binding, "weak"))
directive(".local")(partial(_binding, "local"))

_TYPES = {"function": "func", "object": "object", "notype": "notype", "common": "object", "gnu_indirect_function": "func"}


@directive(".type")
def _type(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 2, 2, "symbol, @function")
    kind = operands[1]
    word = kind.text if isinstance(kind, Type | Name) else kind.text() if isinstance(kind, String) else ""
    word = word.removeprefix("STT_").lower().replace("func", "function") if word.startswith("STT_") else word
    if word not in _TYPES:
        raise SourceError(f"unknown symbol type: one of {' '.join('@' + name for name in _TYPES)}", *span(kind),
                          hint=nearest(word, _TYPES))
    state.symbols.entry(_symbol(site, operands[0])).kind = _TYPES[word]


@directive(".size")
def _size_of(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 2, 2, "symbol, size")
    node = state.symbols.bound(expression(site, operands[1]), state.section.here)
    state.symbols.entry(_symbol(site, operands[0])).size = node, site


@directive(".set", ".equ", ".equiv", "=")
def _set(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 2, 2, "name, value")
    name = _symbol(site, operands[0])
    try:
        node = expression(site, operands[1])
        if name == ".":
            state.section.append(Gap(state.section, state.symbols.bound(node, state.section.here), True, b"\0", site))
            return
        value: Node
        try:
            value = state.symbols.now(node, state.section.here)
        except Unresolved:
            value = state.symbols.bound(node, state.section.here)
        state.symbols.assign(name, value, site, variable=site.statement.operation != ".equiv")
    except SourceError:
        if not state.symbols.is_defined(name):
            state.symbols.spoil(name)
        raise


@directive(".comm", ".lcomm")
def _common(state: AssemblyState, site: Site, operands: Operands) -> None:
    """.comm symbol, size, alignment: zeros in .bss."""
    _count(site, operands, 2, 3, "symbol, size, alignment")
    back = state.section, state.previous
    state.enter_section(".bss", None, None, site)
    _pad(state, site, operands[2] if len(operands) == 3 else parse_operands("8")[0], None, None, False, 1)
    entry = state.symbols.entry(_symbol(site, operands[0]))
    state.symbols.define_label(entry.name, state.section.here, site)
    entry.kind, entry.binding = "object", entry.binding or ("global" if site.statement.operation == ".comm" else "local")
    entry.size = state.symbols.bound(expression(site, operands[1]), state.section.here), site
    _space(state, site, operands[1], b"\0", True)
    state.section, state.previous = back


# ------------------------------------------------------------------------------------------------ the rest


@directive(".option", raw=True)
def _option(state: AssemblyState, site: Site, operands: Operands) -> None:
    """Options that ask for what holds here in any case are accepted, others refused. So push and pop have nothing to keep."""
    word, comma, architecture = (part.strip() for part in site.statement.operands.partition(","))
    accepted = ("norelax", "norvc", "nopic", "csr-check", "push", "pop", "arch")
    if word not in accepted:
        what = f".option {word} is not supported" if word else ".option without a word"
        raise SourceError(f"{what}; expected one of {', '.join(accepted)}", hint=_REFUSED.get(word) or nearest(word, accepted))
    for part in map(str.strip, architecture.split(",") if word == "arch" else ()):
        if wrong := _other_architecture(part):
            what = f".option arch, {part} is not supported" if part else ".option arch without a name"
            raise SourceError(f"{what}: {wrong}", hint="leave it out: there is one architecture, which nothing changes")
    if word != "arch" and comma:
        raise SourceError(f".option {word} takes nothing more")


_REFUSED = {                # options that ask for something else, and what to do
    "rvc":          "there are no compressed instructions",
    "pic":          "compile with -fno-pic: nothing is linked when the program is loaded",
    "relax":        "leave it out: there is no linker that could shorten code",
    "no-csr-check": "leave it out: names of CSRs are always checked",
}
EXTENSIONS = frozenset(("i", "m", "zmmul", "zicsr", "zicntr", "zifencei"))


# The name of an extension, and its version: m2p0, zicsr, zve32x1p0. As few characters as possible are the name.
_EXTENSION = re.compile(r"([a-z](?:[a-z0-9]*?[a-z])??)(?:[0-9]+(?:p[0-9]+)?)?")
_BASE = re.compile(r"rv64((?:[a-z](?:[0-9]+(?:p[0-9]+)?)?)+)")


def _other_architecture(text: str) -> str:
    """Why `.option arch` asks for something else than what is here; "" if it does not. text: "+m", "-c" or "rv64im_zicsr2p0"."""
    first, *others = text.split("_")
    base = _BASE.fullmatch(first)
    if base:
        pieces = [*re.findall(r"[a-z][0-9]*(?:(?<=[0-9])p[0-9]+)?", base[1]), *others]
    else:
        pieces = [text[1:]] if text[:1] in ("+", "-") else []
    names = [found[1] for piece in pieces if (found := _EXTENSION.fullmatch(piece))]
    if not pieces or len(names) < len(pieces):
        return "expected +NAME, -NAME or rv64im..., in lower case"
    if base and names[0] != "i":
        return "rv64 is followed by i, the base instructions"
    if text[0] == "-":
        return f"{names[0]} is always there" if names[0] in EXTENSIONS else ""
    more = [name for name in names if name not in EXTENSIONS]
    return f"the core has {', '.join(sorted(EXTENSIONS))}, not {', '.join(more)}" if more else ""


@directive(".err", raw=True)
def _err(state: AssemblyState, site: Site, operands: Operands) -> None:
    """As in GNU as it has no text of its own."""
    if text := site.statement.operands:
        raise SourceError(".err takes no operand", 0, len(text), hint='for a message of your own: .error "text"')
    raise SourceError(".err here")


@directive(".error", ".warning")
def _message(state: AssemblyState, site: Site, operands: Operands) -> None:
    _count(site, operands, 0, 1, '"text"')
    text = f"{site.statement.operation} here"
    for operand in operands:
        if not isinstance(operand, String):
            raise SourceError(f"{describe(operand)} where {site.statement.operation} expects a string in double quotes",
                              *span(operand))
        text = operand.text()
    if site.statement.operation != ".warning":
        raise SourceError(text)
    state.messages.warn(site, text)


IGNORED = """.ident .attribute .addrsig .addrsig_sym .title .sbttl .list .nolist .eject
    .hidden .protected .internal .variant_cc .loc_mark_labels .cfi_startproc .cfi_endproc .cfi_def_cfa .cfi_def_cfa_offset
    .cfi_def_cfa_register .cfi_offset .cfi_rel_offset .cfi_val_offset .cfi_restore .cfi_sections .cfi_remember_state
    .cfi_restore_state .cfi_adjust_cfa_offset .cfi_undefined .cfi_same_value .cfi_register .cfi_return_column .cfi_escape
    .cfi_personality .cfi_personality_id .cfi_lsda .cfi_signal_frame .cfi_val_encoded_addr .cfi_fde_data .cfi_label"""


@directive(*IGNORED.split(), raw=True)
def _nothing(state: AssemblyState, site: Site, operands: Operands) -> None:
    """Directives in the output of compilers that have no effect here."""

