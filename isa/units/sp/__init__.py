"""The sparse unit: matrix times vector for weights with zeros, which are neither stored nor multiplied. Its UNIT stands here.

    vectors.py      loading vectors, and what products have in common
    matrices.py     layouts as CSRs say, matrices from memory
    products.py     mac, macT, gemv
    dense.py        expand, compress
    streams.py      convolutions with run-length streams, without loaded vectors

Encoding: custom-1 (0x2B), funct3=7 (R): the upper two bits of funct7 are mac, macT, gemv, expand, the lower five `number`, 0..24;
25..29 and 31 are free, 30 is sp.build.f32; custom-2 (0x5B), funct3=7 (R4): sp.build.i8, sp.compress. Left to others: custom-1
funct3=6, to weight formats of lut with the numbers 12 to 15; custom-2 funct3=0 (R), to digital CIM; custom-2 funct3=6 (R), to int8
networks of vec.

The layouts are objects of isa/sparse: they say where stored values belong and what is malformed. Here stand the rows and what each
does with memory.

Sources: FLOW and FlexCiM, arXiv 2504.14365 (any N of M); SparAMX, arXiv 2502.12444, and compressed-tensors (bitmasks);
TinyFormer, arXiv 2311.01759 (blocks); CSR and BSR of SciPy and torch (listed columns, blocks).
"""

from __future__ import annotations

from isa.timing.rates import Rate, queue_rates
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.vectors import fits

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

**cs**, columns listed: of each row the values that are not zero. The metadata has the column of each value, 16 bits, the low byte
first; the columns of a row rise. `sp.offsets` points to u32[rows + 1]: the values before each row, and before the end. Only their
differences count: the operand and the metadata begin with those of row 0. So some rows of a matrix are a matrix, too.

**bl**, blocks of `sp.block_rows` rows (1..64) and `sp.block` columns. A stored block has all its values, row by row, zeros among
them. The metadata has the number of each block in its row of blocks, 16 bits; they rise. `sp.offsets` points to
u32[ceil(rows / sp.block_rows) + 1]: the blocks before each row of blocks.

    rows              0  5  0  0     values         05 fe 07                 metadata 01 00 00 00 03 00
                     -2  0  0  7     as cs          offsets 0 1 3
    bl, blocks of 2 x 2              values         00 05 fe 00 00 00 00 07  metadata 00 00 01 00        offsets 0 2

The values of a row, in bl those of a block, lie one after the other and start on a byte; rows and blocks follow each other. A last
group or block that is short is stored whole: what is behind the last column, or below the last row, has to be 0. The metadata has
any address, values and offsets are aligned as others are.

Before anything is written, ILLEGAL_OPERAND says what is malformed: a place that does not rise or is M or more (mtval: the place),
bits of a mask behind the last block (mtval: the last byte of the row), a listed number that does not rise or is beyond the last
(mtval: the number), offsets that fall (mtval: the offset), a value behind the last column or below the
last row that is not 0 (mtval: its column).

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

`sp.conv.rl.i8` and `sp.depthwise.rl.i8` are those of vec for weights with zeros: windows, offsets and results are as the CSRs of
vec say, with no offset of weights. They need no build: the image stays in memory. The weights of all outputs are one **run-length
stream** of `sp.stream` bytes: those of output 0, then of output 1 and so on, of depthwise those of channel 0, each in the order of
its taps. It is read from element `position` = 0 on:

    d = byte + 128 modulo 256; position += d
    if the next byte is 0     it is skipped: an escape, which only moves on
    else                      the next `sp.block` bytes are the weights from position on; position += sp.block - 1

A block may go on in the next output; what is behind the last element has to be 0. ILLEGAL_OPERAND says where a stream ends inside
a block (mtval: sp.stream), a block begins behind the last element or inside the block before it (mtval: the element), or a weight
behind the last element is not 0 (mtval: the element).

With rows, cols or n = 0 no memory is read or written, of the counters only `sp.ops` counts, and settings are checked all the same.
A build with n = 0 builds no elements: then sp.mac adds 0 and sp.gemv yields +0.0; no weights and no scales are read. Where nothing
is stored no values are read. All vectors of a build together may not have more elements than `sp.activations`; one of no elements
takes the room of one.

