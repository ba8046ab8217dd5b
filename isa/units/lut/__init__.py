"""The LUT unit: matrix times vector for weights of a few bits, by table look-up instead of multiplication. Its UNIT stands here.

    loading.py      activations and codebooks, and what products have in common
    weights.py      matrices of packed weights from memory
    counting.py     what products count: planes, groups, look-ups, the core with most
    products.py     mac, macT, gemv, and the numbers of the formats
    reuse.py        sums of centres
    decode.py       codebooks to f32
    planes.py       bit planes and parts of activations

Operation: `lut.build` loads a vector of int8 activations, or several, and builds, for every group of four, a table of their
signed sums. A weight matrix then streams through once, and four weights together are the index of one table entry of each vector.
Sums are exact int32 that wrap, whatever route the hardware takes: `lut.mode` changes what is counted, never a result.

Sources: Slim-Llama, ISSCC 2025 paper 23.9 (S-LUT with LUT, buffer and mixed mode, skipped zero groups, centre and
difference); FLUTE, arXiv 2407.10960 (codebooks with group scales); arXiv 2409.17870 and APT-LLM, arXiv 2508.19087 (bipolar
integers from bit planes).
"""

from __future__ import annotations

from isa.timing.rates import Rate, queue_rates
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.vectors import fits

