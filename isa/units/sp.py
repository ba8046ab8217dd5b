"""The sparse unit: matrix times vector for weights with zeros, which are neither stored nor multiplied.

Encoding: custom-1 (0x2B), funct3=7 (R): the upper two bits of funct7 are mac, macT, gemv, expand, the lower five `number`, and 30
is sp.build.f32; custom-2 (0x5B), funct3=7 (R4): sp.build.i8, sp.compress. Left to others: custom-1 funct3=6, to weight formats of
lut with the numbers 12 to 15; custom-2 funct3=0 (R), to digital CIM; custom-2 funct3=6 (R), to int8 networks.

The layouts are objects of isa/sparse: they say where stored values belong and what is malformed. Here stand the rows and what each
does with memory. A meaning brings some rows into dense form, (k, cols), with a mask of what is stored.

Sources: FLOW and FlexCiM, arXiv 2504.14365 (any N of M); SparAMX, arXiv 2502.12444, and compressed-tensors (bitmasks);
TinyFormer, arXiv 2311.01759 (blocks).
"""

from __future__ import annotations

import numpy as np

from isa import sparse
from isa.arithmetic import group_count, lane_sum
from isa.instruction import LONGEST, instruction
from isa.numbers import FORMATS, ValueKind
from isa.sparse.layout import FORMS, Malformed, placed, run_bytes, unpack_runs
from isa.timing.rates import Rate, queue_rates
from isa.traps import Cause, Trap
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.vectors import accumulate, asked, before, check_results, each, fits, result_stride, stride

