"""Addresses that a unit computes, and strides: docs/isa/traps.md, on both engines.

Every stride CSR is tried at its edges, with each instruction that reads it. Sums of addresses are tried at 2**64 and beyond: on the
machine of these tests the scratchpad begins at address 0, so that a sum that wrapped around would find memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from both_engines import DRAM, FLASH, SMALL, Done, Pair, run_program
from both_starts import INDEX, ROWS, small_pair, start_with
from manual_tables import table
from starts import LIST, MANY, Start, starts

from asm import assemble
from isa.csrs import CSRS
from isa.effects import csrs
from isa.instruction import TABLE, Row
from isa.numbers import FORMATS
from isa.preset import preset_of
from isa.traps import Cause

STRIDES = ("vec.row_stride", "vec.result_stride", "lut.row_stride", "lut.codes_stride", "lut.scale_stride", "lut.result_stride",
           "sp.codes_stride", "sp.scale_stride", "sp.result_stride", "cim.codes_stride", "cim.scale_stride", "cim.result_stride",
           "fetch.src_stride",
           "fetch.dst_stride", "attn.key_stride", "attn.value_stride", "attn.score_stride", "attn.list_stride", "attn.mask_stride")
WORD = (1 << 64) - 1
ZEROS = LIST                                        # a list that names row 0 alone


# ---------------------------------------------------------------------------------------------------- strides


@dataclass
class Rule:
    """What a stride is to an instruction: how long a row is, of what the stride must be a multiple, what it steps over."""

    row_bytes: int
    align: int
    zero: bool                      # 0 is a legal value
    operand: str                    # or a CSR that holds an address
    cause: Cause                    # of rows that leave memory
    offset: int = 0                 # strides from the address to the first row that is accessed


def stepped_over(row: Row, name: str) -> tuple[str, Cause, int] | None:
    """The operand or CSR whose rows lie at this stride, the trap of rows that leave memory, and strides from the address to the
    first row that is accessed; None: it does not step over anything."""
    mnemonic, access = row.mnemonic, {operand.name: operand.access for operand in row.operands}
    unit, _, which = name.partition(".")
    load, store = Cause.LOAD_ACCESS, Cause.STORE_ACCESS
    if which == "result_stride":
        return row.operands[0].name, load if access.get("acc") else store, 0
    if which in ("codes_stride", "scale_stride"):
        return "cim.x_scales" if name == "cim.scale_stride" else {"codes_stride": "x", "scale_stride": "scale"}[which], load, 0
    if unit in ("vec", "lut"):
        return "W", load, 0
    if unit == "fetch":
        if mnemonic == "fetch.copy":
            return None
        if which == "src_stride":
            return ("table", load, INDEX) if mnemonic == "fetch.rows" else ("src", load, 0)
        return ("table", store, INDEX) if mnemonic == "fetch.scatter" else ("dst", store, 0)
    if which == "key_stride":
        return "keys", store if "xpose" in mnemonic else load, 0
    if which == "value_stride":
        return "values", load, 0
    if which == "list_stride":
        return None if mnemonic.startswith("attn.x") else ("attn.row_list", load, 0)
    if which == "mask_stride":
        return "attn.mask", load, 0
    scores = [operand.name for operand in row.operands if operand.shape == "f32[heads,n]"]
    operand = next((name for name in scores if "<" in access[name]), scores[0])         # what is read is checked first
    return operand, load if "<" in access[operand] else store, 0


# What the manual has for each stride of each instruction.
PRINTED = {(row.mnemonic, told["CSR"].strip("`")): told for told in table("traps", "0 means", "a multiple of", "at least")
           for row in ROWS if row.mnemonic.startswith(tuple(re.findall(r"`([^`*]+)\*?`", told["instructions"])))}


def rule(row: Row, name: str) -> Rule | None:
    """What docs/isa/traps.md says of this stride for this instruction, with the numbers of `start_of`."""
    steps = stepped_over(row, name)
    if steps is None:
        return None
    told = PRINTED[row.mnemonic, name]
    form = next((operand.layout.form for operand in row.operands
                 if operand.name in ("keys", "values", "W") or name.endswith(".codes_stride")), "")
    many = 4 if name.startswith(("sp.", "cim.")) else MANY
    size = {"f32": 4, "f16": 2, "bf16": 2}.get(form, 1)
    least = {                                   # 4 columns, scores, positions, heads, channels of a head; of a mask 12 positions
        "vec.cols weights": 4 * size,
        "the weights of an output, or of a tap": 4,
        "the results of a window": 4,
        "the bytes of a row of weights": FORMATS[form].row_bytes(MANY) if form in FORMATS else 0,
        "the bytes of a vector": FORMATS[form].row_bytes(many) if form in FORMATS else 0,
        "the scales of a vector": 4,
        "the results of a vector": 4 * many,
        "1: rows may overlap": 1,
        "fetch.row_bytes": 4,
        "a row of all heads of the cache, int8 scales included": 4 * 4 * size + 4 * 4 * (form == "i8"),
        "the elements of a channel: n, or position + 1": (5 if "xpose" in row.mnemonic else 4) * size,
        "n scores": 4 * 4,
        "n numbers": 4 * 4,
        "n bits in whole bytes": 2}
    multiple = {"1": 1, "4": 4, "the bytes of a weight": size, "the bytes of an element; 4 with int8": 4 if form == "i8" else size}
    return Rule(least[told["at least"].partition("; looked at only if ")[0]], multiple[told["a multiple of"]],
                told["0 means"] != "not legal", *steps)


def start_of(row: Row, name: str) -> Start:
    """A start in which the stride is used."""
    start = starts(row)[-1]
    if name in ("attn.key_stride", "attn.value_stride"):        # all rows, not those of a list
        start = starts(row)[0]
    if name == "vec.result_stride":
        return start | Start(csrs={"vec.windows": 0x1_0002})
    if row.mnemonic == "vec.depthwise.i8":
        return start | Start(csrs={"vec.taps": 0x1_0002})
    return start | Start({"n": 12}, {"attn.score_stride": 64}) if name == "attn.mask_stride" else start


def one_row(row: Row, name: str) -> list[Start]:
    """What makes it a single row, so that a stride steps nowhere; none where int8 scales stand behind a channel."""
    names = {operand.name for operand in row.operands}
    if name.startswith("fetch"):
        few = {"rows": 1, "count": 1, "index": ZEROS}
        return [Start({operand: number for operand, number in few.items() if operand in names})]
    unit, _, which = name.partition(".")
    if which in ("codes_stride", "scale_stride"):
        return [Start(csrs={f"{unit}.vectors": one}) for one in (0, 1)]
    if unit == "vec" and (which == "result_stride" or row.mnemonic in ("vec.conv.i8", "vec.depthwise.i8")):
        few = {"rows": 1} if "rows" in names else {}
        return [Start(few, {"vec.windows": 0x1_0001, "vec.taps": 0x1_0001} | ({"vec.outputs": 1} if which == "row_stride" else {}))]
    if which == "result_stride":
        return [Start(state={f"{unit}.built_vectors": [one]}) for one in (0, 1)[unit == "cim":]]      # cim: 0 is none
    if name.startswith("lut") and ".macT" in row.mnemonic:
        return [Start(state={"lut.length": [1]})]
    if name.startswith(("lut", "vec")):
        return [Start({"rows": 1})]
    if name in ("attn.score_stride", "attn.list_stride", "attn.mask_stride"):
        return [Start(state={"attn.model": [4, 4, 4, 0, 1]})]
    if row.mnemonic.startswith("attn.x"):
        loaded = starts(row)[0].state["attn.loaded"][0]
        return [Start(state={"attn.model": [1, 1, 1, 0, 1], "attn.loaded": [loaded, 0, 1, 1]})] * (not row.mnemonic.endswith("i8"))
    return [Start({"n": 1}, {"attn.score_stride": 0})]


def refused(done: Done, cause: Cause, mtval: int) -> None:
    """The instruction has trapped like this; mtval has the low 64 bits."""
    assert done.trap is not None and (done.trap.cause, done.trap.value) == (cause, mtval & WORD), str(done.trap)


CONCERNED = [(row, name) for row in ROWS for name in csrs(row) if name in STRIDES and rule(row, name)]


@pytest.fixture(scope="module")
def pair():
    return small_pair()


def test_every_stride_is_tried_and_in_the_manual():
    assert {name for _, name in CONCERNED} == set(STRIDES) == {name for name in CSRS if name.endswith("stride")}
    assert PRINTED.keys() == {(row.mnemonic, name) for row, name in CONCERNED}


@pytest.mark.parametrize(("row", "name"), CONCERNED, ids=[f"{row.mnemonic}-{name}" for row, name in CONCERNED])
def test_a_stride_is_0_or_at_least_a_row_and_aligned(pair, row, name):
    known, start = rule(row, name), start_of(row, name)
    begins = [(start, True), *((start | one, False) for one in one_row(row, name))]
    pair.fresh()
    least = known.row_bytes
    for stride in (0, least, least - 1, least + 1, least + known.align, 1 << 63, (1 << 63) + 1, (1 << 64) - 8, (1 << 64) - least):
        legal = known.zero if stride == 0 else stride % known.align == 0 and stride >= least
        for begin, steps in begins:
            done = start_with(pair, row, begin | Start(csrs={name: stride}))
            if not legal:
                refused(done, Cause.ILLEGAL_OPERAND, stride)
            elif stride >= 1 << 63 and steps:
                base = begin.csrs[known.operand] if "." in known.operand else begin.values[known.operand]
                refused(done, known.cause, base + known.offset * stride)
            else:
                assert done.trap is None, (stride, steps, str(done.trap))


WITHOUT_ROWS = [(row, name) for row, name in CONCERNED          # position 0 is a row; no factors go with no vector that is there
                if not row.mnemonic.startswith(("attn.xpose", "cim.join"))]


@pytest.mark.parametrize(("row", "name"), WITHOUT_ROWS, ids=[f"{row.mnemonic}-{name}" for row, name in WITHOUT_ROWS])
def test_a_stride_is_not_looked_at_where_there_is_no_row(pair, row, name):
    lengths = [*row.lengths, *(operand.name for operand in row.operands if operand.name == "f")]       # f factors of n rows each
    trap = start_with(pair, row, start_of(row, name) | Start(dict.fromkeys(lengths, 0), {name: 1, "vec.windows": 0})).trap
    assert trap is None, str(trap)


ONLY_IF = {(mnemonic, name): told["at least"].partition("; looked at only if ")[2] for (mnemonic, name), told in PRINTED.items()}


@pytest.mark.parametrize(("mnemonic", "name"), [key for key, only_if in ONLY_IF.items() if only_if.startswith("attn.")])
def test_a_stride_of_lists_or_masks_is_not_looked_at_where_there_are_none(pair, mnemonic, name):
    csr = ONLY_IF[mnemonic, name].removesuffix(" is not 0")
    start = start_of(TABLE[mnemonic], name)
    assert start.csrs[csr]
    refused(start_with(pair, TABLE[mnemonic], start | Start(csrs={name: 1})), Cause.ILLEGAL_OPERAND, 1)
    trap = start_with(pair, TABLE[mnemonic], start | Start(csrs={name: 1, csr: 0})).trap
    assert trap is None, str(trap)


def test_rows_that_are_read_may_overlap(pair):
    pair.fresh()
    src = pair.put(np.arange(64, dtype=np.uint8))
    pair.set(fetch__row_bytes=4, fetch__src_stride=1)
    pair.run("fetch.copy2d", dst=DRAM + 8192, src=src, rows=3)
    assert pair.get(DRAM + 8192, "u1", 12).tolist() == [0, 1, 2, 3, 1, 2, 3, 4, 2, 3, 4, 5]
    pair.run("fetch.rows", dst=DRAM + 8192, table=src, index=pair.put(np.array([5, 1], "<u4")), count=2)
    assert pair.get(DRAM + 8192, "u1", 8).tolist() == [5, 6, 7, 8, 1, 2, 3, 4]


# ---------------------------------------------------------------------------------------------------- sums


@pytest.fixture(scope="module")
def low():
    """Both engines, with the scratchpad at address 0."""
    data = SMALL.file.model_dump(exclude_none=True)
    data["region"]["sram"]["base"]["value"] = 0
    return Pair(preset_of(data), bytes(8192))


@pytest.mark.parametrize("row", [row for row in TABLE.values() if row.format.name in ("LOAD", "S") and row.mnemonic != "jalr"],
                         ids=lambda row: row.mnemonic)
def test_loads_and_stores_add_modulo_2_64(low, row):
    low.fresh()
    low.place(0, np.arange(1, 65, dtype=np.uint8))
    read = row.format.name == "LOAD"
    size, data = {"b": 1, "h": 2, "w": 4, "d": 8}[row.mnemonic.rstrip("u")[-1]], 0x0123_4567_89AB_CDEF
    values, numbers = ({}, {"rs1": 10, "rd": 12}) if read else ({"rs2": data}, {"rs1": 10, "rs2": 11})
    for base, offset in ((WORD - 15, 24), (8, 0), (WORD, 9), (2048 + 8, -2048)):
        assert base + offset & WORD == 8
        done = low.run(row.mnemonic, inline=False, registers=numbers | {"imm": offset}, rs1=base, **values)
        assert done.trap is None, str(done.trap)
        if read:
            assert done.result == int.from_bytes(bytes(range(9, 9 + size)), "little")
        else:
            assert low.get(8, "u1", size).tobytes() == data.to_bytes(8, "little")[:size]
    for base in range(WORD - size + 1, WORD + 1):                   # bytes do not wrap around
        done = low.run(row.mnemonic, inline=False, registers=numbers | {"imm": 0}, rs1=base, **values)
        refused(done, Cause.LOAD_ACCESS if read else Cause.STORE_ACCESS, base)


@pytest.mark.parametrize("stride", [1 << 40, 1 << 62, 1 << 63, (1 << 64) - 8, (1 << 64) - 64])
@pytest.mark.parametrize("number", [1, 2, 4, 0xFFFF_FFFF])
def test_rows_of_a_list_do_not_wrap_around(low, stride, number):
    low.fresh()
    index = DRAM + 8192
    low.place(index, np.full(4, number, "<u4"))
    table = -number * stride + 64 & WORD                            # modulo 2**64 the row would be at address 64
    low.set(fetch__row_bytes=8, fetch__src_stride=stride, fetch__dst_stride=0)
    place = table + number * stride
    assert place > WORD and place & WORD == 64
    refused(low.run("fetch.rows", inline=False, dst=DRAM + 4096, table=table, index=index, count=1), Cause.LOAD_ACCESS, place)
    low.set(fetch__src_stride=0, fetch__dst_stride=stride)
    refused(low.run("fetch.scatter", inline=False, table=table, src=DRAM + 4096, index=index, count=1), Cause.STORE_ACCESS, place)
    low.set(attn__row_list=index, attn__value_stride=stride, attn__key_stride=stride)
    low.start_state = {"attn.model": np.array([4, 2, 4, 0, 4]), "attn.loaded": np.array([1, 0, 4, 4])}
    if table % 4 == 0:
        done = low.run("attn.macT.f32", inline=False, context=512, values=table, probs=1024, n=1)
        refused(done, Cause.LOAD_ACCESS, place)
        refused(low.run("attn.mac.f32", inline=False, scores=512, keys=table, n=1), Cause.LOAD_ACCESS, place)


@pytest.mark.parametrize("table", [64, WORD - 63, WORD - 15])
@pytest.mark.parametrize("row", [WORD, WORD - 3, 1 << 62, (1 << 62) - 1, 1 << 60, 1 << 58])
def test_a_threshold_is_not_looked_for_before_its_table(low, table, row):
    low.fresh()
    low.set(thr__levels=4)
    done = low.run("thr.select", inline=False, table=table, row=row, sparsity=0x3F80_0000)
    if table > 1 << 32:
        refused(done, Cause.LOAD_ACCESS, table)
    else:
        refused(done, Cause.LOAD_ACCESS, table + 4 * (4 * (1 + row) + 3))


def test_thresholds_of_a_table_that_would_wrap_around(low):
    """The levels at the end of flash's section, the row of thresholds as far on as the scratchpad would be."""
    low.fresh()
    low.set(thr__levels=4)
    row = ((1 << 64) + 64 - FLASH) // 16 - 1
    done = low.run("thr.select", inline=False, table=FLASH, row=row, sparsity=0)
    refused(done, Cause.LOAD_ACCESS, FLASH + 16 * (1 + row))


