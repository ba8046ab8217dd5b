"""Every counter is conserved: what it has counted is the sum of what single instructions can be seen to have done.

EQUATIONS has a row for each counter: its events in one retired instruction, from the instruction's name and operands, what it has
read and written, and the weights that lay in memory. Nothing there is a counter. The sums must be what the fast engine counts at
full speed, over the programs of programs/ and over random ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from bank_events import Banks
from both_engines import SMALL
from random_xslim import SIZE, spelled

import asm
from compiler.networks.program import compile_network
from compiler.networks.reading import read_network
from emulator.machine import Machine
from isa import sparse
from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.effects import counters
from isa.instruction import Row, decode
from isa.numbers import FORMATS
from isa.preset import Preset
from isa.program import Program
from isa.reference import ReferenceMachine, Step
from isa.regions import REGIONS
from isa.services import EMIT_TOKEN, READ_TOKEN, Host
from isa.sparse.layout import run_bytes
from isa.traps import Trap

PROGRAMS = sorted((Path(__file__).parents[2] / "programs").glob("*.s"))
PROMPT = [5, 0, 7]
MOST = 400              # instructions of a random program


@cache
def _begins(mnemonic: str, beginnings: tuple[str, ...]) -> bool:
    return any(f"{mnemonic}.".startswith(beginning + ".") for beginning in beginnings)


@cache
def _settings(unit: str) -> tuple[str, ...]:
    """CSRs of a unit that programs write."""
    return tuple(name for name in CSRS if name.startswith(f"{unit}.") and CSRS[name].writable)


@dataclass
class Seen:
    """One retired instruction."""

    row: Row
    values: dict[str, int]                          # of operands, registers as they were before
    result: int                                     # what a register was set to, 0 for none
    reads: list[tuple[str, int, int]]               # (region, address, bytes), in order
    writes: list[tuple[str, int, np.ndarray]]       # (region, address, what was written)
    csrs: dict[str, int]
    service: int                                    # a7
    length: int                                     # lut.length
    vectors: int                                    # that a lut product multiplies
    page: int                                       # bytes of a flash page
    data: np.ndarray                                # u32 words that lie where it has read first
    model: list[int]                                # attn.model
    left_out: int                                   # scores that a mask leaves out
    row_runs: int                                   # runs of rows that attn.row_list names, 1 if there is no list
    weights: np.ndarray | None = None               # (outputs, activations) that a LUT product has multiplied
    cores: int = 1                                  # of the lut unit
    work: Counter[str] = field(default_factory=Counter)
    banks: Counter[str] = field(default_factory=Counter)    # what an instruction of the pim unit counts
    sparse: Counter[str] = field(default_factory=Counter)   # what an instruction of the sp unit counts
    macros: Counter[str] = field(default_factory=Counter)   # what an instruction of the cim unit counts
    switched: int = 0                               # bits of LUT weights that differ from those of the row before
    kind: int = 0                                   # lut.kind

    def __post_init__(self) -> None:
        if self.weights is not None:
            together = 2 if self.csrs["lut.pairs"] and not self.is_one_of("lut.macT") else 1
            one = work(self.weights, self.planes, self.csrs["lut.mode"], self.cores, together)
            self.work = Counter({event: self.vectors * events for event, events in one.items()})

    def is_one_of(self, *beginnings: str) -> bool:
        return _begins(self.row.mnemonic, beginnings)

    @property
    def planes(self) -> int:
        """Passes over the weights: a bit each for integers. None for codes, whose values are looked up one by one."""
        form = FORMATS[self.row.mnemonic.rpartition(".")[2]]
        return int(form.bits) if form.name[0] == "i" else 0 if form.name[0] == "c" else 1

    def read(self, position: int) -> int:
        """Bytes of a read by its place in the order, 0 if there was none."""
        return self.reads[position][2] if position < len(self.reads) else 0

    @property
    def elements(self) -> int:
        """Elements that a vec instruction has written; read, if all it has is a result register."""
        if self.is_network:
            return sum(len(data) for *_, data in self.writes)
        return len(self.writes[0][2]) // self.width("dst") if self.writes else self.read(0) // 4

    def width(self, operand: str) -> int:
        """Bytes of an element of an operand."""
        return int(FORMATS[self.row.operand(operand).shape.partition("[")[0]].bits) // 8 if operand in self.values else 4

    @property
    def is_network(self) -> bool:
        """An instruction of int8 networks, whose results are int8."""
        return self.row.mnemonic in NETWORKS

    @property
    def of_windows(self) -> int:
        """Elements of all windows of an image that an instruction has read."""
        many, taps = self.csrs["vec.windows"], self.csrs["vec.taps"]
        product = (many >> 16) * (many & 0xFFFF) * (taps >> 16) * (taps & 0xFFFF) * self.csrs["vec.cols"]
        return product if self.writes and self.is_network else 0

    @property
    def moved(self) -> list[tuple[str, int, int]]:
        """Reads of a fetch instruction without the index list; of packed chunks their packets, without the table."""
        if self.is_one_of("fetch.unpack"):
            return [(self.reads[1][0], self.reads[1][1], sum(size for *_, size in self.reads[1:]))] if self.reads else []
        return self.reads[1:] if "index" in self.values else self.reads


    @property
    def pairs(self) -> int:
        """Pairs of a head and a token that an attn instruction works on."""
        return self.model[4] * self.values.get("n", 0) if self.row.unit == "attn" else 0

    @property
    def cache_bytes(self) -> int:
        """What an attn instruction has read less its lists of rows, probabilities and sums."""
        if not self.is_one_of(*SCORES, *CONTEXT) or not self.pairs:
            return 0
        lists = (self.model[4] if self.csrs["attn.list_stride"] else 1) if self.csrs["attn.row_list"] else 0
        other = 4 * self.values["n"] * lists + 4 * self.pairs * self.is_one_of(*CONTEXT)
        return sum(size for *_, size in self.reads) - other - 4 * self.model[4] * self.model[2] * self.is_one_of("attn.macT")

    @property
    def cache_rows(self) -> int:
        """Keys or values of one head each."""
        return self.cache_bytes // (self.model[2] * self.width("keys" if "keys" in self.values else "values")
                                    + 4 * self.row.mnemonic.endswith(".i8")) if self.cache_bytes else 0


def work(weights: np.ndarray, planes: int, mode: int, cores: int, together: int) -> Counter[str]:
    """What docs/isa/lut.md says is counted for a matrix, group by group. together: codes of a codebook that one look-up is for."""
    done: Counter[str] = Counter()
    by_core = [0] * cores
    for output, row in enumerate(weights.tolist()):
        before = done["steps"]
        if not planes:
            done += Counter(lookups=-(-len(row) // together), steps=-(-len(row) // together))
        for plane in range(planes):
            used = [weight != 0 if planes == 1 else weight >> plane & 1 for weight in row]
            size = (4, 8, 7)[mode]
            for group in (used[start:start + size] for start in range(0, len(used), size)):
                front = mode == 2 and len(group) >= 3 and all(group[:3])
                lookups = bool(mode == 0 and any(group)) + front
                reads = sum(group) - 3 * front if mode else 0
                steps = lookups if mode == 0 else -(-(lookups + reads) // 2)
                done += Counter(lookups=lookups, reads=reads, skipped=not any(group), steps=steps)
        by_core[output % cores] += done["steps"] - before
    return done + Counter(longest=max(by_core))


EXPONENTIAL = ("vec.exp", "vec.sigmoid", "vec.tanh", "vec.silu", "vec.gelu", "vec.softmax")
NETWORKS = tuple(f"vec.{name}.i8" for name in (
    "conv", "depthwise", "maxpool", "meanpool", "layernorm", "softmax", "requant", "add"))
TAKEN: dict[str, Callable[[int, int], bool]] = {
    "beq": lambda a, b: a == b, "bne": lambda a, b: a != b, "bltu": lambda a, b: a < b, "bgeu": lambda a, b: a >= b,
    "blt": lambda a, b: (a ^ 1 << 63) < (b ^ 1 << 63), "bge": lambda a, b: (a ^ 1 << 63) >= (b ^ 1 << 63)}
LOADS, STORES = ("lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"), ("sb", "sh", "sw", "sd")
DIVIDING = ("vec.div", "vec.sqrt", "vec.sigmoid", "vec.tanh", "vec.silu", "vec.gelu", "vec.softmax")     # once for each element
REDUCING = ("vec.sum", "vec.max", "vec.min", "vec.absmax", "vec.argmax", "vec.softmax", "vec.rmsnorm", "vec.layernorm", "vec.quant")
PRODUCTS = ("lut.mac", "lut.macT", "lut.gemv")
SCORES, CONTEXT, SOFTMAX = ("attn.mac", "attn.xmac"), ("attn.macT", "attn.context"), ("attn.sfm", "attn.exp")


def _divisions(seen: Seen) -> int:
    """Divisions and roots: of each element, of each scale, or of the number that all elements are multiplied by."""
    if seen.is_network:
        windows = (seen.csrs["vec.windows"] >> 16) * (seen.csrs["vec.windows"] & 0xFFFF) if seen.writes else 0
        divided = {"vec.meanpool.i8": seen.elements, "vec.layernorm.i8": 4 * windows, "vec.softmax.i8": windows}
        return divided.get(seen.row.mnemonic, 0)
    if seen.is_one_of("vec.quant"):
        return 2 * len(seen.writes[1][2]) // 4 if len(seen.writes) == 2 else 0
    if seen.is_one_of("vec.rmsnorm", "vec.layernorm"):
        return (3 + seen.is_one_of("vec.layernorm")) * bool(seen.writes)
    return seen.elements if seen.is_one_of(*DIVIDING) else 0


REDUCED = {"vec.maxpool.i8": 1, "vec.meanpool.i8": 1, "vec.layernorm.i8": 2, "vec.softmax.i8": 2}


def _macs_of_windows(seen: Seen) -> int:
    """Products of convolutions: each element of each window, of conv with each output."""
    return {"vec.conv.i8": seen.of_windows * seen.csrs.get("vec.outputs", 0),
            "vec.depthwise.i8": seen.of_windows}.get(seen.row.mnemonic, 0) if seen.is_network else 0


def _pages(seen: Seen) -> int:
    """Flash pages that a fetch has touched, one after the other; the same page again at once is no other page."""
    touched = [page for region, address, size in seen.moved if region == "flash"
               for page in range(address // seen.page, (address + size - 1) // seen.page + 1)]
    return len(list(groupby(touched)))


def _row_runs(seen: Seen) -> int:
    """Rows of a fetch that do not begin where the one before has ended, on the side of the table."""
    rows = [(at, len(data)) for _, at, data in seen.writes] if seen.is_one_of("fetch.scatter") else [row[1:] for row in seen.moved]
    return len(rows) - sum(at + size == following for (at, size), (following, _) in pairwise(rows))


def _page_runs(seen: Seen) -> int:
    """Flash pages that a fetch has touched, less those that come behind the one that was touched last."""
    touched = [byte // seen.page for region, address, size in seen.moved if region == "flash"
               for byte in range(address, address + size)]
    return bool(touched) + sum(later not in (earlier, earlier + 1) for earlier, later in pairwise(touched))


def _rows_left(seen: Seen) -> int:
    """Rows of a table of known size that were not read."""
    if not seen.is_one_of("fetch.rows"):
        return 0
    return max(seen.csrs["fetch.table_rows"] - len({address for _, address, _ in seen.moved}), 0)


def _fitting(seen: Seen) -> int:
    """Leading entries whose sum is within the budget."""
    return sum(total <= seen.values["budget"] for total in accumulate(seen.data.tolist()))


def _macs(seen: Seen) -> int:
    outputs = seen.values.get("rows", seen.values.get("cols", 0))
    return seen.vectors * outputs * seen.length if seen.is_one_of(*PRODUCTS, "lut.xnor") else 0


def _weight_bytes(seen: Seen) -> int:
    """Rows are packed each by itself: a row's bits, rounded up to bytes."""
    if not seen.is_one_of(*PRODUCTS, "lut.xnor", "lut.decode"):
        return 0
    form = FORMATS["b1" if seen.is_one_of("lut.xnor") else seen.row.mnemonic.rpartition(".")[2]]
    rows, cols = {"lut.decode": (1, seen.values.get("n")), "lut.macT": (seen.length, seen.values.get("cols"))}.get(
        seen.row.mnemonic.rpartition(".")[0], (seen.values.get("rows"), seen.length))
    return rows * form.row_bytes(cols)