UNIT = Unit(
    "sp", "Sparse matrix-vector products",
    """\
Multiplies a matrix with many zeros by a vector. Zeros are not stored, so they cost no bytes and no products. Where the stored
values belong says the metadata, to which `sp.meta` points. `sp.mac` adds W x to an int32 vector, `sp.macT` adds the transpose of W
times x, `sp.gemv` yields f32: integers with the scales of weights and vector, floating-point weights as they are. `sp.expand`
writes the dense matrix, `sp.compress` makes values and metadata of a vector. A mnemonic names the layout, then the number format of
the values:

    sp.mac.nm.i8       sp.gemv.bm.f16       sp.expand.nm.t2       sp.compress.bm.f32

**nm**, N of M: of every M columns of a row exactly N values are stored, zeros among them where there are fewer. `sp.nm` has N in
bits 7..0 and M in bits 15..8, 1 <= N <= M <= 16. The metadata has for each value its place in its group, ceil(log2 M) bits, packed
from the lowest bit on; each row starts on a byte. Places in a group rise.

**bm**, bitmask: the metadata has a bit for every block of `sp.block` columns of a row, ceil(ceil(cols / block) / 8) bytes a row,
bit k mod 8 of byte k / 8 for block k. Of the blocks whose bit is 1 all columns are stored, zeros among them, the others are zeros.
Bits behind the last block are 0.

    row               0  5  0 -3 | 0  0  0  9 | 7  0 -2  0 | 0  0  0  0
    nm 2 of 4         values 05 fd 00 09 07 fe 00 00                         metadata cd 48
    bm, blocks of 1   values 05 fd 09 07 fe                                  metadata 8a 05
    bm, blocks of 4   values 00 05 00 fd 00 00 00 09 07 00 fe 00             metadata 07

The values of a row lie one after the other and start on a byte; rows follow each other. A last group or block that is short is
stored whole: what is behind the last column has to be 0. The metadata has any address, values are aligned as others are.

Before anything is written, ILLEGAL_OPERAND says what is malformed: a place that does not rise or is M or more (mtval: the place),
bits of a mask behind the last block (mtval: the last byte of the row), a value behind the last column that is not 0 (mtval: its
column).

`sp.build.i8` and `sp.build.f32` load the vector, which stays until the next build and serves any number of matrices; its length is
the number of columns, of `sp.macT` of rows. A build can load several vectors of one length, as many as `sp.vectors` says: the
tokens of a prompt, or of several texts. Each product then yields its results for each of them, and the matrix streams through once
for all. How far apart the vectors, their scales and their results start say `sp.codes_stride`, `sp.scale_stride` and
`sp.result_stride`. Inside the unit the vectors lie one behind the other, and so do their scales.

Integers (i8, i4, t2) need vectors of int8, f16 and f32 need those of f32. `sp.expand` and
`sp.compress` take their columns from `sp.cols`, and no vector.

Integer sums are exact int32 that wrap: acc + (sum << sp.shift), modulo 2**32. The groups and scales of `sp.gemv` are those of
`lut.gemv`: a group is `sp.scale_group` columns of the dense matrix; the scales of the weights are f32[rows, groups] at `sp.scales`,
one for all where the group is 0. So the results are those of the lut unit for the dense matrix. With f16 and f32 values a product
is rounded, then added to lane c mod 16 of its *dense* column c, in rising c, and the lanes are folded as in vec. An element that is
not stored adds nothing. So for finite vectors the result is that of `vec.gemv` for the dense matrix, bit by bit. A NaN result is
0x7FC00000; `sp.expand` and `sp.compress` move bits as they are.

With rows, cols or n = 0 no memory is read or written, of the counters only `sp.ops` counts, and settings are checked all the same.
A build with n = 0 builds no elements: then sp.mac adds 0 and sp.gemv yields +0.0; no weights and no scales are read. Where nothing
is stored no values are read. All vectors of a build together may not have more elements than `sp.activations`; one of no elements
takes the room of one.

What one instruction counts for one vector, with `stored` values, zeros and padding among them. With several, `sp.ops` and bytes
count once, everything else for each vector:

    sp.ops             1
    sp.values          stored of mac, macT, gemv, expand and compress
    sp.values_float    those of them that are f16 or f32
    sp.macs            stored values of mac, macT, gemv that are not 0
    sp.macs_float      those of them that are f16 or f32
    sp.macs_skipped    rows * cols - sp.macs of mac, macT, gemv
    sp.zeros_stored    stored - sp.macs of mac, macT, gemv
    sp.weight_bytes    bytes of the values that mac, macT, gemv and expand read
    sp.meta_bytes      bytes of their metadata
    sp.elements        rows * cols of expand, cols of compress
    bytes read         sp.weight_bytes + sp.meta_bytes, and of each other operand that is read its elements, once
    bytes written      of each operand that is written its elements""",
    queue=7,
    csrs=(
        Csr("sp.meta",        0x870, "address of the metadata of a matrix", points_to="u8"),
        Csr("sp.nm",          0x871, "N in bits 7..0, M in bits 15..8: N of every M columns are stored", 0x0402, 0xFFFF),
        Csr("sp.block",       0x872, "columns of a block of a bitmask, 1..65536", 1),
        Csr("sp.cols",        0x873, "columns of the matrix of sp.expand, elements of sp.compress; at most 2**28"),
        Csr("sp.scales",      0x874, "address of the scales of the weights of sp.gemv", points_to="f32"),
        Csr("sp.scale_group", 0x875, "columns that share a scale, fewer in the last group; 0: one scale for the operand"),
        Csr("sp.shift",       0x876, "sp.mac and sp.macT add their sums shifted left by this, 0..31"),
        Csr("sp.vectors",     0x877, "vectors that a build loads; 0: one"),
        Csr("sp.codes_stride", 0x878, "bytes between the starts of the vectors that a build loads; 0: packed one after the other"),
        Csr("sp.scale_stride", 0x879, "bytes between the starts of their scales; 0: packed one after the other"),
        Csr("sp.result_stride", 0x87A, "bytes between the starts of the results of each vector; 0: packed one after the other"),
    ),
    counters=spending("macs macs_float elements", (
        Counter("sp.ops",          95, "instructions", "sp instructions retired"),
        Counter("sp.values",       96, "values",       "stored values multiplied, expanded or compressed, zeros among them"),
        Counter("sp.values_float", 97, "values",       "those of sp.values that are f16 or f32"),
        Counter("sp.macs",         98, "MACs",         "products of a stored value that is not zero"),
        Counter("sp.macs_float",   99, "MACs",         "those of sp.macs in fp32"),
        Counter("sp.macs_skipped", 100, "MACs",        "products of the dense matrix that were left out, their weight is zero"),
        Counter("sp.zeros_stored", 101, "values",      "zeros among the stored values of products"),
        Counter("sp.weight_bytes", 102, "bytes",       "bytes of stored values read"),
        Counter("sp.meta_bytes",   103, "bytes",       "bytes of metadata read"),
        Counter("sp.elements",     104, "elements",    "elements of dense matrices that sp.expand wrote or sp.compress read"),
    )),
    parameters=(Parameter("sp.activations", "elements", "elements of vectors that the unit holds together"),),
    rates=(
        *queue_rates("sp"),
        Rate("sp.values_per_cycle",       "values a cycle",   "stored values, of integers",      "sp.values", "sp.values_float"),
        Rate("sp.float_values_per_cycle", "values a cycle",   "stored values, of f16 and f32",   "sp.values_float"),
        Rate("sp.meta_bytes_per_cycle",   "bytes a cycle",    "metadata decoded",                "sp.meta_bytes"),
        Rate("sp.elements_per_cycle",     "elements a cycle", "elements expanded or compressed", "sp.elements"),
    ),
    sound=lambda state, parameter: bool(
        state["sp.kind"][0] <= 2
        and fits(int(state["sp.built_vectors"][0]), int(state["sp.length"][0]), parameter("sp.activations"))),
    state=(
        StateArray("sp.kind",        "u1", 1,                "what was built: 0 nothing, 1 int8, 2 f32"),
        StateArray("sp.built_vectors", "u8", 1,              "vectors built, as sp.vectors says; 0: one"),
        StateArray("sp.length",      "u8", 1,                "elements of a vector"),
        StateArray("sp.activations", "i1", "sp.activations", "the vectors, one behind the other, where they are int8"),
        StateArray("sp.x_group",     "u8", 1,                "elements that share a scale; 0: all of a vector"),
        StateArray("sp.scales",      "f4", "sp.activations", "scales of the int8 vectors, one per group, vector by vector"),
        StateArray("sp.vector",      "f4", "sp.activations", "the vectors, one behind the other, where they are f32"),
    ),
)

