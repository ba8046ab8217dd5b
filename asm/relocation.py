"""After layout: what waited for addresses is worked out, checked and written into the code and data."""

from __future__ import annotations

from asm.diagnostics import SourceError, UnknownName, nearest
from asm.encoding import Reloc, operand_bits, signed64
from asm.expressions import Function, Location, Name, Node, evaluate, number
from asm.fragments import Data
from asm.source import Site
from asm.state import AssemblyState
from isa.csrs import CSRS
from isa.instruction import CSR, TARGET


def fill_in_addresses(state: AssemblyState) -> None:
    """Check every symbol and fill in every relocation. Mistakes go to the messages."""
    messages, symbols = state.messages, state.symbols
    for entry, operand, site in state.mentioned:
        if entry.value is None and entry.binding != "weak" and isinstance(operand, Name):
            messages.report(site, symbols.undefined(operand))
    for entry in list(symbols.entries.values()):
        for node, where in ((entry.value, entry.site), entry.size or (None, None)):
            if node is not None and where is not None and not isinstance(node, Location):
                _check_symbol(state, entry.name, node, where)
    # Address of each auipc with %pcrel_hi -> the expression in it.
    uppers = {fragment.section.address + fragment.offset + offset: node
              for (fragment, offset), node in state.upper_halves.items()}
    for section in state.sections.values():
        for fragment in section.fragments if not section.left_out else ():
            if isinstance(fragment, Data):
                for reloc in fragment.relocs:
                    try:
                        _relocate(state, fragment, reloc, uppers)
                    except SourceError as error:
                        messages.report_late(reloc.site, error, reloc.written)


def _check_symbol(state: AssemblyState, name: str, node: Node, site: Site) -> None:
    """Report a value or size of a symbol that cannot be worked out or written to the program file."""
    try:
        value = number(evaluate(node, state.symbols.value))
        if not -(1 << 63) <= value < 1 << 64:
            raise SourceError(f"`{name}` cannot be {value:#x}: a symbol has 64 bits")
    except SourceError as error:
        state.messages.report(site, error)
        state.symbols.spoil(name)
        if isinstance(error, UnknownName):          # uses of the symbol may stand for what it was set to
            state.symbols.spoil(error.symbol)


def _relocate(state: AssemblyState, fragment: Data, reloc: Reloc, uppers: dict[int, Node]) -> None:
    """Fill in one place. Raises SourceError."""
    node, operand, lookup = reloc.node, reloc.operand, state.symbols.value
    at, size = reloc.offset, reloc.size
    if operand is None:
        value = number(evaluate(node, lookup))
        if not -(1 << (8 * size - 1)) <= value < 1 << (8 * size):
            raise SourceError(f"{value:#x} does not fit {size} bytes")
        fragment.data[at:at + size] = (value % (1 << (8 * size))).to_bytes(size, "little")
        return
    place = fragment.section.address + fragment.offset + at
    if isinstance(node, Function):
        bits = operand_bits(reloc.mnemonic, operand, _modified(state, node, place, uppers), node.name)
    else:
        if operand.role == CSR and isinstance(node, Name) and node.text not in state.symbols.entries:
            raise SourceError(f"unknown CSR `{node.text}`", node.start, node.end, hint=nearest(node.text, CSRS))
        value = number(evaluate(node, lookup))
        bits = operand_bits(reloc.mnemonic, operand, signed64((value - place) % (1 << 64)) if operand.role == TARGET
                            else signed64(value))
    word = int.from_bytes(fragment.data[at:at + 4], "little") | bits
    fragment.data[at:at + 4] = word.to_bytes(4, "little")


def _modified(state: AssemblyState, node: Function, place: int, uppers: dict[int, Node]) -> int:
    """The value of which %hi and the like take a part."""
    lookup = state.symbols.value
    value = number(evaluate(node.operand, lookup))
    if node.name == "pcrel_hi":
        return value - place
    if node.name == "pcrel_lo":
        target = uppers.get(value)
        if target is None:
            raise SourceError("%pcrel_lo needs the label of an auipc with %pcrel_hi", node.start, node.end)
        return number(evaluate(target, lookup)) - value
    return value
