"""The LUT unit: matrix times vector for weights of a few bits, by table look-up instead of multiplication.

Operation: `lut.build` loads a vector of int8 activations, or several, and builds, for every group of four, a table of their
signed sums. A weight matrix then streams through once, and four weights together are the index of one table entry of each vector.
Sums are exact int32 that wrap, whatever route the hardware takes: `lut.mode` changes what is counted, never a result.

Sources: Slim-Llama, ISSCC 2025 paper 23.9 (S-LUT with LUT, buffer and mixed mode, skipped zero groups, centre and
difference); FLUTE, arXiv 2407.10960 (codebooks with group scales); arXiv 2409.17870 and APT-LLM, arXiv 2508.19087 (bipolar
integers from bit planes).
"""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count, lane_sum
from isa.instruction import instruction
from isa.numbers import FORMATS, ValueKind
from isa.timing.rates import Rate, queue_rates
from isa.traps import Cause, Trap
from isa.unit import Counter, Csr, Parameter, StateArray, Unit, spending
from isa.vectors import accumulate, asked, before, check_results, each, fits, result_stride, stride

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
hold four bits, those of 8 bits go in two parts: `lut.part.i8` cuts a part out, and the upper one goes with `lut.shift` = 4.

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

`lut.decode`, `lut.plane` and `lut.part.i8` with n = 0 do nothing, but for bit > 7 or part > 1, which trap. Bits of a result of
`lut.plane` behind the last are 0. What lies between rows of weights is neither read nor counted; from its first to its last byte a
matrix lies in one region.

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

_I8, _B1 = 1, 2                         # lut.kind
_BUFFER = 1                             # lut.mode
_GROUP = (4, 8, 7)                      # weights per group, by lut.mode
_CHUNK = 1 << 22                        # weights unpacked at a time, to bound the memory of a large operation

# ------------------------------------------------------------------------------------------------ activations, codebooks


def _build(m, kind, activations, scales, group):
    """Keep activations (vectors, n), int8, of a kind, and their scales, one per `group`. Counts the tables that are built."""
    vectors, n = activations.shape
    m.set_state("lut.kind", [kind])
    m.set_state("lut.built_vectors", [m.csr("lut.vectors")])
    m.set_state("lut.length", [n])
    m.set_state("lut.activations", activations)
    m.set_state("lut.x_group", [group])
    m.set_state("lut.scales", scales)
    if m.csr("lut.mode") != _BUFFER:
        m.count("lut.tables_built", vectors * group_count(n, _GROUP[m.csr("lut.mode")]))


@instruction("lut.build.i8     R4 opcode=0x2B funct3=4 funct2=0",
             "activations of v = x of v; their scales = scale of v, one per lut.scale_group elements; build tables of 4",
             operands="x<i8[vectors,n] scale<f32[vectors,groups] n",
             example="csrw lut.scale_group, zero   # one scale for the vector\nlut.build.i8 a0, a1, a2\n"
                     "csrwi lut.vectors, 3         # three vectors, one behind the other\nlut.build.i8 a0, a1, a2")
def lut_build_i8(m, x, scale, n):
    _check_settings(m)
    vectors, group = asked(m, "lut.vectors", "lut.activations", n, "the tables of this machine hold"), m.csr("lut.scale_group")
    groups = group_count(n, group)
    codes_stride = stride(m, "lut.codes_stride", n, f"a vector of {n} codes")
    scale_stride = stride(m, "lut.scale_stride", 4 * groups, f"{groups} scales", 4)
    m.check_read(x, m.span(vectors, n, codes_stride))
    m.check_read(scale, m.span(vectors, 4 * groups, scale_stride), 4)
    _build(m, _I8, each(m.read_i8, x, vectors, n, codes_stride), each(m.read_f32, scale, vectors, groups, scale_stride), group)


@instruction("lut.build.b1     R  opcode=0x2B funct3=0 funct7=0x20",
             "activations of v = x of v, each +1 or -1, with scale 1; build tables of 4",
             operands="x<b1[vectors,n] n", example="lut.build.b1 a0, a1")
def lut_build_b1(m, x, n):
    _check_settings(m)
    vectors, bits = asked(m, "lut.vectors", "lut.activations", n, "the tables of this machine hold"), FORMATS["b1"]
    size = bits.row_bytes(n)
    step = stride(m, "lut.codes_stride", size, f"a vector of {n} b1")
    m.check_read(x, m.span(vectors, size, step))
    activations = bits.unpack(each(m.read, x, vectors, size, step), n)
    _build(m, _B1, activations, np.ones((vectors, min(n, 1)), np.float32), 0)