NOTHING, I8, F32 = 0, 1, 2              # sp.kind
_CHUNK = 1 << 20                        # elements in dense form at a time, to bound the memory of a large operation


def number(kind, form):
    """The number of a layout and a number format in the encoding: 0..24; 25..29 are left to a sixth format."""
    return len(FORMS) * sparse.KINDS.index(kind) + FORMS.index(form)


# ------------------------------------------------------------------------------------------------ the vector


_ROOM = "the unit of this machine holds"


def _build(m, kind, n, **states):
    """Keep vectors of n elements, of a kind, and what belongs to them."""
    m.set_state("sp.kind", [kind])
    m.set_state("sp.built_vectors", [m.csr("sp.vectors")])
    m.set_state("sp.length", [n])
    for name, values in states.items():
        m.set_state(f"sp.{name}", values)


@instruction("sp.build.i8     R4 opcode=0x5B funct3=7 funct2=0",
             "vector v = x of v; its scales = scale of v, one per sp.scale_group elements",
             operands="x<i8[vectors,n] scale<f32[vectors,groups] n",
             example="csrw sp.scale_group, zero    # one scale for the vector\nsp.build.i8 a0, a1, a2")
def sp_build_i8(m, x, scale, n):
    vectors, group = asked(m, "sp.vectors", "sp.activations", n, _ROOM), m.csr("sp.scale_group")
    groups = group_count(n, group)
    codes_stride = stride(m, "sp.codes_stride", n, f"a vector of {n} codes")
    scale_stride = stride(m, "sp.scale_stride", 4 * groups, f"{groups} scales", 4)
    m.check_read(x, m.span(vectors, n, codes_stride))
    m.check_read(scale, m.span(vectors, 4 * groups, scale_stride), 4)
    _build(m, I8, n, activations=each(m.read_i8, x, vectors, n, codes_stride), x_group=[group],
           scales=each(m.read_f32, scale, vectors, groups, scale_stride))


