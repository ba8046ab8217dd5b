"""The order of traps: of several faults in one instruction, the first by the order of docs/isa/traps.md traps, on both engines.

The faults of an instruction follow from its row, in that order: its lengths, its memory operands, what its unit can have set wrong,
and the memory operands whose size a CSR or state says. What can be set wrong is written out here. Each fault is tried alone, with
some later ones, with some pairs of later ones, and with all later ones at once; SLIMULATOR_FUZZ=100000 tries more of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
from both_engines import FLASH, MMIO, SMALL, TEXT, Pair
from both_starts import INDEX, ROWS, small_pair, start_with
from starts import LIST, MANY, Start, starts

from isa.effects import csrs
from isa.instruction import LONGEST, TABLE, Operand, Row
from isa.preset import preset_of
from isa.traps import Cause

SOME = max(3, int(os.environ.get("SLIMULATOR_FUZZ", "2000")) // 1000)
NOWHERE, TOP, HELD, EMPTY = 0x10, (1 << 64) - 64, FLASH, FLASH + (1 << 20)     # of flash: a section, and what none covers


@dataclass
class Fault:
    """What makes an instruction trap, and how."""

    cause: Cause
    mtval: int
    start: Start


def value(cause: Cause, **operand: int) -> Fault:
    (number,) = operand.values()
    return Fault(cause, number, Start(operand))


def setting(number: int, **csrs: int) -> Fault:
    return Fault(Cause.ILLEGAL_OPERAND, number, Start(csrs={name.replace("__", "."): of for name, of in csrs.items()}))


def state(number: int, **arrays: Any) -> Fault:
    return Fault(Cause.ILLEGAL_OPERAND, number, Start(state={name.replace("__", "."): of for name, of in arrays.items()}))


# ---------------------------------------------------------------------------------------------------- what is wrong


def memory(name: str, align: int, access: Cause, csr: bool = False, offset: int = 0) -> Iterator[Fault]:
    """Addresses that are wrong for an operand, or for what a CSR points to, in their order: misaligned, and something else too
    where that can be; in no region; without a port; where nothing is, or nothing that can be written. What is accessed lies
    `offset` bytes behind the address."""
    wrong = [(place + 1, Cause.MISALIGNED_OPERAND) for place in (NOWHERE, MMIO, EMPTY, TOP) if align > 1]
    wrong += [(NOWHERE, access), (TOP, access), (MMIO, Cause.PORT), (EMPTY, access)]
    for place, cause in wrong + [(HELD, access)] * (access is Cause.STORE_ACCESS):
        yield Fault(cause, place + offset, Start(csrs={name: place}) if csr else Start({name: place}))


def of_operands(row: Row, operands: list[Operand], start: Start) -> Iterator[Fault]:
    """Faults of memory operands: of all that are read, then of all that are written."""
    def align(operand: Operand) -> int:
        scales_behind = row.unit == "attn" and operand.name in ("keys", "values") and operand.layout.form == "i8"
        return 4 if scales_behind else operand.layout.align

    offset = {"table": 4 * INDEX} if row.unit == "fetch" else {}
    for operand in operands:
        if "<" in operand.access:
            for setting_, of, size in (("attn.row_list", ("keys", "values"), 4), ("attn.mask", ("scores",), 1)):
                if operand.name in of and setting_ in start.csrs:
                    yield from memory(setting_, size, Cause.LOAD_ACCESS, csr=True)
            if row.unit == "sp" and operand.name == "W" and ".rl." not in row.mnemonic:
                if "sp.scales" in csrs(row):
                    yield from memory("sp.scales", 4, Cause.LOAD_ACCESS, csr=True)
                if ".cs." in row.mnemonic or ".bl." in row.mnemonic:            # offsets of 0: there is nothing in the lists
                    yield from memory("sp.offsets", 4, Cause.LOAD_ACCESS, csr=True)
                    continue
                yield from memory("sp.meta", 1, Cause.LOAD_ACCESS, csr=True)
                if ".bm." in row.mnemonic:              # a mask of zeros: there are no values
                    continue
            if row.mnemonic == "fetch.unpack":
                yield from memory("fetch.chunk_table", 1, Cause.LOAD_ACCESS, csr=True)
            if row.unit == "cim":
                yield from (fault for name, size in (("cim.x_scales", 4), ("cim.meta", 1)) if name in csrs(row)
                            for fault in memory(name, size, Cause.LOAD_ACCESS, csr=True))
            yield from memory(operand.name, align(operand), Cause.LOAD_ACCESS, offset=offset.get(operand.name, 0))
    if operands and operands[0] not in row.plain and "vec.multipliers" in csrs(row):
        yield from memory("vec.multipliers", 4, Cause.LOAD_ACCESS, csr=True)
        yield from memory("vec.shifts", 1, Cause.LOAD_ACCESS, csr=True)
    if row.unit == "cim" and operands and "cim.scales" in csrs(row):
        yield from memory("cim.scales", 4, Cause.LOAD_ACCESS, csr=True)
    for operand in operands:
        if operand.access == ">":
            yield from memory(operand.name, align(operand), Cause.STORE_ACCESS, offset=offset.get(operand.name, 0))
        elif operand.access == "<>":
            yield Fault(Cause.STORE_ACCESS, HELD, Start({operand.name: HELD}))


def form_of(name: str) -> str:
    """The number format of a mnemonic."""
    return name.rpartition(".")[2]


def of_networks(name: str) -> list[Fault]:
    """The same for instructions of int8 networks."""
    if name == "vec.add.i8":
        return [setting(0x100, vec__offsets=0x100), setting(32, vec__left=32)]
    found = [] if "requant" in name else [setting(0, vec__taps=0), setting(0, vec__cols=0)]
    found += [setting(0, sp__block=0), Fault(Cause.CAPACITY, 1 << 40, Start(csrs={"sp.stream": 1 << 40}))] * name.startswith("sp.")
    found.append(setting(3, vec__result_stride=3))
    found += [setting(3, vec__row_stride=3)] * (name in ("vec.conv.i8", "vec.depthwise.i8"))
    return [*found, *[setting(0x100, vec__offsets=0x100)] * ("softmax" not in name)]


def of_settings(row: Row, start: Start) -> list[Fault]:
    """What can be set wrong: values, CSRs, state, in the order in which the meaning looks at them."""
    name, unit, illegal = row.mnemonic, row.unit, Cause.ILLEGAL_OPERAND
    if "vec.multipliers" in csrs(row):
        return of_networks(name)
    words = {word for operand in row.operands if operand.access for word in operand.layout.names}
    form = name.split(".")[2] if name.count(".") > 1 else ""
    size = {"f32": 4, "f16": 2, "bf16": 2}.get(form, 1)
    if unit == "vec":
        return [*[setting(0, vec__cols=0), setting(1, vec__row_stride=1), setting(4 * size - size, vec__row_stride=4 * size - size)]
                * ("cols" in words), *[setting(4 * size + 1, vec__row_stride=4 * size + 1)] * ("cols" in words and size > 1),
                *[setting(3, vec__head_dim=3)] * ("rope" in name)]
    if unit == "lut":
        if "codebook" in name:
            return [value(illegal, n=5)]
        if name == "lut.plane":
            return [value(illegal, bit=8)]
        if name == "lut.part.i8":
            return [value(illegal, part=2)]
        if name == "lut.part.i16":
            return [value(illegal, part=4)]
        if "decode" in name:
            return []
        if "reuse" in name:
            return [setting(257, lut__centres=257)]
        found = [setting(3, lut__mode=3), setting(32, lut__shift=32)]
        if "build" in name:
            found.append(Fault(Cause.CAPACITY, MANY << 20, Start(csrs={"lut.vectors": 1 << 20})))
            return [*found, setting(1, lut__codes_stride=1), *[setting(6, lut__scale_stride=6)] * name.endswith("i8")]
        found.append(state(0, lut__kind=[0]))
        if "gemv" in name:
            found.append(Fault(illegal, 3, Start(csrs={"lut.scale_group": 3}, state={"lut.x_group": [2]})))
        return [*found, *(setting(n, **{f"lut__{which}_stride": n}) for which, n in (
            ("row", 1), ("result", 4), ("result", 4 * MANY + 2)))]
    if unit == "sp":
        if "build" in name:
            found = [Fault(Cause.CAPACITY, 4 << 20, Start(csrs={"sp.vectors": 1 << 20})), setting(1, sp__codes_stride=1)]
            return [*found, setting(6, sp__scale_stride=6) if name.endswith("i8") else setting(18, sp__codes_stride=18)]
        of_layout = [setting(0, sp__nm=0)] if ".nm." in name else [] if ".cs." in name else [
            *[setting(0, sp__block_rows=0)] * (".bl." in name), setting(0, sp__block=0)]
        if "expand" in name or "compress" in name:
            return [*of_layout, setting(1 << 40, sp__cols=1 << 40)]
        found = [setting(32, sp__shift=32)] * (".mac" in name) + [*of_layout, state(0, sp__kind=[0])]
        if "gemv" in name and form_of(name) not in ("f16", "f32"):
            found.append(Fault(illegal, 3, Start(csrs={"sp.scale_group": 3}, state={"sp.x_group": [2]})))
        return [*found, setting(4, sp__result_stride=4), setting(18, sp__result_stride=18)]
    if unit == "cim":
        return of_macros(name)
    if unit == "thr":
        return [setting(0, thr__levels=0)] * ("levels" in words) + [value(illegal, k=17)] * ("k" in row.lengths)
    if unit == "fetch":
        found = [setting(64, fetch__tag=64)]
        if name == "fetch.unpack":
            return [*found, setting(0, fetch__row_bytes=0), setting(0, fetch__chunk_bytes=0), setting(0, fetch__table_rows=0)]
        if name != "fetch.copy":
            found.append(setting(0, fetch__row_bytes=0))
            found += [setting(3, fetch__src_stride=3)] * (name == "fetch.scatter")
            found.append(setting(3, fetch__dst_stride=3))
        return found + [setting(INDEX, fetch__table_rows=INDEX)] * (name in ("fetch.rows", "fetch.scatter"))
    if unit == "sync":
        return [value(illegal, tag=64)] * any(o.name == "tag" for o in row.operands)
    if unit == "attn":
        if name == "attn.setm":
            return [value(Cause.CAPACITY, heads=257), value(illegal, kv_heads=3), value(illegal, head_dim=0)]
        found = [state(0, attn__model=[0] * 5)]
        if name == "attn.seth":
            return [*found, value(illegal, first=1)]
        if "wrgb" in name:
            return found
        if "mac." in name:
            found.append(state(0, attn__loaded=[0] * 4))
        if "xpose" not in name:
            found += [setting(12, attn__score_stride=12), setting(18, attn__score_stride=18)]
        if name.startswith("attn.x"):
            found += [setting(0, attn__key_stride=0), setting(3, attn__key_stride=3), setting(65, attn__key_stride=65)]
            return found + [setting(LIST, attn__row_list=LIST)] * ("xmac" in name)
        if name.startswith(("attn.mac", "attn.context")):
            which = "value" if "values" in {o.name for o in row.operands} else "key"
            found += [setting(n, **{f"attn__{which}_stride": n}) for n in (4, 81, *[82] * (form == "f32"))]
        if "attn.row_list" in start.csrs:
            found += [setting(12, attn__list_stride=12), setting(18, attn__list_stride=18)]
        if "attn.mask" in start.csrs and row.lengths:
            found.append(Fault(illegal, 1, Start({"n": 9}, {"attn.mask_stride": 1})))
        return found
    return of_banks(row, start)


def of_macros(name: str) -> list[Fault]:
    """What can be set wrong for a cim instruction: square macros, a vector of four elements."""
    illegal = Cause.ILLEGAL_OPERAND
    if name == "cim.build.i8":
        return [Fault(Cause.CAPACITY, 4 << 20, Start(csrs={"cim.vectors": 1 << 20})), setting(1, cim__codes_stride=1),
                setting(6, cim__scale_stride=6)]
    if name == "cim.load.nm":
        return [setting(0, cim__nm=0), setting(1 << 40, cim__cols=1 << 40),
                Fault(Cause.CAPACITY, (1 << 20) + 1, Start(csrs={"cim.first": 1 << 20}))]
    layout = [setting(0, cim__block=0), setting(17 << 8, cim__block=17 << 8), setting(0, cim__map=0)] * (name.count(".") > 1)
    if name == "cim.load.bd":
        return [*layout, Fault(Cause.CAPACITY, (1 << 40) + 4, Start(csrs={"cim.first": 1 << 40})), setting(1, cim__first=1)]
    found = [*layout, *[setting(32, cim__shift=32)] * ("mac" in name or "i32" in name), state(0, cim__built_vectors=[0])]
    scaled = name == "cim.gemv" or name.endswith("f32")
    if scaled:
        found.append(Fault(illegal, 3, Start(csrs={"cim.scale_group": 3}, state={"cim.x_group": [2]})))
    found.append(setting(17, cim__adc=17))
    if layout:
        found += [setting(0, cim__factor=0), setting(0, cim__across=0), state(3, cim__length=[3])]
        found += [setting(3, cim__scale_group=3)] * scaled
    return [*found, value(illegal, first=1), setting(4, cim__result_stride=4), setting(18, cim__result_stride=18)]


def of_banks(row: Row, start: Start) -> list[Fault]:
    """What can be set wrong for a pim instruction: two channels of 4 banks, 8 rows, 32 columns."""
    name, operands = row.mnemonic, {operand.name for operand in row.operands}
    macro = row.meaning.__module__.endswith(".macros")
    if "ewadd" in name:
        return []
    found = [value(Cause.ILLEGAL_OPERAND, mode=8)] * ("mode" in operands)
    if name == "pim.wr_aflut":
        return found
    if macro and "bank" in operands:
        found.append(value(Cause.ILLEGAL_OPERAND, bank=4))
    found += [setting(0, pim__channel_mask=0), setting(2, pim__channel_mask=4)]
    if macro:
        if "opsize" in operands:
            found.append(value(Cause.ILLEGAL_OPERAND, opsize=33))
        return found + [value(Cause.ILLEGAL_OPERAND, row=8)] * ("row" in operands)
    if not name.endswith((".ab", "mode.hab")):
        wrong = 0 if start.state["pim.mode"] else 2
        found.append(state(wrong, pim__mode=wrong))
    for operand, least in (("bank", 4), ("parity", 2 if SMALL.banks.banks_per_block == 2 else 1), ("index", 8), ("zeroed", 4)):
        if operand in operands:
            found.append(value(Cause.ILLEGAL_OPERAND, **{operand: least}))
    found += [state(0, pim__open_row=-1)] * ("column" in operands)
    return found + [value(Cause.ILLEGAL_OPERAND, **{what: most}) for what, most in (("column", 32), ("row", 8)) if what in operands]


def faults(row: Row, start: Start) -> list[Fault]:
    """All of them, in order."""
    others = [operand for operand in row.operands if operand.access and operand not in row.plain]
    if row.mnemonic.startswith(("sp.compress", "thr.ranges")):      # of zeros, and of empty ranges, there is nothing to be written
        others = others[1:]
    return [*(value(Cause.CAPACITY, **{name: LONGEST + 1}) for name in row.lengths), *of_operands(row, list(row.plain), start),
            *of_settings(row, start), *of_operands(row, others, start)]


# ---------------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def pair():
    return small_pair()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_the_first_fault_in_order_traps(pair, row):
    pair.fresh()
    for start in starts(row):
        assert start_with(pair, row, start).trap is None, start
        wrong = faults(row, start)
        chance = random.Random(row.mnemonic)
        for i, fault in enumerate(wrong):
            later = wrong[i + 1:]
            pairs = list(combinations(later, 2))
            some = [[], later, *([other] for other in chance.sample(later, min(len(later), SOME)))]
            some += chance.sample(pairs, min(len(pairs), SOME))
            for others in some:
                all_wrong = fault.start
                for other in others:
                    if not all_wrong & other.start:
                        all_wrong = all_wrong | other.start
                trap = start_with(pair, row, start | all_wrong).trap
                assert trap is not None, all_wrong
                assert (trap.cause, trap.value) == (fault.cause, fault.mtval), (all_wrong, fault, str(trap))


def _without_units():
    data = SMALL.file.model_dump(exclude_none=True)
    for table in ("core", "unit", "energy", "power"):
        data[table] = {}
    for region in data["region"].values():
        region["ports"]["value"] = [unit for unit in region["ports"]["value"] if unit == "core"]
    return preset_of(data)


def test_a_unit_that_the_machine_lacks_comes_first():
    pair = Pair(_without_units())
    for row in ROWS:
        everything = Start()
        for fault in faults(row, starts(row)[0]):
            if not everything & fault.start:
                everything = everything | fault.start
        everything.state = {}
        trap = start_with(pair, row, starts(row)[0] | everything).trap
        word = int(pair.fast.peek(TEXT, 4).view("<u4")[0])
        assert trap is not None and (trap.cause, trap.value) == (Cause.ILLEGAL_INSTRUCTION, word), row.mnemonic


def test_nothing_is_checked_of_an_operand_of_no_bytes(pair):
    assert start_with(pair, TABLE["vec.add.f32"], Start({"dst": NOWHERE + 1, "a": MMIO, "b": EMPTY + 1, "n": 0})).trap is None