def _check_codebook(n):
    """Trap unless n is a length that a codebook can have."""
    if n not in (4, 8, 16):
        raise Trap(Cause.ILLEGAL_OPERAND, n, f"a codebook of {n} values; expected 4, 8 or 16")


@instruction("lut.codebook.i8  R  opcode=0x2B funct3=0 funct7=0x21", "codebook_i8[i] = table[i]; entries from n on are 0",
             operands="table<i8[n] n", example="lut.codebook.i8 a0, a1")
def lut_codebook_i8(m, table, n):
    _check_codebook(n)
    m.set_state("lut.codebook_i8", np.pad(m.read_i8(table, n), (0, 16 - n)))


@instruction("lut.codebook.f32 R  opcode=0x2B funct3=0 funct7=0x22", "codebook_f32[i] = table[i]; entries from n on are 0",
             operands="table<f32[n] n", example="lut.codebook.f32 a0, a1")
def lut_codebook_f32(m, table, n):
    _check_codebook(n)
    m.set_state("lut.codebook_f32", np.pad(m.read_f32(table, n), (0, 16 - n)))


# ------------------------------------------------------------------------------------------------ weights


def _activations(m):
    """The activations that were built, as int32 (vectors, length)."""
    if not m.state["lut.kind"][0]:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "no activations are loaded; lut.build.i8 or lut.build.b1 must come first")
    vectors, length = max(int(m.state["lut.built_vectors"][0]), 1), int(m.state["lut.length"][0])
    return m.state["lut.activations"][:vectors * length].reshape(vectors, length).astype(np.int32)


def _row_stride(m, fmt, rows, cols):
    """Bytes from row to row of a matrix of packed weights."""
    return stride(m, "lut.row_stride", fmt.row_bytes(cols) if rows else 0, f"a row of {cols} {fmt.name}")


def _weights(m, fmt, W, rows, cols, row_stride, rows_at_a_time, by_output=True):
    """Checks a matrix of packed weights, and streams it: yields (first row, weights int8 (k, cols)). Counts the bytes and, if rows
    are outputs, the bits that switch."""
    if not rows or not cols:
        return iter(())
    m.check_read(W, m.span(rows, fmt.row_bytes(cols), row_stride))
    return _stream(m, fmt, W, rows, cols, row_stride, rows_at_a_time, by_output)


def toggles(data):
    """Bits in which rows of bytes, (rows, bytes), differ from the rows before them."""
    return int(np.unpackbits(data[1:] ^ data[:-1]).sum(dtype=np.int64))


def _stream(m, fmt, W, rows, cols, row_stride, rows_at_a_time, by_output):
    """What `_weights` yields."""
    row_bytes = fmt.row_bytes(cols)
    before = np.zeros((0, row_bytes), np.uint8) if by_output else None      # the last row so far
    for first in range(0, rows, rows_at_a_time):
        k = min(rows_at_a_time, rows - first)
        if row_stride == row_bytes:
            data = m.read(W + first * row_stride, k * row_bytes).reshape(k, row_bytes)
        else:
            data = np.stack([m.read(W + row * row_stride, row_bytes) for row in range(first, first + k)])
        m.count("lut.weight_bytes", k * row_bytes)
        if before is not None:
            m.count("lut.index_toggles", toggles(np.concatenate([before, data])))
            before = data[-1:]
        weights = fmt.unpack(data, cols)
        yield first, m.state["lut.codebook_i8"][weights] if fmt.kind is ValueKind.CODEBOOK else weights