UNIT = Unit(
    "lut", "LUT multiply-accumulate",
    """\
Multiplies a matrix of low-bit weights by a vector of int8 activations. Four binary or ternary weights can combine four
activations in only a few ways, so the unit computes these signed sums once (`lut.build`) and then reads one of them for
every four weights instead of multiplying. Integer weights of N bits take N such look-ups, one per bit plane. A group of
four weights that are all zero is skipped.

`lut.mac` adds W x to an int32 vector, `lut.macT` adds the transpose of W times x (each activation times one row of W, for
matrices stored by input), `lut.gemv` also applies the scales of weights and activations and yields f32. Weight formats
are the suffix: b1 binary, t2 and t5 ternary, i2 i3 i4 i8 integers, c2 c3 c4 indices into a codebook that `lut.codebook.i8`
loads. The vector that was built stays until the next build and serves any number of matrices; its length is the number
of columns (for `lut.macT`: of rows).

A build can load several vectors of one length, as many as `lut.vectors` says: the tokens of a prompt, or of several texts. Each
product then yields its results for each of them, and the weights stream through once for all. `lut.codes_stride` and
`lut.scale_stride` say how far apart the codes and the scales of the vectors start, `lut.result_stride` how far apart their results
do. Inside the unit the vectors lie one behind the other, and so do their scales.

Weights kept as centre plus difference reuse the centre's result. The columns are cut into pieces, and each piece of a row belongs
to one of a few centres: `lut.mac` makes the sums of the centres once, `lut.reuse` adds to each row those of its pieces, and
`lut.mac` the mostly zero differences. Activations of 16 bits go as two int8 vectors, the upper with `lut.shift` = 8. Where tables
hold four bits, those of 8 bits go in two parts: `lut.part.i8` cuts a part out, and the upper one goes with `lut.shift` = 4. Of
16 bits there are four: `lut.part.i16` cuts one out, and part p goes with `lut.shift` = 4 * p.

Codes of a codebook that lie side by side in a row can be looked up in pairs: with `lut.pairs` set, one look-up in a table of all
pairs of values is two weights. It changes what is counted, never a result. The table follows from the codebook; that it takes no
time to make is assumed. `lut.macT` has no pairs, since neighbours in a row of its matrix belong to two outputs.

Bipolar integers, whose bits are each worth +1 or -1, are multiplied bit plane by bit plane: `lut.xnor` compares a plane of
the weights with the activations and adds the agreements less the disagreements, shifted by the plane's place. Of int8
activations that `lut.build.i8` loaded it takes the eight bit planes in turn, and one pass more for the sum of the weights, which
makes it exact. Bipolar activations go plane by plane: `lut.plane` cuts a plane out, `lut.build.b1` loads it, and the shift is
that of both planes.

Sums are int32 and wrap, so their order does not matter: acc + (sum << lut.shift), modulo 2**32. In `lut.gemv` the int32 sum of a
group is rounded to fp32, the scales of weights and activations are multiplied and rounded, then both are multiplied and rounded,
then the groups are summed in 16 lanes as in vec. Its error is at most e(ceil(groups / 16) + 6) of the sum of the groups' magnitudes
(e: see arithmetic). NaNs in scales and in the codebook are kept as they are; a NaN result is 0x7FC00000.

Group g is the columns from g * group on, as many or what is left. The group of the activations is what `lut.scale_group` was at
`lut.build.i8`, that of the weights is what it is at `lut.gemv`. Where both are set they must be equal, as numbers; 0 means that all
activations, or all weights of the matrix, have one scale. groups = ceil(length / group), with the one that is set; with none it is
1. So weights with one scale a row have a group of length, or more, and activations with one scale group 0 at their build. Each of
several vectors has scales of its own.

A codebook has 4, 8 or 16 values, else ILLEGAL_OPERAND; loading it sets all 16 entries, those from n on to 0. c2 reaches the first 4
entries, c3 the first 8, c4 all, whatever was loaded. `lut.decode` has codebooks alone; for it a group is `lut.scale_group` of the n
codes.

`lut.build` with n = 0 builds no activations. A product then adds 0, and `lut.gemv` yields +0.0; no weights and no scales are
read. Activations and scales in the unit that a build does not reach keep their values, and nothing reads them. With rows or cols
= 0 no memory is read or written, and only `lut.ops` counts. With n, rows or cols = 0, products check all the same `lut.mode`,
`lut.shift`, what was built, and in `lut.gemv` `lut.scale_group`; `lut.row_stride` is not looked at. A build with n = 0 checks
`lut.mode`, `lut.shift` and `lut.vectors`, which with vectors of no activations must not be more than `lut.activations` either.

`lut.decode`, `lut.plane` and `lut.part` with n = 0 do nothing, but for a bit or a part that there is not, which trap. Bits of a
result of `lut.plane` behind the last are 0. What lies between rows of weights is neither read nor counted; from its first to its
last byte a matrix lies in one region.

`lut.mode` changes only what is counted: tables by the mode at the build, the rest by the mode at the product. The two may differ,
and no result depends on them. Mode 0, LUT: a group of 4 weights is one look-up in a table of 4 activations. Mode 1, buffer:
the unit holds 8 activations and reads those with a non-zero weight, two a step. Mode 2, mixed: of 7 activations the first 3 are a
table, read if all three weights are non-zero, and the rest a buffer. A group without a non-zero weight is skipped in every mode.
Groups lie along the activations of one output, from the first on, and the last may be short. For an N-bit integer each bit of the
two's complement is a plane of weights, a pass of its own, whose weights are 0 or 1; b1, t2 and t5 are one plane. Of w non-zero
weights in a group, and f = 1 where a group of mode 2 has its first three weights and all are non-zero:

    mode    lut.lookups    lut.buffer_reads   lut.steps                  lut.groups_skipped
    0       1 if w > 0     0                  1 if w > 0                 1 if w = 0
    1       0              w                  ceil(w / 2)                1 if w = 0
    2       f              w - 3 * f          ceil((f + w - 3 * f) / 2)  1 if w = 0

The unit has `lut.cores` cores that work at the same time. Outputs are dealt to them in turns: output i, from 0 on, is the work of
core i mod lut.cores. An output is a row of mac, gemv, xnor and reuse, a column of macT, an element of decode. `lut.steps` has the
steps of all cores, `lut.steps_longest` those of the core that has most, which is what an operation takes: where groups are skipped,
the others are done before it. So lut.steps / lut.cores <= lut.steps_longest <= lut.steps, and with one core the two are equal.

The sums of these over all outputs, planes and groups, and what else one instruction counts. Here are the figures of one vector.
With several, weights and their scales are read once; everything else counts for each vector, and `lut.ops` once. `lut.reuse` has
one vector, whatever was built, and looks at neither `lut.mode` nor `lut.shift`:

    lut.ops             1
    lut.macs            outputs * length, of mac, macT, gemv, xnor; outputs are rows, of macT cols
    lut.macs_skipped    weights of mac, macT, gemv that are 0; of codebooks, whose value is
    lut.lookups         of codebooks in every mode outputs * length, and as many lut.steps; of decode n, and as many lut.steps;
                        with lut.pairs, but for macT, outputs * ceil(length / 2) and ceil(n / 2);
                        of reuse rows * pieces, and as many lut.steps
    lut.steps           of xnor rows * ceil(length / 64); with int8 activations 9 times as many
    lut.steps_longest   of all lut.steps those of the core that has most; of decode ceil(lut.steps / cores)
    lut.weight_bytes    bytes of the rows of weights, of the n codes of decode, or of what is assigned in reuse
    lut.index_toggles   of mac, gemv, xnor: for each row but the first, the bits in which its packed bytes differ from those of the
                        row before it, once for all vectors: the lines that carry the indices of look-ups switch so often
    lut.tables_built    of build ceil(n / 4) in mode 0, ceil(n / 7) in mode 2
    bytes read          of each operand that is read its elements, once; of the scales of gemv rows * groups or one
    bytes written       of each operand that is written its elements""",
    queue=2,
    csrs=(
        Csr("lut.mode",        0x810, "0 LUT: tables of 4 activations; 1 buffer: 8 activations; 2 mixed: 3 and 4"),
        Csr("lut.row_stride",  0x811, "bytes between the starts of weight rows; 0: rows are packed one after the other"),
        Csr("lut.scale_group", 0x812, "elements that share a scale, fewer in the last group; 0: one scale for the operand"),
        Csr("lut.shift",       0x813, "lut.mac, lut.macT, lut.xnor add their sums shifted left by this, 0..31"),
        Csr("lut.vectors",     0x814, "vectors that a build loads; 0: one"),
        Csr("lut.codes_stride", 0x815, "bytes between the starts of the vectors that a build loads; 0: packed one after the other"),
        Csr("lut.scale_stride", 0x816, "bytes between the starts of their scales; 0: packed one after the other"),
        Csr("lut.result_stride", 0x817, "bytes between the starts of the results of each vector; 0: packed one after the other"),
        Csr("lut.pieces",      0x818, "lut.reuse: pieces that the columns of a row are cut into; 0: one"),
        Csr("lut.centres",     0x819, "lut.reuse: centres of a piece, 1..256; 0: 256"),
        Csr("lut.pairs",       0x81A, "not 0: codes of a codebook are looked up two at a time, in a table of pairs"),
    ),
    counters=spending("tables_built steps index_toggles", (
        Counter("lut.ops",            24, "instructions",  "lut instructions retired"),
        Counter("lut.tables_built",   25, "tables",        "tables built, of 4 activations; mixed mode: of 3; buffer mode: none"),
        Counter("lut.lookups",        26, "look-ups",      "table entries read"),
        Counter("lut.buffer_reads",   27, "reads",         "single activations read in buffer and mixed mode"),
        Counter("lut.steps",          28, "steps",         "read cycles: one look-up, or in buffer and mixed mode two reads"),
        Counter("lut.macs",           29, "MACs",          "products of a weight and an activation in the result"),
        Counter("lut.macs_skipped",   30, "MACs",          "those of lut.macs whose weight is zero"),
        Counter("lut.groups_skipped", 31, "groups",        "groups of weights that were skipped because all are zero"),
        Counter("lut.weight_bytes",   32, "bytes",         "bytes of weights streamed"),
        Counter("lut.steps_longest",  94, "steps",         "those of lut.steps that the core with most has, of each operation"),
        Counter("lut.index_toggles", 120, "bits",          "bits of packed weights that differ from the row before them"),
    )),
    parameters=(
        Parameter("lut.activations", "int8 activations", "activations that the tables of the unit hold together"),
        Parameter("lut.cores",       "cores",            "cores that work on the outputs of an operation in turns"),
    ),
    rates=(
        *queue_rates("lut"),
        Rate("lut.steps_per_cycle",  "steps a cycle",  "read cycles of all look-up tables of a core", "lut.steps_longest"),
        Rate("lut.tables_per_cycle", "tables a cycle", "tables built",                                "lut.tables_built"),
    ),
    sound=lambda state, parameter: bool(
        state["lut.kind"][0] <= 2
        and fits(int(state["lut.built_vectors"][0]), int(state["lut.length"][0]), parameter("lut.activations"))),
    state=(
        StateArray("lut.kind",         "u1", 1,                 "what was built: 0 nothing, 1 int8, 2 binary"),
        StateArray("lut.built_vectors", "u8", 1,                "vectors built, as lut.vectors says; 0: one"),
        StateArray("lut.length",       "u8", 1,                 "activations of a vector"),
        StateArray("lut.activations",  "i1", "lut.activations", "the activations, vector by vector"),
        StateArray("lut.x_group",      "u8", 1,                 "activations that share a scale; 0: all of a vector"),
        StateArray("lut.scales",       "f4", "lut.activations", "scales of the activations, one per group, vector by vector"),
        StateArray("lut.codebook_i8",  "i1", 16,                "weight values of codes, for lut.mac, lut.macT, lut.gemv"),
        StateArray("lut.codebook_f32", "f4", 16,                "weight values of codes, for lut.decode"),
    ),
)

# Importing these fills the instruction table, in the order of the manual.
# isort: off
from isa.units.lut import loading as loading  # noqa: E402
from isa.units.lut import products as products  # noqa: E402
from isa.units.lut import reuse as reuse  # noqa: E402
from isa.units.lut import decode as decode  # noqa: E402
from isa.units.lut import planes as planes  # noqa: E402