@instruction("sp.build.f32    R  opcode=0x2B funct3=7 funct7=0x1E", "vector v = x of v", operands="x<f32[vectors,n] n",
             example="sp.build.f32 a0, a1")
def sp_build_f32(m, x, n):
    vectors = asked(m, "sp.vectors", "sp.activations", n, _ROOM)
    step = stride(m, "sp.codes_stride", 4 * n, f"a vector of {n} f32", 4)
    m.check_read(x, m.span(vectors, 4 * n, step), 4)
    _build(m, F32, n, vector=each(m.read_f32, x, vectors, n, step))


def _loaded(m, kind, name, build):
    """The vectors that were built, (vectors, length). Trap unless they are of this kind."""
    if m.state["sp.kind"][0] != kind:
        raise Trap(Cause.ILLEGAL_OPERAND, int(m.state["sp.kind"][0]), f"no {build[9:]} vector is loaded; {build} must come first")
    vectors, length = max(int(m.state["sp.built_vectors"][0]), 1), int(m.state["sp.length"][0])
    return m.state[name][:vectors * length].reshape(vectors, length)


def _vectors(m):
    """The int8 vectors that were built, as int32 (vectors, length)."""
    return _loaded(m, I8, "sp.activations", "sp.build.i8").astype(np.int32)


def _float_vectors(m):
    """The f32 vectors that were built, (vectors, length)."""
    return _loaded(m, F32, "sp.vector", "sp.build.f32")


# ------------------------------------------------------------------------------------------------ matrices


def _nm(m):
    """The layout that `sp.nm` says."""
    n, most = m.csr("sp.nm") & 0xFF, m.csr("sp.nm") >> 8
    if not 1 <= n <= most <= 16:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.nm"), f"sp.nm says {n} of {most}; expected 1 <= N <= M <= 16")
    return sparse.NOfM(n, most)


def _bm(m):
    """The layout that `sp.block` says."""
    if not 1 <= m.csr("sp.block") <= 1 << 16:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.block"), f"sp.block is {m.csr('sp.block')}; expected 1..65536")
    return sparse.Bitmask(m.csr("sp.block"))


LAYOUTS = {"nm": _nm, "bm": _bm}
"""By the name in mnemonics: what makes the layout from its CSRs."""


