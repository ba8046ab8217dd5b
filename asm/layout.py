"""Layout: the sizes of fragments that depend on each other, and the addresses of sections in the machine's memory."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise

from asm.budget import MOST_BYTES, MOST_WRITTEN
from asm.diagnostics import Note, SourceError
from asm.expressions import Lookup, Unresolved, evaluate, number
from asm.fragments import Align, AssemblySection, Data, FilePart, Fragment
from asm.source import Site
from asm.symbols import SymbolTable
from isa.preset import Preset
from isa.regions import DRAM, FLASH, HBM, SRAM

PAGE = 4096                 # program segments are mapped in units of this
MAPPED = 1 << 16            # a section of this size or more begins on a page, so that it can be mapped by itself
IN_ORDER = 12               # the first passes are like those of GNU as alone; after them, each has a pass backwards before it
SETTLE = 24                 # passes after which a fragment that can be padded may only grow, so that the layout ends
PASSES, PASSES_LEAST, VISITS = 1000, 32, 1_250_000      # most passes; for large sources fewer, for VISITS visits of fragments

# (prefix, region, flags, nobits): what a section is by its name. The first that fits counts; others are data in DRAM.
KINDS: tuple[tuple[str, str, str, bool], ...] = (
    (".text",   DRAM,  "ax", False),
    (".rodata", DRAM,  "a",  False),
    (".data",   DRAM,  "aw", False),
    (".bss",    DRAM,  "aw", True),
    (".sbss",   DRAM,  "aw", True),
    (".sram",   SRAM,  "aw", False),
    (".flash",  FLASH, "a",  False),
    (".hbm",    HBM,   "aw", False),
    (".comment", "",     "",   False),
    (".note",   "",      "",   False),
    (".riscv.attributes", "", "", False),
)
_OTHER = ("", DRAM, "aw", False)


def kind_of(name: str) -> tuple[str, str, str, bool]:
    """The row of KINDS for a section name: ".text.start" is of the kind ".text"."""
    return next((kind for kind in KINDS if name == kind[0] or name.startswith(kind[0] + ".")), _OTHER)


def _rank(section: AssemblySection) -> int:
    """Order within a region: code, constants, data, the rest, zeros."""
    if section.nobits:
        return 4
    return {"ax": 0, "a": 1, "aw": 2}.get("".join(sorted(section.flags, key="awx".index)), 3)


def lay_out(sections: Iterable[AssemblySection], machine: Preset, symbols: SymbolTable,
            report: Callable[[Site | None, SourceError], None]) -> bool:
    """Give every section its address and every fragment its offset and size. False when they are too large to go on with.

    There are passes over all fragments until a pass changes nothing. Problems of placement go to `report`.

    GNU as makes passes forwards only, as many as it needs. A chain of branches, each in reach when the next one is short, needs
    one pass for each link. A pass backwards handles such a chain at once, with the same result. So the first IN_ORDER passes are
    like those of GNU as, and then there are passes in both directions. Where sizes only shrink, or only grow, the order of the
    passes does not change the result: it is that of GNU as. Where sizes still do both after IN_ORDER passes, it may differ.

    A pass visits each fragment once. A chain of sizes that goes up or down the source needs a few passes, however long it is; one
    in scattered order needs about one pass for three links. So the number of passes has a limit, which is lower for larger
    sources: time is in proportion to the source, and at most about 10 seconds more. A layout that is not settled then is an
    error: one that does not end, or a chain in scattered order of more than about 1,300 links.
    """
    sections, lookup = list(sections), symbols.value
    for section in sections:
        section.laid_out = True
        section.nobits |= not section.has_contents and kind_of(section.name)[1] == SRAM
    fragments = sum(len(section.fragments) for section in sections)
    for count in range(min(PASSES, max(PASSES_LEAST, VISITS // max(1, fragments)))):
        changed = False
        if count >= IN_ORDER:
            symbols.clock.era += 1
            for section in sections:
                _pass_back(section, lookup, grow=count >= SETTLE)
        symbols.clock.era += 1
        for section in sections:
            changed |= _pass(section, lookup, first=count == 0, grow=count >= SETTLE)
        changed |= _place(sections, machine, lookup)
        if not changed:
            break
    else:
        report(None, SourceError("the layout does not converge: sizes depend on each other too often"))
    if not _is_bounded(sections, report):
        return False
    _check(sections, machine, lookup, report)
    return True


def _is_bounded(sections: list[AssemblySection], report: Callable[[Site | None, SourceError], None]) -> bool:
    """Report the place where fills, alignments and files become more than a program may have."""
    size = copied = 0
    files: dict[str, tuple[int, int]] = {}          # path: (bytes used, end of the used part); more bytes than that are copies
    for section in sections:
        for fragment in section.fragments:
            size += fragment.size
            copied += fragment.copied
            if isinstance(fragment, FilePart):
                part = fragment.slice
                taken, end = files.get(part.path, (0, 0))
                before, taken, end = max(0, taken - end), taken + part.length, max(end, part.offset + part.length)
                files[part.path] = taken, end
                copied += max(0, taken - end) - before
            if size > MOST_BYTES or copied > MOST_WRITTEN:
                what, most = ("bytes", MOST_BYTES) if size > MOST_BYTES else ("bytes of fills and repeated files", MOST_WRITTEN)
                report(getattr(fragment, "site", None) or section.site,
                       SourceError(f"the program becomes too large here: the limit is {most:#x} {what}"))
                return False
    return True


def _pass(section: AssemblySection, lookup: Lookup, first: bool, grow: bool) -> bool:
    """Go over a section once. Offsets before the current fragment are new, those after it still old. True when a size changed."""
    changed, offset = first, 0
    for fragment in section.fragments:
        section.reached, section.stretch = fragment.index, 0 if first else offset - fragment.offset
        fragment.offset = offset
        size = len(fragment.data) if isinstance(fragment, Data) else _size(fragment, lookup, grow)
        if size != fragment.size:
            fragment.size = size
            changed = True
        offset += size
    section.stretch = 0
    return changed


def _pass_back(section: AssemblySection, lookup: Lookup, grow: bool) -> None:
    """Go over a section from its end to its start. Each fragment sees the new sizes of those after it."""
    section.backwards = True
    for fragment in reversed(section.fragments):
        section.reached = fragment.index
        if not isinstance(fragment, Data | Align):      # the next pass forwards knows the offset of an alignment
            size = _size(fragment, lookup, grow)
            section.stretch -= size - fragment.size
            fragment.size = size
        fragment.offset += section.stretch
    for fragment in section.fragments:
        fragment.offset -= section.stretch
    section.backwards, section.stretch = False, 0


def _size(fragment: Fragment, lookup: Lookup, grow: bool) -> int:
    """The size at the present layout. `grow`: a fragment that can be padded becomes no smaller."""
    try:
        size = fragment.resize(lookup)
    except (SourceError, Unresolved):
        return fragment.size                    # the error is reported when the contents are made
    return max(size, fragment.size) if grow and fragment.padded else size


def _place(sections: list[AssemblySection], machine: Preset, lookup: Lookup) -> bool:
    """Addresses for all sections: first those with .address, the others around them. True when one changed."""
    loaded = [section for section in sections if "a" in section.flags]
    before = [section.address for section in loaded]
    fixed = [section for section in loaded if section.fixed_address is not None]
    for section in (*fixed, *reversed(fixed)):      # each may depend on the one before or after it
        with suppress(SourceError, Unresolved):     # reported by _check
            section.address = number(evaluate(section.fixed_address or 0, lookup))
    free = {region.name: region.base for region in machine.regions}         # next free address
    flags: dict[str, tuple[str, bool]] = {}                                 # region -> permissions of the last section in it
    taken = sorted((section.address, section.address + section.size) for section in fixed if section.size)
    for section in sorted(loaded, key=_rank):
        if section.fixed_address is not None:
            continue
        region, permissions = kind_of(section.name)[1], (section.flags, section.nobits)
        mapped = flags.get(region) != permissions or section.size >= MAPPED \
            or any(isinstance(fragment, FilePart) for fragment in section.fragments)
        align = max(section.align, PAGE if mapped else 1)
        section.address = _clear_of(taken, free.get(region, 0), section.size, align)
        if section.size:
            free[region], flags[region] = section.address + section.size, permissions
    return before != [section.address for section in loaded]


def _clear_of(taken: list[tuple[int, int]], start: int, size: int, align: int) -> int:
    """The first aligned address from `start` at which `size` bytes overlap none of the `taken` ranges, which are sorted."""
    address = -(-start // align) * align
    for index in range(max(0, bisect.bisect_right(taken, (address, 0)) - 1), len(taken)):
        first, end = taken[index]
        if first >= address + size:
            break
        if address < end:
            address = -(-end // align) * align
    return address


def _check(sections: list[AssemblySection], machine: Preset, lookup: Lookup,
           report: Callable[[Site | None, SourceError], None]) -> None:
    """Report sections outside the machine's memory, overlapping ones, and .address values that cannot be."""
    placed: list[AssemblySection] = []
    for section in sections:
        if "a" not in section.flags or not section.size:
            continue
        if section.fixed_address is not None:
            try:
                address = number(evaluate(section.fixed_address, lookup))
            except SourceError as error:
                report(section.site, error)
                continue
            if address % section.align:
                report(section.site, SourceError(f"section {section.name} is aligned to {section.align}, "
                                                 f"but placed at {address:#x}"))
        problem = _outside(section, machine)
        if problem:
            regions = ", ".join(f"{region.name} {region.base:#x}..{region.end:#x}" for region in machine.regions)
            report(section.site, SourceError(problem, hint=f"machine {machine.name} has {regions}"))
        placed.append(section)
    placed.sort(key=lambda section: section.address)
    for first, second in pairwise(placed):
        end = first.address + first.size
        if second.address < end:
            where = f"section {first.name} is from {first.address:#x} to {end:#x}"
            notes = (Note(where, first.site.span()),) if first.site else ()
            report(second.site, SourceError(f"section {second.name} at {second.address:#x} overlaps section {first.name}",
                                            notes=notes))


def _outside(section: AssemblySection, machine: Preset) -> str:
    """What is wrong with a section's place in memory, "" when nothing is."""
    region = next((r for r in machine.regions if r.base <= section.address < r.end), None)
    wanted = kind_of(section.name)[1]
    if region is None and section.fixed_address is None:
        return f"section {section.name} needs region {wanted}, which machine {machine.name} does not have"
    if region is None:
        return f"section {section.name} is placed at {section.address:#x}, where there is no memory"
    if region.is_devices:
        return f"section {section.name} is placed at {section.address:#x}, where devices have their registers"
    if section.address + section.size > region.end:
        return (f"section {section.name} does not fit region {region.name}: it ends at {section.address + section.size:#x}, "
                f"the region at {region.end:#x}")
    return ""
