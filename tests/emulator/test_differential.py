"""Every Xslim instruction, thousands of random starts: the fast engine does what the reference engine does.

A case starts as a regular one, derived from the row's operands: memory of the right size at aligned addresses, apart from each
other, in any region that the unit reaches. Regular cases must not be handed over to the reference engine. Other cases are then
spoiled: operands that overlap or are the same, misaligned, across the end of a region, in no region, in flash, on the
instruction itself; lengths and CSRs that are absurd. Data has NaNs, infinities, zeros of both signs and subnormals.

One instruction at a time, each as often as any other, with long operands too; test_fuzzing.py has whole programs. `make fuzz` runs
more: with SLIMULATOR_FUZZ=100000, a fiftieth of that for each instruction instead of 40; SLIMULATOR_FUZZ_SEED=7 gives other ones.
"""

from __future__ import annotations

import os
import random
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from bank_cases import BankCases
from both_engines import DRAM, FLASH, HBM, MMIO, SMALL, SRAM, TEXT, WINDOW, Difference, Pair, memory_differences
from macro_cells import Macros, fitting, placed
from packets import stream_of

from emulator.load_kernels import registered
from isa import sparse
from isa.instruction import TABLE, Operand, Row
from isa.numbers import FORMATS

CASES = int(os.environ.get("SLIMULATOR_FUZZ", "2000")) // 50
SEED = int(os.environ.get("SLIMULATOR_FUZZ_SEED", "1"))
ROWS = [row for row in TABLE.values() if row.is_xslim]
OF_WINDOWS = re.compile(r"windows|vec\.outputs")           # in a shape: test_network_kernels.py makes random cases of these
ABSURD = (1 << 40, 1 << 60, 1 << 61, 1 << 62, (1 << 62) + 1, 1 << 63, (1 << 63) + 4, (1 << 64) - 1, (1 << 64) - 4)
SPECIAL = np.array([0, 0x8000_0000, 1, 0x8000_0001, 0x7F_FFFF, 0x80_0000, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_1234,
                    0x7F80_0001, 0x7F7F_FFFF, 0xFF7F_FFFF, 0x3F80_0000, 0xBF80_0000, 0x4F00_0000, 0xCF00_0000, 0x42B1_7218,
                    0xC2CF_F1B5, 0x4B00_0001, 0x3F00_0000, 0x4020_0000, 0xC060_0000, 0x3380_0000], "<u4")


@dataclass
class Case:
    """A start: operand values, memory to be placed, CSRs, unit state."""

    row: Row
    values: dict[str, int] = field(default_factory=dict)
    data: list[tuple[int, np.ndarray]] = field(default_factory=list)
    csrs: dict[str, int] = field(default_factory=dict)
    state: dict[str, np.ndarray] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)         # bytes of each address operand
    regular: bool = True

    def __str__(self) -> str:
        shown = {name: array[:4].tolist() for name, array in self.state.items()}
        return f"{self.row.mnemonic} {({k: hex(v) for k, v in self.values.items()})} csrs {self.csrs} state {shown}"


class NoRoom(Exception):
    """Operands that do not fit in the places of memory that are compared."""


