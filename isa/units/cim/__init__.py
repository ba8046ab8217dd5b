"""The compute-in-memory unit: macros whose cells hold weights and multiply where they stand. Its UNIT stands here.

    patterns.py     which N of M the cells can hold
    held.py         what the macros hold, as words of the state
    vectors.py      loading vectors, and what products have in common: strides, results, the ADC, scales
    tiles.py        matrices with N of M values: loading tiles, products with a whole matrix
    blocks.py       block-diagonal matrices: loading blocks, products with the factors of Monarch matrices

Encoding: custom-2 (0x5B), funct3=0 (R), numbers from 0 on.

Sources: FLOW and FlexCiM, arXiv 2504.14365, with its RTL, hw/flexcim.v (sub-macros, distribution and merging network); sparse
block-diagonal models on CIM, arXiv 2510.11192 (SparseMap, DenseMap; from a third-party reading note); Monarch matrices, arXiv
2204.00595.
"""

from __future__ import annotations

from isa.timing.rates import Rate, queue_rates
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.units.cim.held import TEXT, WORDS, sound

UNIT = Unit(
    "cim", "Digital compute in memory", """\
Multiplies matrices by int8 vectors where the weights stand. A *macro* is an array of cells, `cim.rows` by `cim.columns`; each cell
holds an int8 weight and multiplies it, and each column adds its products up. So loading weights is an operation with a cost of its
own, and a product reads no weights from memory. What stays in the macros and what is loaded again is the program's choice.

    cim.build.i8                     vectors
    cim.load.nm                      a matrix, N of M, into macros
    cim.mac, cim.gemv                acc += W x, int32, and with scales, f32
    cim.load.bd                      blocks into square macros
    cim.spread.i32, cim.join.i32     acc += R x, acc += L x: block-diagonal factors of Monarch matrices, and .f32 with scales

**Vectors** are loaded as `lut.build.i8` does: as many of one length as `cim.vectors` says (0: one), `cim.codes_stride` and
`cim.scale_stride` bytes apart (0: packed), with their scales at `cim.x_scales`, one for `cim.scale_group` elements (0: one for
all). They stay until the next build and serve any number of products; each product yields its results for each of them, which
start `cim.result_stride` bytes apart (0: packed).

**Tiles.** `cim.load.nm` takes a matrix of so many rows and `cim.cols` columns in the layout nm of the sp unit: of every M columns
of a row N values are stored, `cim.nm` has N in bits 7..0 and M in bits 15..8, values lie row by row and `cim.meta` points to their
places. N = M has no metadata: rows are `cim.cols` bytes, the dense matrix as it is. N < M is taken only if the parameter
`cim.patterns` names it. A column of a macro holds a row of the matrix, or the part of it that fits: G = cim.rows / N groups,
rounded down. So the matrix is cut into tiles of `cim.columns` rows by G groups, I down and J across. Tile (i, j) goes to macro
first + i * J + j, where first is `cim.first`; row i * cim.columns + c goes into column c of it, value s of group j * G + g into
cell g * N + s of the column. Cells that get no value become 0.

    row   0 5 0 -3 7 0 0 0      2 of 4: cells 5 -3 7 0, places 1 3 0 1

`cim.mac` and `cim.gemv` name the first macro and the rows. ILLEGAL_OPERAND unless these macros hold the tiles of one matrix of so
many rows and as many columns as the vector has elements. A column of a macro yields one sum at a time, so a tile takes a step for
each group of scales that it has columns of, and each of `cim.sub_macros` parts of a column (cell c is in part c mod cim.sub_macros)
adds its cells up before the parts are added.

**Blocks.** `cim.load.bd` takes n blocks of `cim.block` x `cim.block` int8, row by row, one after the other, into *slots* from
`cim.first` on. Macros have to be square for that: m = cim.rows = cim.columns. With g = m / cim.block, rounded down, `cim.map` says
where slot s is:

    1 SparseMap   macro s / g,       block row and block column q = s mod g: the diagonal, zeros elsewhere
    2 DenseMap    macro s / (g * g), diagonal i = s mod (g * g) / g, block row p = s mod g, block column q = (p + i) mod g

Element (r, c) of a block is in column q * cim.block + r, cell p * cim.block + c. The slots of a macro are loaded in rising order
without gaps; a macro that held something else is emptied first. Products take SparseMap's blocks of a macro in one step, and
DenseMap's one after the other, a step a block: its rows and columns alone are on.

`cim.spread` and `cim.join` multiply f *factors* from slot `first` on: block-diagonal matrices of `cim.factor` blocks each, of n =
cim.factor * cim.block inputs and outputs, `cim.across` of them side by side. Row r of block k of a factor is added to element r *
cim.factor + k of its outputs: the transposition that stands behind each stage of a Monarch matrix. Factor t has

    spread   inputs from (t mod cim.across) * n on, outputs from t * n on
             vectors of cim.across * n elements, f * n outputs
    join     inputs from t * n on, outputs from (t / cim.across) * n on, rounded down
             vectors of f * n elements, ceil(f / cim.across) * n outputs

So of a matrix in squares, each replaced by P L P R, spread does all R and join all L. ILLEGAL_OPERAND unless the slots are loaded.

**Numbers.** Sums are exact int32 that wrap: acc + (sum << cim.shift), modulo 2**32. Groups and scales of `cim.gemv` are those of
`lut.gemv`: the scales of the weights are f32[rows, groups] at `cim.scales`, one for all where `cim.scale_group` is 0.
`cim.spread.f32` and `cim.join.f32` have one scale for each output, or one for all where `cim.scale_group` is 0, and one for each
vector: a group is all elements of the vector, or more. On a machine with ADCs (`cim.adcs` of each macro) `cim.adc` has bits a in
7..0 and a shift h in 15..8. Each sum that a column yields in a step becomes

    clamp(rint(sum / 2**h), -2**(a-1), 2**(a-1) - 1) * 2**h

before it is added to others; 0 converts exactly. On a machine without ADCs it has to be 0.

With rows, f or n = 0 nothing is read, written or looked for in the macros, and vectors of no elements give sums of 0; settings are
checked all the same. Malformed places trap as in sp, before anything is changed.

What one instruction counts, for V vectors. Here p_j are the groups of scales that tile j of a row of tiles has columns of, p their
sum, and `stored` the stored values of the matrix, zeros and padding among them. Of block-diagonal products B is f * cim.factor, and
S their steps: the macros that take part with SparseMap, B with DenseMap.

                           load.nm    load.bd         mac, gemv                     spread, join
    cim.ops                1          1               1                             1
    cim.lines_written      rows * J   n * block
    cim.cells_written      stored     n * block**2
    cim.weight_bytes       bytes of the values or blocks that are read
    cim.meta_bytes         bytes of the metadata
    cim.tiles                                         I * J                         macros that take part
    cim.steps                                         I * p * V                     S * V
    cim.steps_longest                                 max(p_j) * V                  of the macro with most
    cim.rows_on                                       I * values of a row * V       B * block * V
    cim.macs                                          weights that are not 0 * V    the same
    cim.macs_skipped                                  rows * columns * V - macs     f * n**2 * V - macs
    cim.mux_selects                                   stored * V, if N < M          0
    cim.merges             (cim.sub_macros - 1) *     rows * p * V                  B * block * V
    cim.conversions        with ADCs                  rows * p * V                  B * block * V
    cim.adc_longest        those that one ADC of the macro with most does: the columns of each step are shared out to its ADCs""",
    queue=8,
    csrs=(
        Csr("cim.vectors",       0x880, "vectors that a build loads; 0: one"),
        Csr("cim.codes_stride",  0x881, "bytes between the starts of the vectors that a build loads; 0: packed"),
        Csr("cim.scale_stride",  0x882, "bytes between the starts of their scales; 0: packed"),
        Csr("cim.result_stride", 0x883, "bytes between the starts of the results of each vector; 0: packed"),
        Csr("cim.scale_group",   0x884, "elements that share a scale, fewer in the last group; 0: one scale for the operand"),
        Csr("cim.shift",         0x885, "cim.mac, cim.spread.i32 and cim.join.i32 add their sums shifted left by this, 0..31"),
        Csr("cim.x_scales",      0x886, "address of the scales of the vectors that a build loads", points_to="f32"),
        Csr("cim.first",         0x887, "the macro, or the slot of a block, that a load begins with"),
        Csr("cim.meta",          0x888, "address of the metadata of the matrix that is loaded", points_to="u8"),
        Csr("cim.nm",            0x889, "N in bits 7..0, M in bits 15..8: N of every M columns are stored", 0x0402, 0xFFFF),
        Csr("cim.cols",          0x88A, "columns of the matrix that is loaded, at most 2**28"),
        Csr("cim.scales",        0x88B, "address of the scales of the weights of a product", points_to="f32"),
        Csr("cim.block",         0x88C, "rows and columns of a block, 1..cim.rows", 1),
        Csr("cim.map",           0x88D, "where blocks are: 1 SparseMap, 2 DenseMap", 1),
        Csr("cim.factor",        0x88E, "blocks of a block-diagonal factor, 1..2**28", 1),
        Csr("cim.across",        0x88F, "factors side by side, 1..2**28", 1),
        Csr("cim.adc",           0x890, "bits of the ADCs in 7..0, 1..16, shift in 15..8, 0..31; 0: sums are exact", 0, 0xFFFF),
    ),
    counters=spending("cells_written macs merges conversions", (
        Counter("cim.ops",           105, "instructions", "cim instructions retired"),
        Counter("cim.lines_written", 106, "columns",      "columns of macros that loads wrote to"),
        Counter("cim.cells_written", 107, "cells",        "cells that loads wrote values to"),
        Counter("cim.weight_bytes",  108, "bytes",        "bytes of values that loads read"),
        Counter("cim.meta_bytes",    109, "bytes",        "bytes of metadata that loads read"),
        Counter("cim.tiles",         110, "macros",       "macros that took part in products, of each product"),
        Counter("cim.steps",         111, "steps",        "activations of macros: all columns that are on yield a sum"),
        Counter("cim.steps_longest", 112, "steps",        "those of cim.steps that the macro with most has, of each product"),
        Counter("cim.rows_on",       113, "rows",         "rows of cells that activations drive with elements of a vector"),
        Counter("cim.macs",          114, "MACs",         "products of a weight that is not zero"),
        Counter("cim.macs_skipped",  115, "MACs",         "products of the dense matrix whose weight is zero, stored or not"),
        Counter("cim.mux_selects",   116, "selections",   "elements that were chosen by a value's place, N < M"),
        Counter("cim.merges",        117, "additions",    "additions of the sums of sub-macros"),
        Counter("cim.conversions",   118, "conversions",  "sums of columns that ADCs converted"),
        Counter("cim.adc_longest",   119, "conversions",  "those of them that one ADC did one after the other"),
    )),
    parameters=(
        Parameter("cim.macros",      "macros",           "macros, that is arrays of cells, which work side by side"),
        Parameter("cim.rows",        "cells a column",   "rows of cells of a macro, those of all its sub-macros; 16 or more"),
        Parameter("cim.columns",     "columns a macro",  "columns of cells of a macro"),
        Parameter("cim.sub_macros",  "parts of a macro", "sub-macros, parts of each column with an adder tree of their own"),
        Parameter("cim.adcs",        "ADCs a macro",     "converters that the columns of a macro share; 0: it is digital", least=0),
        Parameter("cim.activations", "int8 elements",    "elements of the vectors that the unit holds together"),
        Parameter("cim.patterns",    "text",             "N:M with N < M that cells can hold: `2:4 4:8`, `any`, `none`", str),
    ),
    rates=(
        *queue_rates("cim"),
        Rate("cim.lines_per_cycle",       "columns a cycle",     "columns of macros written",        "cim.lines_written"),
        Rate("cim.steps_per_cycle",       "steps a cycle",       "activations of a macro",           "cim.steps_longest"),
        Rate("cim.conversions_per_cycle", "conversions a cycle", "conversions of an ADC",            "cim.adc_longest"),
    ),
    sound=sound,
    state=(
        StateArray("cim.built_vectors", "u8", 1,                 "vectors built; 0: nothing was built"),
        StateArray("cim.length",        "u8", 1,                 "elements of a vector"),
        StateArray("cim.activations",   "i1", "cim.activations", "the vectors, one after the other"),
        StateArray("cim.x_group",       "u8", 1,                 "elements that share a scale; 0: all of a vector"),
        StateArray("cim.x_scales",      "f4", "cim.activations", "scales of the vectors, one per group, vector by vector"),
        StateArray("cim.cells",         "i1", "cim.macros * cim.columns * cim.rows", "the weights, column by column"),
        StateArray("cim.places",        "u1", "cim.macros * cim.columns * cim.rows", "place in its group of each weight, if N < M"),
        StateArray("cim.held",          "u4", f"cim.macros * {WORDS}", TEXT),
    ),
)

# Importing these fills the instruction table, in the order of the manual.
# isort: off
from isa.units.cim import vectors as vectors  # noqa: E402
from isa.units.cim import tiles as tiles  # noqa: E402
from isa.units.cim import blocks as blocks  # noqa: E402