@pytest.mark.parametrize("mnemonic", ["vec.gemv.f32", "vec.macT.f32", "lut.mac.i8", "lut.macT.i8", "fetch.copy2d", "attn.mac.f32",
                                      "attn.xmac.f32", "attn.xpose.f32", "attn.sfm.f32", "attn.context.f32", "vec.add.f32"])
def test_an_operand_that_passes_the_end_of_addresses_is_in_no_region(low, mnemonic):
    """Each memory operand just in front of 2**64, long enough to reach address 0, and with strides that would come back."""
    row = TABLE[mnemonic]
    base = starts(row)[0]
    base.values = {name: value - 0x1000_0000 if value >= 0x1000_0000 else value for name, value in base.values.items()}
    for operand in row.operands:
        if operand.access:
            for place in (WORD - 7, WORD - 15, WORD - 63):
                low.fresh()
                done = start_with(low, row, base | Start({operand.name: place}))
                refused(done, Cause.LOAD_ACCESS if "<" in operand.access else Cause.STORE_ACCESS, place)


def test_lists_and_masks_that_csrs_name_do_not_wrap_around(low):
    for mnemonic, csr, stride, place in (("attn.mac.f32", "attn.row_list", "attn.list_stride", WORD - 63),
                                         ("attn.sfm.f32", "attn.mask", "attn.mask_stride", WORD - 63)):
        row = TABLE[mnemonic]
        start = starts(row)[0]
        start.values = {name: value - 0x1000_0000 if value >= 0x1000_0000 else value for name, value in start.values.items()}
        for step in (0, 64, 1 << 63, (1 << 64) - 64):
            low.fresh()
            refused(start_with(low, row, start | Start(csrs={csr: place, stride: step})), Cause.LOAD_ACCESS, place)


def test_a_write_of_bytes_beyond_the_end_of_addresses():
    done = run_program(assemble("li a7, 64\nli a0, 1\nli a1, -4\nli a2, 8\necall"), max_instructions=100)
    trap = done.results[-1].trap
    assert trap is not None and (trap.cause, trap.value) == (Cause.LOAD_ACCESS, WORD - 3)