class Cases(BankCases):
    """Makes random cases for one pair of machines."""

    def __init__(self, pair: Pair, random: np.random.Generator) -> None:
        self.pair, self.random = pair, random
        self.preset = pair.reference.preset
        regions = {region.name: region for region in self.preset.regions}
        # Places for operands: (first address, end, region). All of it is compared after every instruction.
        self.places = [(start, start + WINDOW, region) for region in regions.values() if region.writable and region.name != "mmio"
                       for start in (region.base, region.base + region.size - WINDOW)]
        self.places = [(start + 4096 * (start == TEXT), end, region) for start, end, region in self.places]
        if "flash" in regions:
            self.places.append((FLASH, FLASH + WINDOW, regions["flash"]))

    # ------------------------------------------------------------------------------------------ numbers

    def chance(self, part: float) -> bool:
        return bool(self.random.random() < part)

    def below(self, end: int) -> int:
        return int(self.random.integers(end))

    def one_of(self, choices):
        return choices[self.below(len(choices))]

    def length(self, most: int = 10_000) -> int:
        """Small ones, those around the lane counts, some hundreds, rarely thousands."""
        kind = self.random.random()
        if kind < 0.35:
            n = self.below(20)
        elif kind < 0.6:
            n = self.one_of((15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257))
        elif kind < 0.95:
            n = self.below(400)
        else:
            n = self.below(most)
        return min(n, most)

    def f32(self, count: int) -> np.ndarray:
        """fp32 data of one of several kinds."""
        kind = self.below(6)
        values = (self.random.standard_normal(count) * 10.0 ** self.random.integers(-3, 3)).astype("<f4")
        if kind == 0:
            return self.random.integers(0, 1 << 32, count, np.uint32).view("<f4")
        if kind == 1:
            return self.random.choice(SPECIAL, count).view("<f4")
        if kind == 2:                                                   # now and then one
            return np.where(self.random.random(count) < 0.05, self.random.choice(SPECIAL, count).view("<f4"), values)
        if kind == 3:                                                   # ties
            return self.random.integers(-3, 4, count).astype("<f4") * np.float32(0.5)
        return values

    def array(self, form: str, count: int) -> np.ndarray:
        if form == "f32":
            return self.f32(count)
        if form == "f16":
            with np.errstate(over="ignore", invalid="ignore"):
                return self.f32(count).astype("<f2") if self.chance(0.7) else self.random.integers(0, 1 << 16, count, np.uint16)
        if form == "bf16":
            return (self.f32(count).view("<u4") >> 16).astype("<u2")
        if form == "u32":
            return self.random.integers(0, self.one_of((4, 1000, 1 << 32)), count, np.uint32)
        size = FORMATS[form].row_bytes(count)
        data = self.random.integers(0, 256, size, np.uint8)
        return data * (self.random.random(size) < self.random.random()) if self.chance(0.3) else data   # with zeros

    # ------------------------------------------------------------------------------------------ regular cases

    def place(self, case: Case, taken: list[tuple[int, int]], unit: str, size: int, align: int, write: bool) -> int:
        """A free, aligned range in a region that the unit reaches."""
        places = [p for p in self.places if unit in p[2].ports and p[1] - p[0] >= size and not (write and not p[2].writable)
                  and not (write and unit == "pim" and p[2].name == "hbm")]     # it may be a column that is read
        for _ in range(200):
            start, end, _ = self.one_of(places)
            offset = (end - start - size) // align * align
            address = start + (offset if self.chance(0.1) else self.below(offset // align + 1) * align)
            if self.chance(0.1):
                address = start
            if all(address + size <= a or b <= address for a, b in taken):
                taken.append((address, address + size))
                return address
        raise NoRoom

    def regular(self, row: Row) -> Case:
        """A case that fits in the places that there are."""
        while True:
            try:
                return self.attempt(row)
            except NoRoom:
                continue

    def attempt(self, row: Row) -> Case:
        case = Case(row)
        self.pointed: dict[str, np.ndarray] = {}        # what CSRs point to
        dims = self.dimensions(case)
        taken: list[tuple[int, int]] = []
        for operand in row.operands:
            name = operand.name
            if operand.role == "address":
                form, shape = re.fullmatch(r"(\w+)\[(.+)\]", operand.shape).groups()
                numbers = [int(dim) if dim.isdecimal() else dims[dim] for dim in shape.split(",")]
                size, align, data = self.contents(case, operand, form, numbers, dims)
                case.sizes[name] = size
                held = row.unit == "sp" and name == "W"         # its bytes are in the case: not in flash
                case.values[name] = self.place(case, taken, row.unit, size, align, ">" in operand.access or held
                                               or row.mnemonic in ("fetch.unpack", "thr.ranges"))
                if held:
                    case.csrs |= {"sp.meta": case.values[name] + self.packed[0].values.size,
                                  "sp.scales": case.values[name] + self.packed[0].bytes + -self.packed[0].bytes % 4}
                if case.values[name] < FLASH or case.values[name] >= HBM:
                    case.data.append((case.values[name], data))
            elif operand.role == "f32":
                case.values[name] = int(self.f32(1).view("<u4")[0]) | self.below(1 << 32) << 32
            elif operand.role == "value":
                case.values[name] = dims[name]
        for name, data in self.pointed.items():
            case.csrs[name] = self.place(case, taken, row.unit, data.nbytes, 4, True)
            case.data.append((case.csrs[name], data))
        return case

    def dimensions(self, case: Case) -> dict[str, int]:
        """A number for every name in the operands' shapes and for every value operand; sets the CSRs and state they need."""
        name, unit = case.row.mnemonic, case.row.unit
        words = {word for o in case.row.operands for word in (o.name, *re.split(r"[\[\],]", o.shape))}
        n = self.length()
        dims: dict[str, int] = {"n": n}
        if unit == "vec":
            if "head_dim" in words:
                head_dim = 2 * (1 + self.below(40))
                dims = {"head_dim": head_dim, "n": head_dim * self.below(6)}
                case.csrs["vec.head_dim"] = head_dim
            if "groups" in words:
                group = 0 if self.chance(0.4) else 1 + self.below(40)
                dims["groups"] = -(-n // group) if group else min(n, 1)
                case.csrs["vec.scale_group"] = group
            if "cols" in words:
                dims |= {"rows": self.length(40), "cols": 1 + self.length(300)}
                case.csrs["vec.cols"] = dims["cols"]
            if name.endswith("norm.f32") and self.chance(0.5):
                case.csrs["vec.eps"] = int(self.f32(1).view("<u4")[0])
            dims["value"] = self.below(1 << 62) << 2 | self.below(4)
        if unit == "lut":
            self.lut(case, dims, words)
        if unit == "sp":
            self.sparse(case, dims)
        if unit == "cim":
            self.macros(case, dims)
        if unit == "thr":
            levels = 1 + self.below(20)
            rows = 1 + self.below(10)
            dims |= {"thr.levels": levels, "1+rows": 1 + rows, "row": self.below(rows), "k": self.below(min(n, 12000) + 1)}
            if self.chance(0.6):
                dims["k"] = min(n, self.below(12))
            dims |= {"count": n, "budget": self.one_of((0, self.below(1 << 20), self.below(1 << 40), (1 << 64) - 1))}
            case.csrs["thr.levels"] = levels
            if name == "thr.ranges":
                dims |= {"count": self.length(600), "range_bounds": 4 + self.below(1000)}
                case.csrs["thr.budget"] = dims["count"]
        if unit == "fetch":
            row_bytes, rows, table_rows = 1 + self.length(600), self.length(60), 1 + self.length(80)
            while row_bytes * table_rows > WINDOW // 2:
                table_rows = 1 + table_rows // 2
            while row_bytes * rows > WINDOW // 2:
                rows //= 2
            dims |= {"bytes": n, "rows": rows, "count": rows, "fetch.row_bytes": row_bytes, "fetch.table_rows": table_rows}
            case.csrs |= {"fetch.row_bytes": row_bytes, "fetch.table_rows": table_rows if self.chance(0.6) else 0,
                          "fetch.tag": self.below(64) if self.chance(0.3) else 0}
            if name == "fetch.unpack":
                self.chunks(case, dims)
        if unit == "pim":
            self.banks(case, dims)
        if unit == "attn":
            self.attention(case, dims)
        if unit == "sync":
            dims["tag"] = 1 + self.below(63)
            case.state["sync.signalled"] = self.random.integers(0, 2, 64, np.uint8)
            if "wait" in name and self.chance(0.8):
                case.state["sync.signalled"][dims["tag"]] = 1
        return dims

    def chunks(self, case: Case, dims: dict[str, int]) -> None:
        """Packets of numbers, and a table of their chunks."""
        size, count = self.one_of((1, 2, 3, 4, 8, 16)), 1 + self.below(self.one_of((2, 81, 2000)))
        dims["rows"] = min(dims["rows"], WINDOW // 4 // (dims["fetch.row_bytes"] + 64))
        shape = (dims["rows"], -(-dims["fetch.row_bytes"] // size))
        numbers = np.minimum(self.random.integers(0, count, shape), self.random.integers(0, count, shape)).tolist()
        self.packets = np.array(stream_of(numbers, random.Random(self.below(1 << 30)) if self.chance(0.5) else None), np.uint8)
        dims["stored"] = len(self.packets)
        case.csrs |= {"fetch.chunk_bytes": size, "fetch.table_rows": count}
        self.pointed["fetch.chunk_table"] = self.array("i8", count * size)

    def lut(self, case: Case, dims: dict[str, int], words: set[str]) -> None:
        name = case.row.mnemonic
        vectors = self.one_of((1, 1, 2, 3, 4, 5, 9))
        capacity = self.preset.parameter("lut.activations") // vectors
        length = self.length(min(capacity, 2000))
        kind = 2 if self.chance(0.5 if name == "lut.xnor" else 0.2) else 1
        x_group, group = (0 if self.chance(0.5) else 1 + self.below(40) for _ in range(2))
        if group and x_group:
            x_group = group
        activations = (self.random.integers(0, 2, vectors * length, np.int8) * 2 - 1 if kind == 2 else
                       self.array("i8", vectors * length).view("i1"))
        if kind == 2:
            x_group = 0
        scales = -(-length // x_group) if x_group else min(length, 1)
        case.state |= {"lut.kind": np.array([kind], "u1"), "lut.length": np.array([length], "u8"), "lut.activations": activations,
                       "lut.x_group": np.array([x_group], "u8"), "lut.scales": self.f32(vectors * scales),
                       "lut.built_vectors": np.array([0 if vectors == 1 and self.chance(0.5) else vectors], "u8"),
                       "lut.codebook_i8": self.array("i8", 16).view("i1"), "lut.codebook_f32": self.f32(16)}
        case.csrs |= {"lut.mode": self.below(3), "lut.scale_group": group, "lut.pairs": self.below(2)}
        if "vectors" in words:
            case.csrs |= {"lut.vectors": vectors} if "build" in name else {"lut.result_stride": 0}
        if "acc" in words:
            case.csrs["lut.shift"] = self.below(32) if self.chance(0.3) else 0
        wide = case.row.operand("W").shape.split("[")[0] if "W" in words else ""
        most = WINDOW // 2 * 8 // max(1, length) // (8 if wide == "i8" else 4)
        dims["n"] = min(dims["n"], capacity)
        dims |= {"vectors": vectors, "length": length, "rows": min(self.length(300), most),
                 "cols": min(self.length(300), most), "bit": self.below(8), "part": self.below(2)}
        if name == "lut.reuse.u8":
            pieces, centres = 1 + self.below(9), self.one_of((1, 2, 16, 128, 256))
            dims |= {"lut.pieces": pieces, "lut.centres": centres}
            case.csrs |= {"lut.pieces": 0 if pieces == 1 and self.chance(0.5) else pieces,
                          "lut.centres": 0 if centres == 256 and self.chance(0.5) else centres}
        if name.startswith("lut.codebook"):
            dims["n"] = self.one_of((4, 8, 16))
        if name.startswith("lut.gemv"):
            groups = -(-length // (group or x_group)) if group or x_group else min(length, 1)
            dims["groups"] = groups
            while dims["rows"] * groups * 4 > WINDOW // 2:
                dims["rows"] //= 2
        elif "groups" in words:
            dims["groups"] = -(-dims["n"] // group) if group else min(dims["n"], 1)

    def sparse(self, case: Case, dims: dict[str, int]) -> None:
        """A vector in the unit, and a matrix of a layout: its values, metadata and scales lie one after the other."""
        _, operation, kind, *_, form = (*case.row.mnemonic.split("."), "i8")[:4]
        vectors = self.one_of((1, 1, 2, 3, 6))
        most = self.preset.parameter("sp.activations") // vectors
        length = self.length(min(most, 700))
        x_group, group = (0 if self.chance(0.5) else 1 + self.below(40) for _ in range(2))
        if group and x_group:
            x_group = group
        case.state |= {"sp.kind": np.array([2 if form in ("f16", "f32") else 1], "u1"), "sp.length": np.array([length], "u8"),
                       "sp.built_vectors": np.array([0 if vectors == 1 and self.chance(0.5) else vectors], "u8"),
                       "sp.activations": self.array("i8", vectors * length).view("i1"), "sp.x_group": np.array([x_group], "u8"),
                       "sp.scales": self.f32(vectors * (-(-length // x_group) if x_group else min(length, 1))),
                       "sp.vector": self.f32(vectors * length)}
        dims["n"] = min(dims["n"], most)
        rows = min(self.length(60), WINDOW // 16 // max(length, 1))
        dims |= {"vectors": vectors, "rows": rows, "cols": rows, "sp.cols": length, "stored": 0, "count": length + 64,
                 "blocks": length + 1, "groups": -(-dims["n"] // group) if group else min(dims["n"], 1)}
        case.csrs |= {"sp.scale_group": group, "sp.cols": length, "sp.shift": self.below(32) if self.chance(0.3) else 0,
                      "sp.nm": 0x0402, "sp.block": 1, "sp.result_stride": 0, "sp.vectors": vectors if operation == "build" else 0}
        if operation in ("build", "compress"):
            case.csrs["sp.block"] = self.one_of((1, 1, 2, 4, 7, 64))
            return
        layout = sparse.named(self.one_of(("nm:2:4", "nm:4:8", "nm:1:8", "nm:3:5", "nm:8:16") if kind == "nm" else
                                          ("bm", "bm", "bm:4", "bm:5", "bm:32")))
        shape = (length, rows) if operation == "macT" else (rows, length)
        dense = self.matrix_of(layout, form, *shape)
        packed = layout.pack(dense, form)
        groups = -(-length // group) if group else min(length, 1)
        scales = self.f32(rows * groups if group else min(rows * groups, 1))
        case.csrs |= {"sp.nm": layout.n | layout.m << 8} if kind == "nm" else {"sp.block": layout.block}
        self.packed = packed, np.concatenate([packed.values, packed.meta, np.zeros(-packed.bytes % 4, np.uint8), scales.view("u1")])

    def matrix_of(self, layout, form: str, rows: int, cols: int):
        """A random matrix that a layout can hold."""
        dense = (self.random.standard_normal((rows, cols)).astype(np.float16).astype(np.float32) if form in ("f16", "f32") else
                 self.random.choice(FORMATS[form].held, (rows, cols)))
        dense = dense * (self.random.random((rows, cols)) < self.one_of((0, 0.1, 0.5, 1)))
        if layout.kind == "nm":
            groups = np.pad(dense, ((0, 0), (0, -cols % layout.m))).reshape(rows, layout.groups(cols), layout.m)
            kept = np.where(np.cumsum(groups != 0, axis=2) > layout.n, 0, groups)
            dense = kept.reshape(rows, layout.groups(cols) * layout.m)[:, :cols]
        return dense

    def macros(self, case: Case, dims: dict[str, int]) -> None:
        """Vectors in the unit; a matrix in tiles, or blocks, in its macros or in memory."""
        name, held, most = case.row.mnemonic, Macros(self.preset), self.preset.parameter("cim.activations")
        vectors, block = self.one_of((1, 1, 2, 3, 5)), self.one_of((1, 2, 7, 16, 32))
        blocks = name.startswith(("cim.spread", "cim.join", "cim.load.bd"))
        n, m = self.one_of(((2, 4), (1, 4), (4, 8), (3, 5), (1, 1), (4, 4), (8, 16)))
        rows, length = min(self.length(150), 150), self.length(700)
        kind, factor, across = 1 + self.below(2), 1 + self.below(5), 1 + self.below(3)
        f = min(self.below(7), held.macros * held.slots(block, kind) // factor)
        if "spread" in name or "join" in name:
            length = (across if "spread" in name else f) * factor * block
        down, over = held.tiles(n, m, rows, length)
        while down * over > held.macros or rows * length > WINDOW // 8:
            rows, length = rows // 2, length if blocks else length - length // 3
            down, over = held.tiles(n, m, rows, length)
        first = self.below(held.macros - down * over + 1)
        x_group, group = (0 if self.chance(0.5) else 1 + self.below(40) for _ in range(2))
        if blocks:
            x_group, group = self.one_of((0, length + 3)), 0
        group = x_group if group and x_group else group
        x_scales = -(-length // x_group) if x_group else min(length, 1)
        case.csrs |= {"cim.scale_group": group, "cim.vectors": vectors, "cim.shift": self.below(32) if self.chance(0.3) else 0,
                      "cim.result_stride": 0, "cim.nm": n | m << 8, "cim.cols": length, "cim.first": first, "cim.block": block,
                      "cim.map": kind, "cim.factor": factor, "cim.across": across,
                      "cim.adc": self.one_of((0, 0, 0, 3 | 7 << 8, 16, 1 | 31 << 8, 8 | 2 << 8))}
        case.state |= {"cim.built_vectors": np.array([vectors], "u8"), "cim.length": np.array([length], "u8"),
                       "cim.x_group": np.array([x_group], "u8"), "cim.activations": self.array("i8", vectors * length).view("i1"),
                       "cim.x_scales": self.f32(vectors * x_scales)}
        outputs = (f if "spread" in name else -(-f // across)) * factor * block
        dims |= {"n": min(dims["n"], most // vectors), "vectors": vectors, "rows": rows, "stored": length, "first": first, "f": f,
                 "outputs": outputs, "cim.block": block}
        if name == "cim.build.i8":
            scales = -(-dims["n"] // group) if group else min(dims["n"], 1)
            case.csrs["cim.scale_stride"] = 4 * (scales + self.below(9)) if self.chance(0.5) else 0
            self.pointed["cim.x_scales"] = self.f32(vectors * max(case.csrs["cim.scale_stride"] // 4, scales))
        elif name == "cim.load.nm":
            self.packed, self.pointed["cim.meta"] = placed(fitting(self.random, n, m, rows, length), n, m)
        elif name == "cim.load.bd":
            dims["n"], case.csrs["cim.first"] = min(self.below(40), held.macros * held.slots(block, kind)), 0
        elif blocks:
            spare = self.below(min(5, held.macros * held.slots(block, kind) - f * factor + 1))
            held.load_blocks(self.random.integers(-128, 128, (f * factor + spare, block, block)).astype("i1"), kind)
            dims["first"] = spare
            self.pointed["cim.scales"] = self.f32(outputs)
        else:
            if rows and length:
                held.load_matrix(fitting(self.random, n, m, rows, length), n, m, first)
            self.pointed = {"cim.scales": self.f32(rows * -(-length // group) if group else 1)} if name == "cim.gemv" else {}
        if "load" not in name and "build" not in name:
            case.state |= held.state

    def attention(self, case: Case, dims: dict[str, int]) -> None:
        """A model, some of its heads set, their queries in the buffer."""
        kv_heads, head_dim, name = 1 + self.below(4), 1 + self.length(150), case.row.mnemonic
        heads = kv_heads * (1 + self.below(4))
        active = heads if self.chance(0.6) else 1 + self.below(heads)
        first = self.below(heads - active + 1)
        held = self.below(first + 1)                    # the first head in the query buffer
        form = name.rpartition(".")[2]
        n = min(self.length(100), WINDOW // (40 * kv_heads * head_dim), WINDOW // (40 * active))
        case.state |= {"attn.model": np.array([heads, kv_heads, head_dim, first, active], "u4"),
                       "attn.loaded": np.array([1 + (form == "i8"), held, heads - held, head_dim], "u4"),
                       "attn.query": self.f32(heads * head_dim), "attn.scales": self.f32(heads),
                       "attn.codes": self.array("i8", heads * head_dim).view("i1")}
        dims |= {"n": n, "position": n, "position+1": n + 1, "heads": active, "kv_heads": kv_heads, "head_dim": head_dim,
                 "first": first, "count": active}
        if name == "attn.setm":
            dims["heads"] = heads
        case.csrs |= {"attn.key_stride": 0, "attn.value_stride": 0, "attn.row_list": 0, "attn.mask": 0, "attn.list_stride": 0,
                      "attn.mask_stride": 0, "attn.score_stride": 0 if self.chance(0.6) else 4 * (n + self.below(9))}
        if self.chance(0.3):
            case.csrs["attn.scale"] = int(self.f32(1).view("<u4")[0])

    def of_attention(self, case: Case, operand: Operand, form: str, numbers: list[int]):
        """(bytes, alignment, data) of an operand of an attn instruction: strides, and scales of int8 caches."""
        size, stride, scales = {"f32": 4, "f16": 2, "i8": 1}[form], 0, 4 * (form == "i8")
        rows, last = int(np.prod(numbers[:-1])), numbers[-1] * size
        if operand.name in ("keys", "values"):
            setting = f"attn.{'key' if operand.name == 'keys' else 'value'}_stride"
            if case.row.mnemonic.startswith("attn.x"):                      # a row for each channel
                stride = (last + 3 & -4) + 4 * self.below(3)
                case.csrs[setting] = stride
                rows += scales * numbers[0]
            else:                                                           # a row for each token
                rows, last = numbers[0], numbers[1] * numbers[2] * size
                last += -last % 4 * bool(scales) + scales * numbers[1]
                stride = last + (0 if self.chance(0.6) else 4 * self.below(5))
                case.csrs[setting] = 0 if stride == last and self.chance(0.5) else stride
        elif "[heads,n]" in operand.shape:
            stride = case.csrs["attn.score_stride"]
        room = rows * (stride or last)
        data = self.f32(-(-room // 4)).view("u1")[:room] if form == "f32" else self.array("i8", room)
        return room, 4 if scales else size, data

    def contents(self, case: Case, operand: Operand, form: str, numbers: list[int], dims: dict[str, int]):
        """(bytes, alignment, data) of an address operand."""
        csrs, unit = case.csrs, case.row.unit
        if unit == "attn":
            return self.of_attention(case, operand, form, numbers)
        if unit == "sp" and operand.name == "W":
            return len(self.packed[1]), 4, self.packed[1]
        if case.row.mnemonic == "cim.load.nm":
            return self.packed.nbytes, 1, self.packed
        if case.row.mnemonic == "fetch.unpack" and operand.name == "src":
            return len(self.packets), 1, self.packets
        if operand.name == "assigned":
            data = self.random.integers(0, dims["lut.centres"], numbers[0] * numbers[1]).astype("u1")
            return data.nbytes, 1, data
        if operand.name in ("ranks", "bounds"):
            data = (self.random.integers(0, dims["range_bounds"] - 1, numbers[0], np.uint32) if operand.name == "ranks" else
                    np.cumsum(self.random.integers(0, self.one_of((2, 40, 1 << 20)), numbers[0]), dtype=np.uint32))
            if operand.name == "bounds" and self.chance(0.3):
                self.random.shuffle(data)
            return 4 * len(data), 4, data
        fmt = FORMATS[form]
        align = max(1, int(float(fmt.bits)) // 8) if form in ("f32", "f16", "bf16", "i32", "u32") else 1
        if operand.name == "index" and unit == "fetch":
            limit = dims["fetch.table_rows"]
            data = self.random.integers(0, limit, numbers[0], np.uint32)
            if self.chance(0.5):
                data = np.sort(data)
            return 4 * len(data), 4, data
        if operand.name == "scale" and case.row.mnemonic.startswith("lut.gemv") and not csrs["lut.scale_group"]:
            numbers = [min(numbers[0] * numbers[1], 1)]
        outer, last = int(np.prod(numbers[:-1], dtype=np.int64)), numbers[-1]
        row_bytes = fmt.row_bytes(last)
        size, stride = outer * row_bytes, row_bytes
        if len(numbers) == 2 and unit in ("vec", "lut") and operand.name == "W" and outer and self.chance(0.4):
            stride = row_bytes + align * self.below(9)
            if outer * stride <= WINDOW // 2:
                csrs[f"{unit}.row_stride"] = stride
                size = (outer - 1) * stride + row_bytes
        if "[vectors," in operand.shape and outer and last and self.chance(0.5):
            setting = f"{unit}.{ {'x': 'codes', 'scale': 'scale'}.get(operand.name, 'result')}_stride"
            stride = row_bytes + align * self.below(99)
            csrs[setting] = stride
            size = (outer - 1) * stride + row_bytes
        if unit == "fetch" and len(numbers) == 2:
            side = "dst" if operand.name == "dst" or (operand.name == "table" and ">" in operand.access) else "src"
            if self.chance(0.4) and outer:
                overlapping = side == "src" and case.row.mnemonic != "fetch.scatter"
                stride = self.below(row_bytes) + 1 if overlapping and self.chance(0.3) else row_bytes + self.below(64)
                if (outer - 1) * stride + row_bytes <= WINDOW // 2:
                    csrs[f"fetch.{side}_stride"] = stride
                    size = (outer - 1) * stride + row_bytes
        if align > 1 and stride == row_bytes and form[0] != "i":
            return size, align, self.array(form, outer * last)
        return size, align, self.array("i8", size)

    # ------------------------------------------------------------------------------------------ spoiled cases

    def spoil(self, case: Case) -> None:
        """Make something about the case unusual. What it then does is up to the reference engine."""
        case.regular = False
        addresses = list(case.sizes)
        values = [o.name for o in case.row.operands if o.role == "value"]
        csrs = sorted(case.csrs)
        for _ in range(1 + self.chance(0.3)):
            kind = self.random.random()
            if kind < 0.3 and len(addresses) > 1:                                       # overlap
                one, other = self.one_of(addresses), self.one_of(addresses)
                case.values[one] = case.values[other] + self.one_of((0, 0, 0, 1, 2, 4, 8, 16, 64, -1, -2, -4, -8, -16, -64))
            elif kind < 0.6 and addresses:
                name = self.one_of(addresses)
                case.values[name] = self.address(case.values[name], case.sizes[name])
            elif kind < 0.75 and values:
                name = self.one_of(values)
                case.values[name] = self.one_of((*ABSURD, 0, 1, 2, 3, case.values[name] + 1, case.values[name] * 2))
            elif kind < 0.95 and csrs:
                name = self.one_of(csrs)
                case.csrs[name] = self.one_of((*ABSURD, 0, 1, 2, 3, 4, 31, 32, 63, 64, case.csrs[name] + 1))
            elif case.row.unit == "sp" and "W" in case.sizes and case.sizes["W"]:
                address, data = case.data[-1]                                           # malformed, mostly
                data = data.copy()
                data[self.below(len(data))] ^= 1 << self.below(8)
                case.data[-1] = address, data
            elif case.row.unit in ("lut", "sp"):
                case.state.pop(f"{case.row.unit}.{self.one_of(('kind', 'x_group', 'built_vectors'))}", None)
            elif case.row.unit == "cim":
                case.state.pop(self.one_of(("cim.built_vectors", "cim.length", "cim.held", "cim.x_group")), None)
                if case.row.mnemonic == "cim.load.nm" and case.data and len(case.data[-1][1]):
                    case.data[-1] = case.data[-1][0], case.data[-1][1] ^ np.uint8(1 << self.below(8))
            elif case.row.unit in ("vec", "fetch"):
                name = self.one_of(("row_stride",) if case.row.unit == "vec" else ("src_stride", "dst_stride"))
                case.csrs[f"{case.row.unit}.{name}"] = self.one_of((*ABSURD, 1, 2, 3, 4, 5, 8, 1000))

    def address(self, address: int, size: int) -> int:
        """Misaligned, at or over an edge, in no region, read-only, a device, code."""
        _, end, region = self.one_of(self.places)
        end = region.base + region.size if region.writable else end
        return self.one_of((
            address + 1, address + 2, address + 3, address - 1, end - size, end - size + 1, end - size + 2, end - size + 4,
            end - 4, end - 1, end, region.base, region.base - 1, region.base - 4, region.base - size, 0, 4, MMIO, MMIO + 16, FLASH,
            FLASH + 3, TEXT, TEXT - size + 4 if size else TEXT, TEXT + 4096 - 4, (1 << 63) - 16, 1 << 63, (1 << 63) + SRAM,
            (1 << 64) - 16, (1 << 64) - size, (1 << 62) + DRAM))

    def run(self, case: Case) -> None:
        pair = self.pair
        for address, data in case.data:
            pair.place(address, data)
        pair.csrs = {}
        pair.set(**case.csrs)
        pair.start_state = case.state
        if self.chance(0.1):
            pair.start_counts[:] = self.random.integers(0, 1 << 63, len(pair.start_counts), np.uint64) * np.uint64(2)
            pair.start_counts[:2] = 5
        else:
            pair.start_counts[:] = 0
        registers = None
        if self.chance(0.1):
            registers = {o.name: 1 + i for i, o in zip(self.random.permutation(30).tolist(), case.row.operands, strict=False)}
        values = {name: value & (1 << 64) - 1 for name, value in case.values.items()}
        pair.run(case.row.mnemonic, inline=case.regular and case.row.mnemonic in registered(), registers=registers, **values)


@pytest.fixture(scope="module", params=["slim", "slim-llama", SMALL], ids=["slim", "slim-llama", "small"])
def pair(request):
    random = np.random.default_rng(SEED)
    flash = random.standard_normal(WINDOW // 4).astype("<f4").tobytes() if request.param == "slim" else b""
    made = Pair(request.param, flash)
    yield made
    assert memory_differences(*made.machines) == []


@pytest.mark.parametrize("row", [row for row in ROWS if not any(OF_WINDOWS.search(operand.shape) for operand in row.operands)],
                         ids=lambda row: row.mnemonic)
def test_random_starts(pair, row, fuzzed):
    machine = pair.reference.preset
    if not machine.has_unit(row.unit) or (machine is SMALL and row.unit != "pim"):       # on the small one all banks are compared
        return
    number = ROWS.index(row)
    random = np.random.default_rng((SEED, number))
    cases = Cases(pair, random)
    pair.fresh()
    for i in range(CASES if machine.name == "slim" else -(-CASES // 4)):
        case = cases.regular(row)
        if i % 2:
            cases.spoil(case)
        fuzzed["operations"] += 1
        try:
            cases.run(case)
        except Difference as difference:
            difference.add_note(f"case {i}, SLIMULATOR_FUZZ_SEED={SEED}: {case}")
            raise


@pytest.mark.parametrize("address", [(1 << 63) - 16, 1 << 63, (1 << 63) + SRAM, (1 << 63) + DRAM - 64, (1 << 64) - (1 << 39)])
def test_ranges_that_wrap_around(pair, address):
    pair.fresh()
    for length in (1 << 36, 1 << 37, (1 << 38) - 1):
        for mnemonic, operands in (("thr.prefix", {"sizes": address, "budget": 0, "n": length}),
                                   ("vec.sum.f32", {"x": address, "n": length}),
                                   ("vec.fill.32", {"dst": address, "value": 1, "n": length}),
                                   ("fetch.copy", {"dst": address, "src": address, "bytes": 4 * length})):
            assert pair.run(mnemonic, **operands).trap is not None


def test_every_instruction_has_a_kernel():
    assert {row.mnemonic for row in ROWS} - registered().keys() == set()