def _words(seen: Seen) -> int:
    """Words of 64 columns that lut.xnor compares for a row: of int8 activations those of eight planes and of the weights' sum."""
    return -(-seen.length // 64) * (9 if seen.kind == 1 else 1)


def _decoded(seen: Seen) -> int:
    """Look-ups of lut.decode, one for each code or each two."""
    return -(-seen.values["n"] // (2 if seen.csrs["lut.pairs"] else 1))


def _assigned(seen: Seen) -> int:
    """Sums of centres that lut.reuse adds: one for each piece of each row."""
    return seen.values["rows"] * max(seen.csrs["lut.pieces"], 1) if seen.is_one_of("lut.reuse") else 0


EQUATIONS: dict[str, Callable[[Seen], int]] = {
    "attn.ops":            lambda s: s.row.unit == "attn",
    "attn.queries":        lambda s: s.read(0) // 4 if s.is_one_of("attn.wrgb") else 0,
    "attn.scores":         lambda s: sum(len(data) for *_, data in s.writes) // 4 if s.is_one_of(*SCORES) else 0,
    "attn.probabilities":  lambda s: s.pairs if s.is_one_of(*CONTEXT) else 0,
    "attn.macs":           lambda s: s.pairs * s.model[2] if s.is_one_of(*SCORES, *CONTEXT) else 0,
    "attn.cache_bytes":    lambda s: s.cache_bytes,
    "attn.rows":           lambda s: s.cache_rows,
    "attn.row_runs":       lambda s: s.row_runs if s.cache_rows else 0,
    "attn.elements":       lambda s: s.pairs if s.is_one_of(*SOFTMAX, "attn.mvsb", "attn.mvgb") else 0,
    "attn.exponentials":   lambda s: s.pairs if s.is_one_of(*SOFTMAX) else 0,
    "attn.masked":         lambda s: s.left_out,
    "attn.transposed":     lambda s: s.read(0) // 4 if s.is_one_of("attn.xpose") else 0,
    "core.instructions":   lambda s: 1,
    "core.loads":          lambda s: s.row.mnemonic in LOADS,
    "core.stores":         lambda s: s.row.mnemonic in STORES,
    "core.branches":       lambda s: s.row.mnemonic in TAKEN,
    "core.branches_taken": lambda s: s.row.mnemonic in TAKEN and TAKEN[s.row.mnemonic](s.values["rs1"], s.values["rs2"]),
    "core.multiplications": lambda s: s.row.mnemonic.startswith("mul"),
    "core.divisions":      lambda s: s.row.mnemonic.startswith(("div", "rem")),
    "core.services":       lambda s: s.row.mnemonic == "ecall",
    "tokens.read":         lambda s: s.row.mnemonic == "ecall" and s.service == READ_TOKEN and s.result >> 63 == 0,
    "tokens.emitted":      lambda s: s.row.mnemonic == "ecall" and s.service == EMIT_TOKEN,
    "vec.ops":             lambda s: s.row.unit == "vec",
    "vec.elements":        lambda s: (s.elements if s.row.unit == "vec" and ("vec.macs" not in counters(s.row) or s.is_network)
                                      else 0),
    "vec.macs":            lambda s: (s.values["rows"] * s.csrs["vec.cols"] if s.is_one_of("vec.gemv", "vec.macT") else
                                      sum(size for *_, size in s.reads) // 8 if s.is_one_of("vec.dot", "vec.axpy") else
                                      _macs_of_windows(s)),
    "vec.exponentials":    lambda s: s.elements if s.is_one_of(*EXPONENTIAL) else 0,
    "vec.macs_i8":         lambda s: (s.values["rows"] * s.csrs["vec.cols"]
                                      if s.row.mnemonic in ("vec.gemv.i8", "vec.macT.i8") else _macs_of_windows(s)),
    "vec.divisions":       lambda s: _divisions(s),
    "vec.reduced":         lambda s: (s.of_windows * REDUCED.get(s.row.mnemonic, 0) if s.is_network else
                                      s.read(0) // 4 * (1 + s.is_one_of("vec.softmax", "vec.layernorm"))
                                      if s.is_one_of(*REDUCING) else 0),
    "lut.ops":             lambda s: s.row.unit == "lut",
    "lut.tables_built":    lambda s: (max(s.csrs["lut.vectors"], 1) * -(-s.values["n"] // (4, 0, 7)[s.csrs["lut.mode"]])
                                      if s.is_one_of("lut.build") and s.csrs["lut.mode"] != 1 else 0),
    "lut.lookups":         lambda s: _decoded(s) if s.is_one_of("lut.decode") else s.work["lookups"] + _assigned(s),
    "lut.buffer_reads":    lambda s: s.work["reads"],
    "lut.steps":           lambda s: (_decoded(s) if s.is_one_of("lut.decode") else
                                      s.vectors * s.values["rows"] * _words(s) if s.is_one_of("lut.xnor") else
                                      s.work["steps"] + _assigned(s)),
    "lut.steps_longest":   lambda s: (-(-_decoded(s) // s.cores) if s.is_one_of("lut.decode") else
                                      s.vectors * -(-s.values["rows"] // s.cores) * _words(s)
                                      if s.is_one_of("lut.xnor") else
                                      -(-s.values["rows"] // s.cores) * max(s.csrs["lut.pieces"], 1)
                                      if s.is_one_of("lut.reuse") else
                                      s.work["longest"]),
    "lut.macs":            _macs,
    "lut.macs_skipped":    lambda s: 0 if s.weights is None else s.vectors * int(np.count_nonzero(s.weights == 0)),
    "lut.groups_skipped":  lambda s: s.work["skipped"],
    "lut.weight_bytes":    lambda s: _weight_bytes(s) + _assigned(s),
    "lut.index_toggles":   lambda s: s.switched,
    "sp.ops":              lambda s: s.row.unit == "sp",
    **{f"sp.{name}": lambda s, name=name: s.sparse[name] for name in (
        "values", "values_float", "macs", "macs_float", "macs_skipped", "zeros_stored", "weight_bytes", "meta_bytes", "elements")},
    **{name: lambda s, name=name: s.macros[name.partition(".")[2]] for name in COUNTERS if name.startswith("cim.")},
    "cim.ops":             lambda s: s.row.unit == "cim",
    "thr.ops":             lambda s: s.row.unit == "thr",
    "thr.compares":        lambda s: s.read(0) // 4 if s.row.unit == "thr" and not s.is_one_of("thr.index") else 0,
    "thr.passes":          lambda s: (sum(byte.bit_count() for *_, mask in s.writes for byte in mask.tolist())
                                      if s.is_one_of("thr.gt", "thr.absgt") else 0),
    "thr.selected":        lambda s: (_fitting(s) if s.is_one_of("thr.prefix") else
                                      sum(len(data) for *_, data in s.writes) // 4
                                      if s.is_one_of("thr.index", "thr.topk", "thr.bottomk", "thr.ranges") else 0),
    "fetch.ops":           lambda s: s.row.unit == "fetch",
    "fetch.rows":          lambda s: len(s.moved) if s.row.unit == "fetch" else 0,
    "fetch.rows_left":     _rows_left,
    "fetch.chunks":        lambda s: (s.values["rows"] * -(-s.csrs["fetch.row_bytes"] // s.csrs["fetch.chunk_bytes"])
                                      if s.is_one_of("fetch.unpack") and s.values["rows"] else 0),
    "fetch.bytes":         lambda s: sum(size for *_, size in s.moved) if s.row.unit == "fetch" else 0,
    "fetch.bytes_left":    lambda s: _rows_left(s) * s.csrs["fetch.row_bytes"] if s.row.unit == "fetch" else 0,
    "fetch.pages":         lambda s: _pages(s) if s.row.unit == "fetch" else 0,
    "fetch.page_runs":     lambda s: _page_runs(s) if s.row.unit == "fetch" else 0,
    "fetch.row_runs":      lambda s: _row_runs(s) if s.row.unit == "fetch" else 0,
    **{name: lambda s, name=name: s.banks[name] for name in COUNTERS if name.startswith("pim.")},
    "pim.ops":             lambda s: s.row.unit == "pim",
    "sync.ops":            lambda s: s.row.unit == "sync",
    "sync.signals":        lambda s: s.is_one_of("sync.signal") or (s.row.unit == "fetch" and s.csrs["fetch.tag"] != 0),
    "sync.waits":          lambda s: s.is_one_of("sync.wait"),
    "sync.fences":         lambda s: s.is_one_of("sync.fence"),
}


def _bytes_of(region: str, side: str) -> Callable[[Seen], int]:
    """Bytes read from or written to a region."""
    if side == "bytes_read":
        return lambda seen: sum(size for where, _, size in seen.reads if where == region)
    return lambda seen: sum(len(data) for where, _, data in seen.writes if where == region)


EQUATIONS |= {name: _bytes_of(*name.split(".")) for name in COUNTERS if name.endswith((".bytes_read", ".bytes_written"))}
EQUATIONS |= {f"{region}.loads": lambda s, region=region: s.row.mnemonic in LOADS and [where for where, *_ in s.reads] == [region]
              for region in REGIONS}

# ---------------------------------------------------------------------------------------------------- runs


def weights_of(machine: ReferenceMachine, row: Row, values: dict[str, int]) -> np.ndarray | None:
    """The weights (outputs, activations) that a LUT product is about to multiply. None if there are none to be read."""
    length, cols = int(machine.state["lut.length"][0]), values.get("cols", 0)
    rows, cols = (length, cols) if "cols" in values else (values["rows"], length)
    form = FORMATS[row.mnemonic.rpartition(".")[2]]
    size, stride = form.row_bytes(cols), machine.csr("lut.row_stride") or form.row_bytes(cols)
    if not 0 < rows * cols < 1 << 20:
        return None
    try:
        data = np.stack([machine.peek(values["W"] + i * stride, size) for i in range(rows)])
    except Trap:
        return None
    weights = form.unpack(data, cols)
    weights = machine.state["lut.codebook_i8"][weights] if form.name[0] == "c" else weights
    return weights.T if "cols" in values else weights


def switched(machine: ReferenceMachine, row: Row, values: dict[str, int]) -> int:
    """Bits in which the packed rows of an instruction that is about to execute differ from the rows before them."""
    length, rows = int(machine.state["lut.length"][0]), values.get("rows", 0)
    if not row.mnemonic.startswith(("lut.mac.", "lut.gemv.", "lut.xnor")) or not 0 < rows * length < 1 << 20:
        return 0
    size = FORMATS["b1" if row.mnemonic == "lut.xnor" else row.mnemonic.rpartition(".")[2]].row_bytes(length)
    try:
        found = [machine.peek(values["W"] + i * (machine.csr("lut.row_stride") or size), size).tolist() for i in range(rows)]
    except Trap:
        return 0
    return sum((a ^ b).bit_count() for one, other in pairwise(found) for a, b in zip(one, other, strict=True))


def bytes_at(machine: ReferenceMachine, address: int, size: int) -> np.ndarray:
    """What lies at an address; of no bytes it may be any. Raises Trap."""
    return machine.peek(address, size) if size else np.zeros(0, np.uint8)


def sparse_work(machine: ReferenceMachine, row: Row, values: dict[str, int]) -> Counter[str]:
    """What an sp instruction is about to count: from the matrix in memory as the layout's object unpacks it, or from the vector
    that is compressed."""
    _, operation, *rest = row.mnemonic.split(".")
    if operation == "build":
        return Counter()
    kind, form = rest
    if kind == "rl":
        return stream_work(machine, operation, values)
    fmt, floats, nm, block = FORMATS[form], form in ("f16", "f32"), machine.csr("sp.nm"), machine.csr("sp.block")
    made = {"nm": lambda: sparse.NOfM(nm & 0xFF, nm >> 8), "bm": lambda: sparse.Bitmask(block), "cs": sparse.Columns,
            "bl": lambda: sparse.RByC(machine.csr("sp.block_rows"), block)}
    length, cols = int(machine.state["sp.length"][0]), machine.csr("sp.cols")
    try:
        layout, offsets = made[kind](), None
        if operation == "compress":
            if not 0 < cols < 1 << 20:
                return Counter()
            packed = layout.pack(fmt.unpack(machine.peek(values["x"], fmt.row_bytes(cols))[None, :], cols), form)
            stored = packed.values.size * 8 // int(fmt.bits)
            return Counter(values=stored, values_float=stored * floats, elements=cols)
        rows, cols = {"macT": (length, values.get("cols", 0)), "expand": (values.get("rows", 0), cols)}.get(
            operation, (values.get("rows", 0), length))
        if not 0 < rows * cols < 1 << 20:
            return Counter()
        if layout.has_offsets:
            offsets = bytes_at(machine, machine.csr("sp.offsets"), 4 * (layout.runs(rows) + 1)).view("<u4").astype(np.int64)
            offsets -= offsets[0]
        stored = 0 if offsets is None else int(offsets[-1])
        meta = bytes_at(machine, machine.csr("sp.meta"), layout.meta_bytes(rows, cols, stored))
        slots = layout.slots(meta, rows, cols, offsets)
        size = run_bytes(slots.runs, fmt)
        packed = sparse.Packed(form, rows, cols, bytes_at(machine, values["W"], size), meta, offsets)
        dense = layout.unpack(packed)
    except (Trap, ValueError):
        return Counter()                    # the instruction will trap
    stored, nonzero = len(slots.rows), int(np.count_nonzero(dense))
    once = Counter(weight_bytes=size, meta_bytes=len(meta) + (0 if offsets is None else 4 * len(offsets)))
    if operation == "expand":
        return once + Counter(values=stored, values_float=stored * floats, elements=rows * cols)
    vectors = max(int(machine.state["sp.built_vectors"][0]), 1)
    each = Counter(values=stored, values_float=stored * floats, macs=nonzero, macs_float=nonzero * floats,
                   macs_skipped=dense.size - nonzero, zeros_stored=stored - nonzero)
    return once + Counter({name: vectors * events for name, events in each.items()})


def stream_work(machine: ReferenceMachine, operation: str, values: dict[str, int]) -> Counter[str]:
    """What a convolution with a stream is about to count."""
    many, taps, channels = (machine.csr(f"vec.{name}") for name in ("windows", "taps", "cols"))
    windows, window = (many >> 16) * (many & 0xFFFF), (taps >> 16) * (taps & 0xFFFF)
    outputs = channels if operation == "depthwise" else machine.csr("vec.outputs")
    products = outputs * window * (1 if operation == "depthwise" else channels)
    if not 0 < windows * products < 1 << 20:
        return Counter()
    try:
        data = bytes_at(machine, values["W"], machine.csr("sp.stream")).tolist()
    except Trap:
        return Counter()
    blocks, at, size = [], 0, machine.csr("sp.block")
    while at < len(data):
        if data[at + 1:at + 2] == [0]:
            at += 2
            continue
        blocks.append(data[at + 1:at + 1 + size])
        at += 1 + size
    stored, nonzero = size * len(blocks), sum(value != 0 for block in blocks for value in block)
    return Counter(values=windows * stored, macs=windows * nonzero, macs_skipped=windows * (products - nonzero),
                   zeros_stored=windows * (stored - nonzero), weight_bytes=stored, meta_bytes=len(data) - stored,
                   elements=windows * outputs)


def macro_work(machine: ReferenceMachine, row: Row, values: dict[str, int]) -> Counter[str]:
    """What a cim instruction is about to count, from what its macros hold, cell by cell."""
    macros, rows_of, columns_of, sub_macros, adcs = (machine.parameter(f"cim.{name}") for name in (
        "macros", "rows", "columns", "sub_macros", "adcs"))
    cells = machine.state["cim.cells"].reshape(macros, columns_of, rows_of)
    vectors, length = int(machine.state["cim.built_vectors"][0]), int(machine.state["cim.length"][0])
    held, name, found = machine.state["cim.held"].reshape(macros, -1).tolist(), row.mnemonic, Counter()
    n, m, rows, first = machine.csr("cim.nm") & 255, machine.csr("cim.nm") >> 8, values.get("rows", 0), values.get("first", 0)
    if name == "cim.load.nm" and 0 < n <= m and 0 < rows < 1 << 12 and 0 < (cols := machine.csr("cim.cols")) < 1 << 12:
        stored = cols if n == m else -(-cols // m) * n
        across = len(range(0, -(-cols // m), rows_of // n))
        found = Counter(lines_written=rows * across, cells_written=rows * stored, weight_bytes=rows * stored,
                        meta_bytes=rows * -(-stored * (m - 1).bit_length() // 8) * (n < m))
    elif name == "cim.load.bd" and values["n"] < 1 << 12:
        block = machine.csr("cim.block")
        found = Counter(lines_written=values["n"] * block, cells_written=values["n"] * block ** 2,
                        weight_bytes=values["n"] * block ** 2)
    elif name in ("cim.mac", "cim.gemv") and rows and length and first < macros and held[first][0] == 1:
        n, m = held[first][1] & 255, held[first][1] >> 8
        per_tile = rows_of // n * m
        group = (machine.csr("cim.scale_group") or int(machine.state["cim.x_group"][0])) if name == "cim.gemv" else 0
        pieces = Counter(c // per_tile for c in range(length) if c % per_tile == 0 or (group and c % group == 0))
        down, across = len(range(0, rows, columns_of)), len(range(0, length, per_tile))
        stored = length if n == m else -(-length // m) * n
        macs = vectors * int(np.count_nonzero(cells[first:first + down * across]))
        found = Counter(tiles=down * across, steps=down * sum(pieces.values()) * vectors, macs=macs,
                        steps_longest=max(pieces.values()) * vectors, rows_on=down * stored * vectors,
                        macs_skipped=rows * length * vectors - macs, mux_selects=rows * stored * vectors * (n < m),
                        conversions=rows * sum(pieces.values()) * vectors,
                        adc_longest=-(-min(rows, columns_of) // max(adcs, 1)) * max(pieces.values()) * vectors)
    elif name.startswith(("cim.spread", "cim.join")) and values["f"] < 64 and machine.csr("cim.factor") < 64:
        block, dense_map, factor = machine.csr("cim.block"), machine.csr("cim.map") == 2, machine.csr("cim.factor")
        of_a_row = max(rows_of // max(block, 1), 1)
        slots = [first + i for i in range(values["f"] * factor)]
        used = Counter(slot // of_a_row ** (1 + dense_map) for slot in slots)
        macs = 0
        for slot in slots:
            macro, inside = divmod(slot, of_a_row ** (1 + dense_map))
            p, q = inside % of_a_row, (inside % of_a_row + inside // of_a_row) % of_a_row
            if macro < macros:
                macs += vectors * int(np.count_nonzero(cells[macro, q * block:(q + 1) * block, p * block:(p + 1) * block]))
        longest = max(used.values(), default=0)
        found = Counter(tiles=len(used), steps=(len(slots) if dense_map else len(used)) * vectors, macs=macs,
                        steps_longest=(longest if dense_map else min(longest, 1)) * vectors, rows_on=len(slots) * block * vectors,
                        macs_skipped=values["f"] * (factor * block) ** 2 * vectors - macs,
                        conversions=len(slots) * block * vectors,
                        adc_longest=vectors * (longest * -(-block // max(adcs, 1)) if dense_map else
                                                       -(-longest * block // max(adcs, 1))))
    found["merges"] = (sub_macros - 1) * found["conversions"]
    if not adcs:
        found["conversions"] = found["adc_longest"] = 0
    return found


def left_out(machine: ReferenceMachine, row: Row, values: dict[str, int]) -> int:
    """Scores of the heads that are set whose bit in the mask of an attn instruction is 0, before it changes any."""
    base, stride, heads, n = machine.csr("attn.mask"), machine.csr("attn.mask_stride"), int(machine.state["attn.model"][4]), 0
    if base and row.mnemonic in ("attn.sfm.f32", "attn.mvsb.f32", "attn.exp.f32") and 0 < values["n"] < 1 << 12:
        for head in range(heads):
            try:
                mask = machine.peek(base + head * stride, -(-values["n"] // 8))
            except Trap:
                return 0
            n += int(np.count_nonzero(np.unpackbits(mask, bitorder="little")[:values["n"]] == 0))
    return n


def row_runs(machine: ReferenceMachine, values: dict[str, int]) -> int:
    """Runs of successive rows in the lists of an attn instruction, before it changes any."""
    base, stride, heads = machine.csr("attn.row_list"), machine.csr("attn.list_stride"), int(machine.state["attn.model"][4])
    if not base or not 0 < values.get("n", 0) < 1 << 12:
        return 1
    try:
        lists = [machine.peek(base + head * stride, 4 * values["n"]).view("<u4").tolist() for head in range(heads if stride else 1)]
    except Trap:
        return 0
    return sum(1 + sum(later != row + 1 for row, later in pairwise(rows)) for rows in lists)


def sums(program: Program, preset: Preset | str, most: int) -> dict[str, int]:
    """What the instructions of a run on the reference engine add up to."""
    machine = ReferenceMachine(preset, Host(PROMPT))
    machine.load(program)
    regions = {region.name: region for region in machine.preset.regions}
    total = dict.fromkeys([*EQUATIONS, "core.traps"], 0)
    before: list[tuple[int, int, np.ndarray | None]] = []
    of_sparse: list[Counter[str]] = []
    of_macros: list[Counter[str]] = []
    of_indices: list[int] = []
    book = Banks(machine.preset, machine.peek)
    cores = machine.parameter("lut.cores") if machine.preset.has_unit("lut") else 1

    def region_of(address: int) -> str:
        return next(name for name, region in regions.items() if region.base <= address < region.end)

    def add(_: ReferenceMachine, step: Step) -> None:
        if step.trap is not None:
            total["core.traps"] += 1
            return
        assert step.row is not None
        address, size = step.reads[0] if step.reads and step.row.unit == "thr" else (regions["dram"].base, 0)
        reads = [(region_of(address), address, size) for address, size in step.reads]
        writes = [(region_of(address), address, data) for address, data in step.writes]
        csrs = {name: machine.csr(name) for name in _settings(step.row.unit)}
        in_banks = book.events(step.row.mnemonic, step.values, csrs, reads, writes) if step.row.unit == "pim" else Counter()
        seen = Seen(step.row, step.values, step.register[1] if step.register else 0,
                    reads, writes, csrs, machine.x[17], int(machine.state["lut.length"][0]) if "lut.length" in machine.state else 0,
                    max(int(machine.state["lut.built_vectors"][0]) if "lut.length" in machine.state else 0, 1),
                    machine.page_bytes or 1, machine.peek(address, size)[:size // 4 * 4].view("<u4"),
                    machine.state["attn.model"].tolist() if "attn.model" in machine.state else [0] * 5, *before[-1], cores=cores,
                    banks=in_banks, sparse=of_sparse[-1], macros=of_macros[-1], switched=of_indices[-1],
                    kind=int(machine.state["lut.kind"][0]) if "lut.kind" in machine.state else 0)
        for name, equation in EQUATIONS.items():
            total[name] += int(equation(seen))

    machine.hook(add)
    while machine.exit_code is None and machine.spent < most:
        row = fields = None
        region = machine.memory.region(machine.pc, 4)
        if machine.pc % 4 == 0 and region is not None and machine.memory.holds(region, machine.pc, 4):
            row, fields = decode(int(machine.peek(machine.pc, 4).view("<u4")[0])) or (None, None)
        is_product = row is not None and row.mnemonic.startswith(tuple(f"{name}." for name in PRODUCTS))
        values = {name: machine.x[i] for name, i in fields.items()} if row is not None and row.is_xslim else {}
        of_sparse.append(sparse_work(machine, row, values) if row is not None and row.unit == "sp" else Counter())
        of_macros.append(macro_work(machine, row, values) if row is not None and row.unit == "cim" else Counter())
        of_indices.append(switched(machine, row, values) if row is not None and row.unit == "lut" else 0)
        before.append((*((left_out(machine, row, values), row_runs(machine, values))
                         if row is not None and row.unit == "attn" else (0, 0)),
                       weights_of(machine, row, values) if is_product else None))
        if machine.step() is not None:
            break
    return {name: events % (1 << 64) for name, events in total.items()}


def counted(program: Program, preset: Preset | str, most: int) -> dict[str, int]:
    """What the fast engine counts in the same run."""
    machine = Machine(preset, Host(PROMPT))
    machine.load(program)
    machine.profile()
    machine.run(most)
    assert machine.visits.total() == machine.counter("core.instructions")
    assert len(machine.host.tokens) == machine.counter("tokens.emitted")
    return dict(machine.counters)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs(path):
    program = asm.assemble(path)
    assert counted(program, program.machine, 1_000_000) == sums(program, program.machine, 1_000_000)


def test_an_int8_network():
    """All kinds of its operations, for a few images of zeros."""
    program = compile_network(read_network(PROGRAMS[0].parent / "networks")).program
    assert counted(program, program.machine, 100_000) == sums(program, program.machine, 100_000)


def test_random_programs():
    seen, random = Counter(), np.random.default_rng(2)
    for _ in range(540):                # reach every counter
        text, _ = spelled(random.bytes(SIZE))
        program = asm.assemble(text, machine=SMALL)
        expected = sums(program, SMALL, MOST)
        assert counted(program, SMALL, MOST) == expected, text
        seen.update(expected)
    assert {name for name in COUNTERS if not seen[name]} == set(), "nothing has happened that they count"
    assert sum(seen[f"{region}.loads"] for region in REGIONS) == seen["core.loads"]


def test_every_counter_has_an_equation():
    assert EQUATIONS.keys() | {"core.traps"} == COUNTERS.keys()