What one instruction counts for one vector, with `stored` values, zeros and padding among them. With several, `sp.ops` and bytes
count once, everything else for each vector:

    sp.ops             1
    sp.values          stored of mac, macT, gemv, conv, depthwise, expand and compress
    sp.values_float    those of them that are f16 or f32
    sp.macs            stored values of mac, macT, gemv, conv, depthwise that are not 0
    sp.macs_float      those of them that are f16 or f32
    sp.macs_skipped    rows * cols - sp.macs of mac, macT, gemv, conv, depthwise
    sp.zeros_stored    stored - sp.macs of mac, macT, gemv, conv, depthwise
    sp.weight_bytes    bytes of the values that mac, macT, gemv, conv, depthwise and expand read
    sp.meta_bytes      bytes of their metadata and offsets; of a stream all that are no values
    sp.elements        rows * cols of expand, cols of compress, results of conv and depthwise
    bytes read         sp.weight_bytes + sp.meta_bytes, and of each other operand that is read its elements, once
    bytes written      of each operand that is written its elements""",
    queue=7,
    csrs=(
        Csr("sp.meta",        0x870, "address of the metadata of a matrix", points_to="u8"),
        Csr("sp.nm",          0x871, "N in bits 7..0, M in bits 15..8: N of every M columns are stored", 0x0402, 0xFFFF),
        Csr("sp.block",       0x872, "columns of a block of bm and bl, 1..65536; of a stream, 1..255", 1),
        Csr("sp.cols",        0x873, "columns of the matrix of sp.expand, elements of sp.compress; at most 2**28"),
        Csr("sp.scales",      0x874, "address of the scales of the weights of sp.gemv", points_to="f32"),
        Csr("sp.scale_group", 0x875, "columns that share a scale, fewer in the last group; 0: one scale for the operand"),
        Csr("sp.shift",       0x876, "sp.mac and sp.macT add their sums shifted left by this, 0..31"),
        Csr("sp.vectors",     0x877, "vectors that a build loads; 0: one"),
        Csr("sp.codes_stride", 0x878, "bytes between the starts of the vectors that a build loads; 0: packed one after the other"),
        Csr("sp.scale_stride", 0x879, "bytes between the starts of their scales; 0: packed one after the other"),
        Csr("sp.result_stride", 0x87A, "bytes between the starts of the results of each vector; 0: packed one after the other"),
        Csr("sp.offsets",     0x87B, "address of the offsets of a matrix in cs or bl", points_to="u32"),
        Csr("sp.block_rows",  0x87C, "rows of a block of bl, 1..64", 1),
        Csr("sp.stream",      0x87D, "bytes of the run-length stream of sp.conv and sp.depthwise"),
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
        Counter("sp.meta_bytes",   103, "bytes",       "bytes of metadata and offsets read"),
        Counter("sp.elements",     104, "elements",    "elements that expand wrote or compress read; results of conv, depthwise"),
    )),
    parameters=(Parameter("sp.activations", "elements", "elements of vectors that the unit holds together"),),
    rates=(
        *queue_rates("sp"),
        Rate("sp.values_per_cycle",       "values a cycle",   "stored values, of integers",      "sp.values", "sp.values_float"),
        Rate("sp.float_values_per_cycle", "values a cycle",   "stored values, of f16 and f32",   "sp.values_float"),
        Rate("sp.meta_bytes_per_cycle",   "bytes a cycle",    "metadata decoded",                "sp.meta_bytes"),
        Rate("sp.elements_per_cycle",     "elements a cycle", "elements expanded or compressed, results", "sp.elements"),
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

# Importing these fills the instruction table, in the order of the manual.
# isort: off
from isa.units.sp import vectors as vectors  # noqa: E402
from isa.units.sp import products as products  # noqa: E402
from isa.units.sp import dense as dense  # noqa: E402
from isa.units.sp import streams as streams  # noqa: E402