def plane_events(nonzero, mode):
    """Events of one plane of weights, `nonzero` bool (outputs, activations), as counts by counter name; and steps (outputs,).

    A group is 4, 8 or 7 weights of one output. LUT mode: one look-up. Buffer mode: one read per non-zero weight, two reads a
    step. Mixed mode: three non-zero weights at the front are one look-up, every other non-zero weight is one read.
    """
    size = _GROUP[mode]
    outputs, length = nonzero.shape
    groups = np.pad(nonzero, ((0, 0), (0, -length % size))).reshape(outputs, -(-length // size), size)
    weights = groups.sum(axis=2)
    if mode == 0:
        lookups, reads = weights > 0, np.zeros_like(weights)
    elif mode == 1:
        lookups, reads = np.zeros_like(weights), weights
    else:
        lookups = groups[:, :, :3].all(axis=2)
        reads = weights - 3 * lookups
    steps = lookups if mode == 0 else (lookups + reads + 1) // 2
    return {"lut.lookups": lookups.sum(), "lut.buffer_reads": reads.sum(), "lut.steps": steps.sum(),
            "lut.groups_skipped": (weights == 0).sum()}, steps.sum(axis=1)


def bit_planes(fmt):
    """Passes over the weights of a format: one for each bit of an integer, one for signs. 0: each weight is looked up by itself."""
    match fmt.kind:
        case ValueKind.INTEGER:
            return int(fmt.bits)
        case ValueKind.SIGN:
            return 1
        case ValueKind.CODEBOOK:
            return 0
    raise ValueError(f"{fmt.name} is {fmt.kind.value}, which the LUT unit does not multiply")


def _count_macs(m, weights, vectors):
    """Count the products of `weights` (outputs, activations) with each vector."""
    m.count("lut.macs", vectors * weights.size)
    m.count("lut.macs_skipped", vectors * (weights.size - np.count_nonzero(weights)))


def _count_planes(m, fmt, weights, vectors):
    """Count the work of `weights` (outputs, activations), plane by plane. The steps of each output, (outputs,), for a vector."""
    _count_macs(m, weights, vectors)
    passes, steps = bit_planes(fmt), np.zeros(len(weights), np.int64)
    for plane in [weights >> bit & 1 for bit in range(passes)] if passes > 1 else [weights]:
        counts, of_plane = plane_events(plane != 0, m.csr("lut.mode"))
        steps += of_plane
        for name, events in counts.items():
            m.count(name, vectors * events)
    return steps


def _count_codes(m, weights, vectors, each):
    """Count the work of `weights`, for which each output takes so many look-ups. The steps of each output, (outputs,), for a
    vector."""
    _count_macs(m, weights, vectors)
    m.count("lut.lookups", vectors * len(weights) * each)
    m.count("lut.steps", vectors * len(weights) * each)
    return np.full(len(weights), each, np.int64)


def _count_codebook(m, fmt, weights, vectors):
    """Count the work of rows of `weights`, whose values are looked up in the codebook, alone or in pairs."""
    return _count_codes(m, weights, vectors, looked_up(m, weights.shape[1]))


def _count_columns_of_codes(m, fmt, weights, vectors):
    """Count the work of columns of weights, (outputs, activations), each of which looks its value up in the codebook."""
    return _count_codes(m, weights, vectors, weights.shape[1])


def looked_up(m, codes):
    """Look-ups for codes of a codebook that lie side by side."""
    return group_count(codes, 2) if m.csr("lut.pairs") else codes


def _count_longest(m, steps, vectors):
    """Count the steps of the core that has most, of the `steps` (outputs,) that each output takes for a vector."""
    cores = max(min(m.parameter("lut.cores"), len(steps)), 1)
    m.count("lut.steps_longest", vectors * np.pad(steps, (0, -len(steps) % cores)).reshape(-1, cores).sum(axis=0).max())


def _work_of(fmt, of_codes=_count_codebook):
    """How the work of weights in a format is counted."""
    return _count_planes if bit_planes(fmt) else of_codes


def _check_settings(m):
    """Trap for a mode or a shift that is not defined."""
    mode, shift = m.csr("lut.mode"), m.csr("lut.shift")
    if mode > 2:
        raise Trap(Cause.ILLEGAL_OPERAND, mode, f"lut.mode is {mode}; expected 0 (LUT), 1 (buffer) or 2 (mixed)")
    if shift > 31:
        raise Trap(Cause.ILLEGAL_OPERAND, shift, f"lut.shift is {shift}; expected 0..31")


def _scale_group(m):
    """The group that weight and activation scales have in common; an operand with one scale goes with any group."""
    group, x_group = m.csr("lut.scale_group"), int(m.state["lut.x_group"][0])
    if group and x_group and group != x_group:
        raise Trap(Cause.ILLEGAL_OPERAND, group,
                   f"lut.scale_group is {group}, but the activations were built with groups of {x_group}; "
                   "expected the same, or 0 (one scale) for one of them")
    return group or x_group


# ------------------------------------------------------------------------------------------------ multiply-accumulate

FORMAT_NUMBERS = {"b1": 0, "t2": 1, "t5": 2, "i2": 3, "i3": 4, "i4": 5, "i8": 6, "c2": 7, "c3": 8, "c4": 9}
"""The weight formats and their numbers. A number has four bits and is the same in all instructions; the next format gets 10.

    lut.mac     funct7 = number
    lut.macT    funct7 = 16 + number
    lut.gemv    funct3 = 1, 2, 3, 6 for number / 4 = 0, 1, 2, 3; funct2 = number mod 4
    lut.decode  codebooks alone: funct3 = 4, funct2 = 1, 2, 3 for c2, c3, c4
"""


def _define_mac(number: int, name: str) -> None:
    fmt = FORMATS[name]
    count_work = _work_of(fmt)

    @instruction(f"lut.mac.{name}   R  opcode=0x2B funct3=0 funct7={number:#04x}",
                 "acc[v, r] += (sum over c of W[r, c] * activation[v, c]) << lut.shift",
                 operands=f"acc<>i32[vectors,rows] W<{name}[rows,length] rows",
                 example=f"lut.build.i8 a0, a1, a2\nlut.mac.{name} a3, a4, a5")
    def lut_mac(m, acc, W, rows):
        _check_settings(m)
        x = _activations(m)
        vectors, length = x.shape
        row_stride, step = _row_stride(m, fmt, rows, length), result_stride(m, "lut.result_stride", rows)
        start = before(m, acc, vectors, rows, step)
        matrix = _weights(m, fmt, W, rows, length, row_stride, _CHUNK // max(length, 1) + 1)
        check_results(m, acc, vectors, rows, step)
        sums, steps = np.zeros((vectors, rows), np.int32), np.zeros(rows, np.int64)
        for first, weights in matrix:
            chunk = slice(first, first + len(weights))
            sums[:, chunk] = x @ weights.astype(np.int32).T
            steps[chunk] = count_work(m, fmt, weights, vectors)
        _count_longest(m, steps, vectors)
        accumulate(m, acc, start, sums, m.csr("lut.shift"), step)


def _define_macT(number: int, name: str) -> None:
    fmt = FORMATS[name]
    count_work = _work_of(fmt, _count_columns_of_codes)

    @instruction(f"lut.macT.{name}  R  opcode=0x2B funct3=0 funct7={0x10 + number:#04x}",
                 "acc[v, c] += (sum over j of activation[v, j] * W[j, c]) << lut.shift",
                 operands=f"acc<>i32[vectors,cols] W<{name}[length,cols] cols",
                 example=f"lut.build.i8 a0, a1, a2\nlut.macT.{name} a3, a4, a5")
    def lut_macT(m, acc, W, cols):
        _check_settings(m)
        x = _activations(m)
        vectors, length = x.shape
        row_stride, step = _row_stride(m, fmt, length, cols), result_stride(m, "lut.result_stride", cols)
        start = before(m, acc, vectors, cols, step)
        whole = 4 * 7 * 8       # groups run down the rows here: cut between the groups of every mode
        matrix = _weights(m, fmt, W, length, cols, row_stride, (_CHUNK // max(cols, 1) // whole + 1) * whole, by_output=False)
        check_results(m, acc, vectors, cols, step)
        sums, steps = np.zeros((vectors, cols), np.int32), np.zeros(cols, np.int64)
        for first, weights in matrix:
            sums += x[:, first:first + len(weights)] @ weights.astype(np.int32)
            steps += count_work(m, fmt, weights.T, vectors)
        _count_longest(m, steps, vectors)
        accumulate(m, acc, start, sums, m.csr("lut.shift"), step)


def _define_gemv(number: int, name: str) -> None:
    fmt = FORMATS[name]
    count_work = _work_of(fmt)

    @instruction(f"lut.gemv.{name}  R4 opcode=0x2B funct3={(1, 2, 3, 6)[number // 4]} funct2={number % 4}",
                 "y[v, r] = lanesum over g of f32(sum over c in g of W[r, c] * activation[v, c]) * (scale[r, g] * x_scale[v, g])",
                 operands=f"y>f32[vectors,rows] W<{name}[rows,length] scale<f32[rows,groups] rows",
                 example=f"lut.build.i8 a0, a1, a2\nlut.gemv.{name} a3, a4, a5, a6")
    def lut_gemv(m, y, W, scale, rows):
        _check_settings(m)
        x, group = _activations(m), _scale_group(m)
        vectors, length = x.shape
        groups = group_count(length, group)
        starts = np.arange(0, length, min(group, length) or length or 1)                # first column of each group
        row_stride, step = _row_stride(m, fmt, rows, length), result_stride(m, "lut.result_stride", rows)
        matrix = _weights(m, fmt, W, rows, length, row_stride, _CHUNK // max(length, 1) + 1)
        per_group = m.csr("lut.scale_group") != 0
        w_scale = m.read_f32(scale, rows * groups if per_group else min(rows * groups, 1))
        check_results(m, y, vectors, rows, step)
        x_groups = group_count(length, int(m.state["lut.x_group"][0]))
        x_scale = m.state["lut.scales"][:vectors * x_groups].reshape(vectors, x_groups)
        result, steps = np.zeros((vectors, rows), np.float32), np.zeros(rows, np.int64)
        for first, weights in matrix:
            chunk = slice(first, first + len(weights))
            for v in range(vectors):
                sums = np.add.reduceat(weights * x[v], starts, axis=1, dtype=np.int32)  # (k, groups)
                factors = (w_scale.reshape(rows, groups)[chunk] if per_group else w_scale) * x_scale[v]
                result[v, chunk] = lane_sum(sums.astype(np.float32) * factors)
            steps[chunk] = count_work(m, fmt, weights, vectors)
        _count_longest(m, steps, vectors)
        for v in range(vectors):
            m.write_f32(y + v * step, result[v])


for _define in (_define_mac, _define_macT, _define_gemv):
    for _name, _number in FORMAT_NUMBERS.items():
        _define(_number, _name)

# ------------------------------------------------------------------------------------------------ reuse

_CENTRES = 256                          # that a byte can name


@instruction("lut.reuse.u8     R4 opcode=0x2B funct3=5 funct2=1",
             "acc[r] += sum over p < lut.pieces of sums[p, assigned[r, p]], wraps",
             operands="acc<>i32[rows] sums<i32[lut.pieces,lut.centres] assigned<u8[rows,lut.pieces] rows",
             example="csrwi lut.pieces, 2\ncsrwi lut.centres, 4           # sums of two pieces, four centres each\n"
                     "lut.reuse.u8 a0, a1, a2, a3    # then lut.mac adds the differences")
def lut_reuse_u8(m, acc, sums, assigned, rows):
    pieces, centres = max(m.csr("lut.pieces"), 1), m.csr("lut.centres") or _CENTRES
    if centres > _CENTRES:
        raise Trap(Cause.ILLEGAL_OPERAND, centres, f"lut.centres is {centres}; expected 1..{_CENTRES}, or 0 for {_CENTRES}")
    if not rows:
        return
    m.check_read(sums, 4 * pieces * centres, 4)
    m.check_read(assigned, rows * pieces)
    start, numbers = m.read_i32(acc, rows), m.read_u8(assigned, rows * pieces).reshape(rows, pieces)
    beyond = np.argwhere(numbers >= centres)
    if len(beyond):
        r, p = beyond[0]
        raise Trap(Cause.ILLEGAL_OPERAND, int(numbers[r, p]),
                   f"assigned[{r}, {p}] is {numbers[r, p]}; there are {centres} centres (lut.centres)")
    found = m.read_i32(sums, pieces * centres).reshape(pieces, centres)[np.arange(pieces), numbers]
    m.write_i32(acc, (start + found.sum(axis=1, dtype=np.int64)).astype(np.int32))
    m.count("lut.lookups", rows * pieces)
    m.count("lut.steps", rows * pieces)
    m.count("lut.weight_bytes", rows * pieces)
    _count_longest(m, np.full(rows, pieces), 1)


# ------------------------------------------------------------------------------------------------ codebooks to f32


def _define_decode(number: int, name: str) -> None:
    fmt = FORMATS[name]

    @instruction(f"lut.decode.{name}  R4 opcode=0x2B funct3=4 funct2={number}",
                 "dst[i] = codebook_f32[codes[i]] * scale[i / lut.scale_group]",
                 operands=f"dst>f32[n] codes<{name}[n] scale<f32[groups] n",
                 example=f"lut.codebook.f32 a0, a1\nlut.decode.{name} a2, a3, a4, a5")
    def lut_decode(m, dst, codes, scale, n):
        group = m.csr("lut.scale_group")
        m.check_write(dst, 4 * n, 4)
        weights = fmt.unpack(m.read(codes, fmt.row_bytes(n)).reshape(1, -1), n)[0]
        scales = m.read_f32(scale, group_count(n, group))
        m.write_f32(dst, m.state["lut.codebook_f32"][weights] * scales[np.arange(n) // (min(group, n) or n)])
        lookups = looked_up(m, n)
        m.count("lut.lookups", lookups)
        m.count("lut.steps", lookups)
        m.count("lut.steps_longest", group_count(lookups, m.parameter("lut.cores")))
        m.count("lut.weight_bytes", fmt.row_bytes(n))


for _number, _name in enumerate(("c2", "c3", "c4"), start=1):
    _define_decode(_number, _name)

# ------------------------------------------------------------------------------------------------ bit planes

_XNOR_WIDTH = 64        # columns that one step compares
_XNOR_PASSES = 9        # of int8 activations: their bit planes, and one for the sum of the weights


def agreements(x, weights):
    """The sum of each of the weights times x, of +1 and -1: (length,), (rows, length) -> (rows,)."""
    return 2 * (weights == x).sum(axis=1) - len(x)


def plane_by_plane(x, weights):
    """The sums of `weights` (rows, length), +1 and -1, times int8 `x` (length,), from the bit planes of x. With the bits of
    two's complement as +1 and -1 the planes make 2 x + 1: the sum of the weights is too much, and all is twice too much."""
    total = -agreements(np.ones(len(x), np.int8), weights)
    for bit in range(8):
        plane = np.where(x >> bit & 1, 1, -1)
        total += agreements(plane, weights) * (1 << bit if bit < 7 else -(1 << bit))
    return total >> 1


@instruction("lut.xnor         R  opcode=0x2B funct3=0 funct7=0x23",
             "acc[v, r] += (2 * popcount(xnor(W[r], activations of v)) - length) << lut.shift; "
             "of int8 activations (sum over c of W[r, c] * activation[v, c]) << lut.shift, from their bit planes",
             operands="acc<>i32[vectors,rows] W<b1[rows,length] rows",
             example="lut.build.b1 a0, a1         # bit plane j of the activations\n"
                     "csrwi lut.shift, 3          # i + j = 3\n"
                     "lut.xnor a2, a3, a4         # bit plane i of the weights")
def lut_xnor(m, acc, W, rows):
    _check_settings(m)
    x, binary = _activations(m), m.state["lut.kind"][0] == _B1
    vectors, length = x.shape
    row_stride, step = _row_stride(m, FORMATS["b1"], rows, length), result_stride(m, "lut.result_stride", rows)
    start = before(m, acc, vectors, rows, step)
    matrix = _weights(m, FORMATS["b1"], W, rows, length, row_stride, _CHUNK // max(length, 1) + 1)
    check_results(m, acc, vectors, rows, step)
    sums, steps = np.zeros((vectors, rows), np.int32), group_count(length, _XNOR_WIDTH) * (1 if binary else _XNOR_PASSES)
    for first, weights in matrix:
        for v in range(vectors):
            sums[v, first:first + len(weights)] = agreements(x[v], weights) if binary else plane_by_plane(x[v], weights)
        m.count("lut.macs", vectors * weights.size)
        m.count("lut.steps", vectors * len(weights) * steps)
    _count_longest(m, np.full(rows, steps), vectors)
    accumulate(m, acc, start, sums, m.csr("lut.shift"), step)


@instruction("lut.plane        R4 opcode=0x2B funct3=5 funct2=0", "dst[i] = bit `bit` of x[i], as +1 for 1 and -1 for 0",
             operands="dst>b1[n] x<u8[n] bit n", example="li a2, 7\nlut.plane a0, a1, a2, a3    # the top bits of a3 codes")
def lut_plane(m, dst, x, bit, n):
    if bit > 7:
        raise Trap(Cause.ILLEGAL_OPERAND, bit, f"bit {bit} of a byte; expected 0..7")
    m.write(dst, np.packbits(m.read_u8(x, n) >> bit & 1, bitorder="little"))


@instruction("lut.part.i8      R4 opcode=0x2B funct3=5 funct2=2",
             "dst[i] = part 0 of x[i]: its lower four bits, 0..15; or part 1: its upper ones, -8..7. x = part 0 + 16 * part 1",
             operands="dst>i8[n] x<i8[n] part n",
             example="li a2, 1\nlut.part.i8 a0, a1, a2, a3  # the upper four bits of a3 activations")
def lut_part_i8(m, dst, x, part, n):
    if part > 1:
        raise Trap(Cause.ILLEGAL_OPERAND, part, f"part {part} of an activation of 8 bits; expected 0 or 1")
    m.write_i8(dst, m.read_i8(x, n) >> 4 if part else m.read_i8(x, n) & 15)