def _matrix(m, layout, fmt, values, rows, cols, times=1):
    """Check the reads of a sparse matrix, and stream it: what `_stream` yields. Each value serves so many times."""
    if not rows or not cols:
        return iter(())
    size = layout.meta_bytes(rows, cols)
    m.check_read(m.csr("sp.meta"), size)
    meta = m.read(m.csr("sp.meta"), size)
    m.check_read(values, _sound(layout.value_bytes, meta, rows, cols, fmt), max(int(fmt.bits) // 8, 1))
    return _stream(m, layout, fmt, meta, values, rows, cols, times)


def _sound(function, *arguments):
    """What a function of a layout returns. Trap for what is malformed."""
    try:
        return function(*arguments)
    except Malformed as error:
        wrong = error
    raise Trap(Cause.ILLEGAL_OPERAND, wrong.value, f"malformed metadata: {wrong}")


def _stream(m, layout, fmt, meta, values, rows, cols, times):
    """Read a sparse matrix, some rows at a time. Yields (first row, bytes of values, their slots, dense (k, cols), which of its
    elements are stored (k, cols)). Counts values and bytes."""
    row_meta, together = layout.row_meta(cols), _CHUNK // cols + 1
    for first in range(0, rows, together):
        k = min(together, rows - first)
        slots = _sound(layout.slots, meta[first * row_meta:(first + k) * row_meta], k, cols)
        data = m.read(values, run_bytes(slots.runs, fmt), max(int(fmt.bits) // 8, 1))
        dense, stored = _sound(placed, slots, unpack_runs(data, slots.runs, fmt), k, cols)
        values += len(data)
        m.count("sp.values", times * len(slots.rows))
        m.count("sp.values_float", times * len(slots.rows) if fmt.kind is ValueKind.FLOAT else 0)
        m.count("sp.weight_bytes", len(data))
        m.count("sp.meta_bytes", k * row_meta)
        yield first, data, slots, dense, stored


def _products(m, layout, fmt, values, rows, cols, vectors):
    """The matrix of products with each vector: yields (first row, dense (k, cols), which of its elements are stored). Counts
    products too."""
    for first, _, slots, dense, stored in _matrix(m, layout, fmt, values, rows, cols, vectors):
        macs = np.count_nonzero(dense)
        m.count("sp.macs", vectors * macs)
        m.count("sp.macs_float", vectors * macs if fmt.kind is ValueKind.FLOAT else 0)
        m.count("sp.macs_skipped", vectors * (dense.size - macs))
        m.count("sp.zeros_stored", vectors * (len(slots.rows) - macs))
        yield first, dense, stored


def _cols(m):
    """Columns of a matrix that is expanded, elements of a vector that is compressed."""
    if m.csr("sp.cols") > LONGEST:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.cols"), f"sp.cols is {m.csr('sp.cols')}; expected at most 2**28")
    return m.csr("sp.cols")


def _shift(m):
    """What sums are shifted left by."""
    if m.csr("sp.shift") > 31:
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("sp.shift"), f"sp.shift is {m.csr('sp.shift')}; expected 0..31")
    return m.csr("sp.shift")


# ------------------------------------------------------------------------------------------------ products of integers


def _define_mac(kind: str, form: str) -> None:
    fmt, layout_of = FORMATS[form], LAYOUTS[kind]

    @instruction(f"sp.mac.{kind}.{form}  R  opcode=0x2B funct3=7 funct7={number(kind, form):#04x}",
                 "acc[v, r] += (sum over stored c of W[r, c] * vector[v, c]) << sp.shift",
                 operands=f"acc<>i32[vectors,rows] W<{form}[stored] rows",
                 example=f"sp.build.i8 a0, a1, a2\ncsrw sp.meta, a6\nsp.mac.{kind}.{form} a3, a4, a5")
    def sp_mac(m, acc, W, rows):
        shift, layout, x = _shift(m), layout_of(m), _vectors(m)
        vectors, cols = x.shape
        step = result_stride(m, "sp.result_stride", rows)
        start, sums = before(m, acc, vectors, rows, step), np.zeros((vectors, rows), np.int32)
        for first, dense, _ in _products(m, layout, fmt, W, rows, cols, vectors):
            sums[:, first:first + len(dense)] = x @ dense.astype(np.int32).T
        check_results(m, acc, vectors, rows, step)
        accumulate(m, acc, start, sums, shift, step)


def _define_macT(kind: str, form: str) -> None:
    fmt, layout_of = FORMATS[form], LAYOUTS[kind]

    @instruction(f"sp.macT.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x20 + number(kind, form):#04x}",
                 "acc[v, c] += (sum over j that stores c of vector[v, j] * W[j, c]) << sp.shift",
                 operands=f"acc<>i32[vectors,cols] W<{form}[stored] cols",
                 example=f"sp.build.i8 a0, a1, a2\ncsrw sp.meta, a6\nsp.macT.{kind}.{form} a3, a4, a5")
    def sp_macT(m, acc, W, cols):
        shift, layout, x = _shift(m), layout_of(m), _vectors(m)
        vectors, rows = x.shape
        step = result_stride(m, "sp.result_stride", cols)
        start, sums = before(m, acc, vectors, cols, step), np.zeros((vectors, cols), np.int32)
        for first, dense, _ in _products(m, layout, fmt, W, rows if cols else 0, cols, vectors):
            sums += x[:, first:first + len(dense)] @ dense.astype(np.int32)
        check_results(m, acc, vectors, cols, step)
        accumulate(m, acc, start, sums, shift, step)


# ------------------------------------------------------------------------------------------------ products to f32


def _scale_group(m):
    """The group that scales of weights and vector have in common; an operand with one scale goes with any group."""
    group, x_group = m.csr("sp.scale_group"), int(m.state["sp.x_group"][0])
    if group and x_group and group != x_group:
        raise Trap(Cause.ILLEGAL_OPERAND, group,
                   f"sp.scale_group is {group}, but the vector was built with groups of {x_group}; "
                   "expected the same, or 0 (one scale) for one of them")
    return group or x_group


def _define_gemv(kind: str, form: str) -> None:
    fmt, layout_of = FORMATS[form], LAYOUTS[kind]

    @instruction(f"sp.gemv.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x40 + number(kind, form):#04x}",
                 "y[v, r] = lanesum over g of f32(sum over stored c in g of W[r, c] * vector[v, c]) "
                 "* (scale[r, g] * x_scale[v, g])",
                 operands=f"y>f32[vectors,rows] W<{form}[stored] rows",
                 example=f"sp.build.i8 a0, a1, a2\ncsrw sp.meta, a6\ncsrw sp.scales, a7\nsp.gemv.{kind}.{form} a3, a4, a5")
    def sp_gemv(m, y, W, rows):
        layout, x, group = layout_of(m), _vectors(m), _scale_group(m)
        vectors, cols = x.shape
        groups, step = group_count(cols, group), result_stride(m, "sp.result_stride", rows)
        starts = np.arange(0, cols, min(group, cols) or cols or 1)                      # first column of each group
        per_group = m.csr("sp.scale_group") != 0
        scale = m.read_f32(m.csr("sp.scales"), rows * groups if per_group else min(rows * groups, 1))
        x_groups = group_count(cols, int(m.state["sp.x_group"][0]))
        x_scale = m.state["sp.scales"][:vectors * x_groups].reshape(vectors, x_groups)
        result = np.zeros((vectors, rows), np.float32)
        for first, dense, _ in _products(m, layout, fmt, W, rows, cols, vectors):
            chunk = slice(first, first + len(dense))
            for v in range(vectors):
                sums = np.add.reduceat(dense * x[v], starts, axis=1, dtype=np.int32)    # (k, groups)
                factors = (scale.reshape(rows, groups)[chunk] if per_group else scale) * x_scale[v]
                result[v, chunk] = lane_sum(sums.astype(np.float32) * factors)
        _write_results(m, y, result, step)


def _write_results(m, y, result, step):
    """Write f32 (vectors, rows) to y, each vector's `step` bytes behind the one before."""
    check_results(m, y, *result.shape, step)
    for vector, values in enumerate(result):
        m.write_f32(y + vector * step, values)


def _define_float_gemv(kind: str, form: str) -> None:
    fmt, layout_of = FORMATS[form], LAYOUTS[kind]

    @instruction(f"sp.gemv.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x40 + number(kind, form):#04x}",
                 "y[v, r] = lanesum over stored c of W[r, c] * vector[v, c], in lane c mod 16",
                 operands=f"y>f32[vectors,rows] W<{form}[stored] rows",
                 example=f"sp.build.f32 a0, a2\ncsrw sp.meta, a6\nsp.gemv.{kind}.{form} a3, a4, a5")
    def sp_gemv(m, y, W, rows):
        layout, x = layout_of(m), _float_vectors(m)
        vectors, cols = x.shape
        step, result = result_stride(m, "sp.result_stride", rows), np.zeros((vectors, rows), np.float32)
        for first, dense, stored in _products(m, layout, fmt, W, rows, cols, vectors):
            for v in range(vectors):
                result[v, first:first + len(dense)] = lane_sum(np.where(stored, dense * x[v], np.float32(0)))
        _write_results(m, y, result, step)


# ------------------------------------------------------------------------------------------------ to dense and back


def _define_expand(kind: str, form: str) -> None:
    fmt, layout_of = FORMATS[form], LAYOUTS[kind]

    @instruction(f"sp.expand.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x60 + number(kind, form):#04x}",
                 "dst[r, c] = W[r, c], 0 where it is not stored",
                 operands=f"dst>{form}[rows,sp.cols] W<{form}[stored] rows",
                 example=f"csrw sp.cols, a2\ncsrw sp.meta, a6\nsp.expand.{kind}.{form} a3, a4, a5")
    def sp_expand(m, dst, W, rows):
        layout, cols = layout_of(m), _cols(m)
        matrix, row_bytes, align = _matrix(m, layout, fmt, W, rows, cols), fmt.row_bytes(cols), max(int(fmt.bits) // 8, 1)
        m.check_write(dst, rows * row_bytes, align)
        result = np.zeros((rows, row_bytes), np.uint8)
        for first, data, slots, dense, _ in matrix:
            result[first:first + len(dense)] = _dense_bytes(fmt, data, slots, len(dense), cols)
        m.write(dst, result.reshape(-1))
        m.count("sp.elements", rows * cols)


def _dense_bytes(fmt, data, slots, rows, cols):
    """Rows of the dense matrix as bytes, (rows, row_bytes), from stored values as they are: also NaNs and spare codes."""
    width = int(fmt.bits)
    codes = (np.unpackbits(data.reshape(-1, 1), axis=1, bitorder="little").reshape(-1, width) if width < 8
             else data.reshape(-1, width // 8))
    places = np.arange(len(slots.rows)) if width >= 8 else _first_codes(slots.runs, 8 // width)
    zero = np.unpackbits(fmt.pack(np.zeros((1, 1))), axis=1, bitorder="little")[:, :width] if width < 8 else 0
    dense = np.zeros((rows, cols, codes.shape[1]), np.uint8) + np.asarray(zero, np.uint8)
    inside = slots.columns < cols
    dense[slots.rows[inside], slots.columns[inside]] = codes[places[inside]]
    flat = dense.reshape(rows, -1)
    return np.packbits(flat, axis=1, bitorder="little") if width < 8 else flat


def _first_codes(runs, per_byte):
    """The number of each stored value among the codes of all bytes, where each run starts on a byte."""
    padded = -(-runs // per_byte) * per_byte
    ahead = np.cumsum(padded - runs) - (padded - runs)
    return np.arange(int(runs.sum())) + np.repeat(ahead, runs)


def _define_compress(funct2: int, form: str) -> None:
    fmt = FORMATS[form]

    @instruction(f"sp.compress.bm.{form} R4 opcode=0x5B funct3=7 funct2={funct2}",
                 "mask bit k = a value of block k of x is not 0; values = the blocks whose bit is 1; rd = how many values",
                 operands=f"=count values>{form}[count] mask>b1[blocks] x<{form}[sp.cols]",
                 example=f"csrw sp.cols, a4             # elements of x\nsp.compress.bm.{form} t0, a0, a1, a2")
    def sp_compress(m, values, mask, x):
        layout, cols, size = _bm(m), _cols(m), int(fmt.bits) // 8
        data = m.read(x, cols * size, size)
        padded = np.pad(data, (0, -cols % layout.block * size)).reshape(layout.blocks(cols), layout.block * size)
        present = (np.pad(fmt.unpack(data.reshape(1, -1), cols)[0], (0, -cols % layout.block)) != 0).reshape(-1, layout.block)
        stored = present.any(axis=1)
        m.check_write(values, int(stored.sum()) * layout.block * size, size)
        m.write(mask, np.packbits(stored, bitorder="little"))
        m.write(values, padded[stored].reshape(-1), size)
        count = int(stored.sum()) * layout.block
        m.count("sp.values", count)
        m.count("sp.values_float", count if fmt.kind is ValueKind.FLOAT else 0)
        m.count("sp.elements", cols)
        return count


INTEGERS, FLOATS = FORMS[:3], FORMS[3:]

for _kind in LAYOUTS:
    for _form in INTEGERS:
        _define_mac(_kind, _form)
for _kind in LAYOUTS:
    for _form in INTEGERS:
        _define_macT(_kind, _form)
for _kind in LAYOUTS:
    for _form in INTEGERS:
        _define_gemv(_kind, _form)
    for _form in FLOATS:
        _define_float_gemv(_kind, _form)
for _kind in LAYOUTS:
    for _form in FORMS:
        _define_expand(_kind, _form)
for _number, _form in enumerate(("i8", "f16", "f32"), start=1):
    _define_compress(_number, _form)
