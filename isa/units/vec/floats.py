"""Element-wise operations, reductions, normalisation, number formats, dense matrix-vector products.

Here stand the rows and what each does with memory; how it rounds stands in isa/arithmetic.py. Operands are packed arrays,
element 0 at the lowest address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from isa import arithmetic as exact
from isa.arithmetic import f32_bits, f32_from_bits, group_count, lane_sum
from isa.instruction import instruction
from isa.traps import Cause, Trap

_EXP = "vec.elements vec.exponentials"
_DIV = "vec.elements vec.divisions"
_GATE = "vec.elements vec.exponentials vec.divisions"
_SOFTMAX = "vec.elements vec.exponentials vec.divisions vec.reduced vec.reduced"       # it looks for the largest, then it sums


def _count(m, counters, events):
    """Add events to each of the counters, names with spaces between them; twice to one that stands there twice."""
    for counter in counters.split():
        m.count(counter, events)


# ------------------------------------------------------------------------------------------------ one vector to one vector


def _unary(row, text, function, counters="vec.elements", example=""):
    """A row that maps f32[n] to f32[n]."""
    def meaning(m, dst, x, n):
        m.write_f32(dst, function(m.read_f32(x, n)))
        _count(m, counters, n)

    instruction(row, text, operands="dst>f32[n] x<f32[n] n", example=example)(meaning)


_unary("vec.relu.f32     R  opcode=0x0B funct3=0 funct7=0x00", "dst[i] = max(x[i], 0)", exact.relu,
       example="vec.relu.f32 a0, a0, a1         # in place: f32[a1] at a0")
_unary("vec.relu2.f32    R  opcode=0x0B funct3=0 funct7=0x01", "r = max(x[i], 0); dst[i] = r * r", exact.relu_squared,
       example="vec.relu2.f32 a0, a0, a1        # gate of an FFN with squared ReLU, in place")
_unary("vec.silu.f32     R  opcode=0x0B funct3=0 funct7=0x02", "dst[i] = x[i] * sigmoid(x[i])", exact.silu, _GATE,
       example="vec.silu.f32 a0, a0, a1         # gate of a Llama FFN\n"
               "vec.mul.f32  a0, a0, a2, a1     # times the up projection")
_unary("vec.gelu.f32     R  opcode=0x0B funct3=0 funct7=0x03",
       "dst[i] = x[i] * sigmoid(2 * sqrt(2/pi) * (x[i] + 0.044715 * x[i]**3))", exact.gelu, _GATE,
       example="vec.gelu.f32 a0, a0, a1         # between the two matrices of a GPT-2 FFN")
_unary("vec.exp.f32      R  opcode=0x0B funct3=0 funct7=0x04", "dst[i] = e ** x[i]", exact.exp, _EXP,
       example="vec.exp.f32 a0, a1, a2          # weights of a2 scores that are at most 0\n"
               "vec.sum.f32 a3, a0, a2          # and what to divide by")
_unary("vec.sigmoid.f32  R  opcode=0x0B funct3=0 funct7=0x05", "dst[i] = 1 / (1 + e ** -x[i])", exact.sigmoid, _GATE,
       example="vec.sigmoid.f32 a0, a0, a1      # a gate between 0 and 1\n"
               "vec.mul.f32     a2, a2, a0, a1")
_unary("vec.tanh.f32     R  opcode=0x0B funct3=0 funct7=0x06", "dst[i] = tanh(x[i])", exact.tanh, _GATE,
       example="vec.tanh.f32 a0, a0, a1         # soft cap of logits: between -1 and 1 ...\n"
               "vec.scale.f32 a0, a0, a2, a1    # ... times the cap")
_unary("vec.sqrt.f32     R  opcode=0x0B funct3=0 funct7=0x07", "dst[i] = sqrt(x[i])", np.sqrt, _DIV,
       example="vec.mul.f32  a0, a1, a1, a2\n"
               "vec.sqrt.f32 a0, a0, a2         # |x|, element by element")
_unary("vec.softmax.f32  R  opcode=0x0B funct3=0 funct7=0x08",
       "e[i] = e ** (x[i] - max(x)); dst[i] = e[i] / lanesum(e)", exact.softmax, _SOFTMAX,
       example="vec.softmax.f32 a0, a0, a1      # attention scores of a1 positions, in place")
_unary("vec.cumsum.f32   R  opcode=0x0B funct3=0 funct7=0x09", "dst[0] = x[0]; dst[i] = dst[i-1] + x[i]",
       exact.cumulative_sum, example="vec.cumsum.f32 a0, a0, a1       # of probabilities, for top-p")


# ------------------------------------------------------------------------------------------------ number formats


def _convert(row, text, destination, source, function, example=""):
    """A row that converts source[n] to destination[n], to nearest even. 16-bit floats travel as their bits, u16."""
    read, write = (direction + {"f16": "u16", "bf16": "u16"}.get(form, form)
                   for direction, form in (("read_", source), ("write_", destination)))

    def meaning(m, dst, x, n):
        getattr(m, write)(dst, function(getattr(m, read)(x, n)))
        m.count("vec.elements", n)

    instruction(row, text, operands=f"dst>{destination}[n] x<{source}[n] n", example=example)(meaning)


_convert("vec.cvt.f16.f32  R  opcode=0x0B funct3=0 funct7=0x10", "dst[i] = f16(x[i])", "f16", "f32", exact.f16_bits,
         example="vec.cvt.f16.f32 a0, a1, a2      # append a key to an fp16 KV cache")
_convert("vec.cvt.bf16.f32 R  opcode=0x0B funct3=0 funct7=0x11", "dst[i] = bf16(x[i])", "bf16", "f32", exact.bf16_bits,
         example="vec.cvt.bf16.f32 a0, a1, a2     # results for a buffer in bfloat16")
_convert("vec.cvt.f32.f16  R  opcode=0x0B funct3=0 funct7=0x12", "dst[i] = f32(x[i])", "f32", "f16", exact.f32_from_f16,
         example="vec.cvt.f32.f16 a0, a1, a2      # a value of an fp16 KV cache")
_convert("vec.cvt.f32.bf16 R  opcode=0x0B funct3=0 funct7=0x13", "dst[i] = f32(x[i])", "f32", "bf16", exact.f32_from_bf16,
         example="vec.cvt.f32.bf16 a0, a1, a2     # an embedding row of a bf16 checkpoint")
_convert("vec.cvt.f32.i32  R  opcode=0x0B funct3=0 funct7=0x14", "dst[i] = f32(x[i])", "f32", "i32", exact.f32_from_i32,
         example="sw t0, 0(a1)                    # a random integer of the core ...\nli a2, 1\n"
                 "vec.cvt.f32.i32 a0, a1, a2      # ... as fp32, to draw a token")
_convert("vec.cvt.i32.f32  R  opcode=0x0B funct3=0 funct7=0x15",
         "dst[i] = i32(x[i]), out of range: the nearer end; NaN: 2**31 - 1", "i32", "f32", exact.i32_from_f32,
         example="vec.cvt.i32.f32 a0, a1, a2      # to fixed point: x was scaled by 65536 before")


# ------------------------------------------------------------------------------------------------ reductions


def _reduce(row, text, function, example=""):
    """A row that maps f32[n] to the bits of one f32."""
    def meaning(m, x, n):
        _count(m, "vec.elements vec.reduced", n)
        return f32_bits(function(m.read_f32(x, n)))

    instruction(row, text, operands="=s x<f32[n] n", example=example)(meaning)


_reduce("vec.sum.f32      R  opcode=0x0B funct3=0 funct7=0x20", "s = lanesum(x); 0 if n = 0", lane_sum,
        example="vec.sum.f32 a0, a1, a2          # a0 = bits of the sum of f32[a2] at a1")
_reduce("vec.max.f32      R  opcode=0x0B funct3=0 funct7=0x21", "s = max(x); NaN if one is; -inf if n = 0", exact.largest,
        example="vec.max.f32 a0, a1, a2          # a0 = bits of the largest of f32[a2] at a1")
_reduce("vec.min.f32      R  opcode=0x0B funct3=0 funct7=0x22", "s = min(x); NaN if one is; inf if n = 0", exact.smallest,
        example="vec.min.f32 a0, a1, a2          # the score that still counts, of the a2 best")
_reduce("vec.absmax.f32   R  opcode=0x0B funct3=0 funct7=0x23", "s = max(|x|); NaN if one is; 0 if n = 0",
        exact.largest_magnitude,
        example="vec.absmax.f32 a0, a1, a2       # what the scale of an int8 vector comes from")


@instruction("vec.argmax.f32   R  opcode=0x0B funct3=0 funct7=0x24",
             "index = first i with the largest x[i]; NaN counts as -inf; 0 if n = 0", operands="=index x<f32[n] n",
             example="vec.argmax.f32 a0, s0, s1       # greedy token from the logits")
def vec_argmax_f32(m, x, n):
    _count(m, "vec.elements vec.reduced", n)
    return exact.index_of_largest(m.read_f32(x, n))


@instruction("vec.dot.f32      R4 opcode=0x0B funct3=2 funct2=2", "s = lanesum(a[i] * b[i])",
             operands="=s a<f32[n] b<f32[n] n", example="vec.dot.f32 a0, s0, s0, s1      # sum of squares")
def vec_dot_f32(m, a, b, n):
    m.count("vec.macs", n)
    return f32_bits(lane_sum(m.read_f32(a, n) * m.read_f32(b, n)))


# ------------------------------------------------------------------------------------------------ two vectors to one


def _binary(row, text, function, form="f32", counters="vec.elements", example=""):
    """A row that maps two vectors to one, element by element."""
    def meaning(m, dst, a, b, n):
        read, write = getattr(m, "read_" + form), getattr(m, "write_" + form)
        write(dst, function(read(a, n), read(b, n)))
        _count(m, counters, n)

    instruction(row, text, operands=f"dst>{form}[n] a<{form}[n] b<{form}[n] n", example=example)(meaning)


_binary("vec.add.f32      R4 opcode=0x0B funct3=1 funct2=0", "dst[i] = a[i] + b[i]", np.add,
        example="vec.add.f32 a0, a0, a1, a2      # residual connection, in place")
_binary("vec.sub.f32      R4 opcode=0x0B funct3=1 funct2=1", "dst[i] = a[i] - b[i]", np.subtract,
        example="vec.sub.f32 a0, a0, a1, a2      # distance to a centre, in place ...\n"
                "vec.dot.f32 a3, a0, a0, a2      # ... squared")
_binary("vec.mul.f32      R4 opcode=0x0B funct3=1 funct2=2", "dst[i] = a[i] * b[i]", np.multiply,
        example="vec.mul.f32 a0, a0, a1, a2      # gate times up projection, in place")
_binary("vec.div.f32      R4 opcode=0x0B funct3=1 funct2=3", "dst[i] = a[i] / b[i]", np.divide, "f32", _DIV,
        example="vec.div.f32 a0, a0, a1, a2      # each channel by its scale")
_binary("vec.add.i32      R4 opcode=0x0B funct3=2 funct2=3", "dst[i] = a[i] + b[i], wraps", np.add, "i32",
        example="vec.add.i32 a0, a0, a1, a2      # partial sums of two column tiles")
_binary("vec.minimum.f32  R4 opcode=0x0B funct3=7 funct2=0", "dst[i] = a[i] < b[i] ? a[i] : b[i]; NaN if either is",
        exact.minimum,
        example="vec.minimum.f32 a0, a0, a1, a2  # lower bounds of the keys of a page")
_binary("vec.maximum.f32  R4 opcode=0x0B funct3=7 funct2=1", "dst[i] = a[i] > b[i] ? a[i] : b[i]; NaN if either is",
        exact.maximum, example="vec.maximum.f32 a0, a0, a1, a2  # upper bounds of the keys of a page")


@instruction("vec.scale.f32    R4 opcode=0x0B funct3=2 funct2=0", "dst[i] = x[i] * s",
             operands="dst>f32[n] x<f32[n] s:f32 n",
             example="lw t0, 0(a3)                    # fp32 bits of 1 / temperature\nvec.scale.f32 a0, a0, t0, a1")
def vec_scale_f32(m, dst, x, s, n):
    m.write_f32(dst, m.read_f32(x, n) * f32_from_bits(s))
    m.count("vec.elements", n)


@instruction("vec.axpy.f32     R4 opcode=0x0B funct3=2 funct2=1", "y[i] = y[i] + s * x[i]",
             operands="y<>f32[n] s:f32 x<f32[n] n",
             example="lw t0, 0(a3)                    # probability of an expert\n"
                     "vec.axpy.f32 a0, t0, a1, a2     # its output, added with that weight")
def vec_axpy_f32(m, y, s, x, n):
    m.write_f32(y, m.read_f32(y, n) + f32_from_bits(s) * m.read_f32(x, n))
    m.count("vec.macs", n)


@instruction("vec.fill.32      R  opcode=0x0B funct3=0 funct7=0x30", "dst[i] = low 32 bits of value",
             operands="dst>u32[n] value n", example="vec.fill.32 a0, zero, a1        # clear accumulators")
def vec_fill_32(m, dst, value, n):
    m.check_write(dst, 4 * n, 4)        # before n words are allocated
    m.write_u32(dst, np.full(n, value & 0xFFFF_FFFF, np.uint32))
    m.count("vec.elements", n)


# ------------------------------------------------------------------------------------------------ normalisation and position


@instruction("vec.rmsnorm.f32  R4 opcode=0x0B funct3=3 funct2=0",
             "r = 1 / sqrt(lanesum(x*x) / n + eps); dst[i] = (x[i] * r) * gain[i]",
             operands="dst>f32[n] x<f32[n] gain<f32[n] n", example="vec.rmsnorm.f32 a0, a1, a2, a3")
def vec_rmsnorm_f32(m, dst, x, gain, n):
    m.write_f32(dst, exact.rmsnorm(m.read_f32(x, n), m.read_f32(gain, n), f32_from_bits(m.csr("vec.eps"))))
    _count(m, "vec.elements vec.reduced", n)
    m.count("vec.divisions", 3 if n else 0)


@instruction("vec.layernorm.f32 R4 opcode=0x0B funct3=3 funct2=1",
             "d[i] = x[i] - lanesum(x) / n; r = 1 / sqrt(lanesum(d*d) / n + eps); dst[i] = (d[i] * r) * gain[i]",
             operands="dst>f32[n] x<f32[n] gain<f32[n] n",
             example="vec.layernorm.f32 a0, a1, a2, a3\nvec.add.f32 a0, a0, a4, a3      # its bias")
def vec_layernorm_f32(m, dst, x, gain, n):
    m.write_f32(dst, exact.layernorm(m.read_f32(x, n), m.read_f32(gain, n), f32_from_bits(m.csr("vec.eps"))))
    _count(m, "vec.elements vec.reduced vec.reduced", n)
    m.count("vec.divisions", 4 if n else 0)


def _rope(row, text, *, adjacent, example=""):
    """A row that rotates the pairs of whole heads."""
    def meaning(m, dst, x, table, n):
        if n == 0:
            return
        head_dim = m.csr("vec.head_dim")
        if head_dim == 0 or head_dim % 2 or n % head_dim:
            raise Trap(Cause.ILLEGAL_OPERAND, head_dim,
                       f"vec.head_dim is {head_dim}: expected an even number, at least 2, that divides n = {n}")
        heads = m.read_f32(x, n).reshape(-1, head_dim)
        m.write_f32(dst, exact.rope(heads, m.read_f32(table, head_dim), adjacent=adjacent))
        m.count("vec.elements", n)

    instruction(row, text, operands="dst>f32[n] x<f32[n] table<f32[head_dim] n", example=example)(meaning)


_rope("vec.rope.f32     R4 opcode=0x0B funct3=3 funct2=2",
      "per head, with h = head_dim / 2, c = table[i], s = table[h+i], a = x[2i], b = x[2i+1]: "
      "dst[2i] = a * c - b * s; dst[2i+1] = b * c + a * s",
      adjacent=True, example="csrw vec.head_dim, t0\nvec.rope.f32 a0, a0, a1, a2     # all heads of a query, in place")
_rope("vec.ropehalf.f32 R4 opcode=0x0B funct3=3 funct2=3",
      "per head, with h = head_dim / 2, c = table[i], s = table[h+i], a = x[i], b = x[h+i]: "
      "dst[i] = a * c - b * s; dst[h+i] = b * c + a * s",
      adjacent=False, example="vec.ropehalf.f32 a0, a0, a1, a2 # a checkpoint in Hugging Face layout")


# ------------------------------------------------------------------------------------------------ quantisation


@instruction("vec.quant.i8     R4 opcode=0x0B funct3=4 funct2=0",
             "per group: a = max(|x|); dst[i] = rint(x[i] * (127 / a)); scale = a / 127",
             operands="dst>i8[n] x<f32[n] scale>f32[groups] n",
             example="csrw vec.scale_group, zero      # one scale for the vector\nvec.quant.i8 a0, a1, a2, a3")
def vec_quant_i8(m, dst, x, scale, n):
    codes, scales = exact.quantise(m.read_f32(x, n), m.csr("vec.scale_group"))
    m.write_i8(dst, codes)
    m.write_f32(scale, scales)
    _count(m, "vec.elements vec.reduced", n)
    m.count("vec.divisions", 2 * len(scales))


def _dequantise(row, form, example=""):
    """A row that turns integers and their scales into fp32."""
    def meaning(m, dst, x, scale, n):
        group = m.csr("vec.scale_group")
        codes = getattr(m, "read_" + form)(x, n)
        m.write_f32(dst, exact.dequantise(codes, m.read_f32(scale, group_count(n, group)), group))
        m.count("vec.elements", n)

    instruction(row, "dst[i] = f32(x[i]) * scale[group of i]", operands=f"dst>f32[n] x<{form}[n] scale<f32[groups] n",
                example=example)(meaning)


_dequantise("vec.dequant.i8   R4 opcode=0x0B funct3=4 funct2=1", "i8",
            example="vec.dequant.i8 a0, a1, a2, a3   # a key of an int8 KV cache")
_dequantise("vec.dequant.i32  R4 opcode=0x0B funct3=4 funct2=2", "i32",
            example="csrwi vec.scale_group, 1        # a scale for each row\n"
                    "vec.dequant.i32 a0, a1, a2, a3  # accumulators of a mat-vec")


# ------------------------------------------------------------------------------------------------ dense mat-vec

# Bytes of a weight, and how to read n of them as fp32 or int8.
_WEIGHTS: dict[str, tuple[int, Callable[..., Any]]] = {
    "f32":  (4, lambda m, address, n: m.read_f32(address, n)),
    "f16":  (2, lambda m, address, n: exact.f32_from_f16(m.read_u16(address, n))),
    "bf16": (2, lambda m, address, n: exact.f32_from_bf16(m.read_u16(address, n))),
    "i8":   (1, lambda m, address, n: m.read_i8(address, n)),
}
_BLOCK = 1 << 20        # weights of a packed matrix that are held at once, to bound memory


def _columns(m) -> int:
    """Columns of a matrix that has a row."""
    cols: int = m.csr("vec.cols")
    if cols == 0:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, "vec.cols is 0: expected the number of columns of the matrix")
    return cols


def _stride(m, cols, form) -> int:
    """Bytes from row to row of a matrix."""
    row_bytes = cols * _WEIGHTS[form][0]
    stride: int = m.stride("vec.row_stride", row_bytes, f"a row of {cols} columns", _WEIGHTS[form][0], zero=row_bytes)
    return stride


def _matrix(m, address, rows, cols, stride, form) -> Iterator[Any]:
    """Checks a matrix (rows, cols) and returns an iterator over blocks of its rows."""
    size, read = _WEIGHTS[form]
    m.check_read(address, m.span(rows, cols * size, stride), size)
    step = max(1, _BLOCK // cols) if stride == cols * size else 1
    return (read(m, address + first * stride, min(step, rows - first) * cols).reshape(-1, cols)
            for first in range(0, rows, step))


def _gemv(row, form, example=""):
    """A row y = W x with fp32 x."""
    def meaning(m, y, W, x, rows):
        if rows == 0:
            return
        cols = _columns(m)
        blocks = _matrix(m, W, rows, cols, _stride(m, cols, form), form)
        vector = m.read_f32(x, cols)
        m.write_f32(y, np.concatenate([lane_sum(block * vector) for block in blocks]))
        m.count("vec.macs", rows * cols)

    instruction(row, "y[r] = lanesum over c of f32(W[r,c]) * x[c]",
                operands=f"y>f32[rows] W<{form}[rows,cols] x<f32[cols] rows", example=example)(meaning)


def _mac_t(row, form, example=""):
    """A row y += W^T h with fp32 h: row j of W times h[j], for rising j."""
    def meaning(m, y, W, h, rows):
        if rows == 0:
            return
        cols = _columns(m)
        stride, factors, total = _stride(m, cols, form), iter(m.read_f32(h, rows)), m.read_f32(y, cols)
        blocks = _matrix(m, W, rows, cols, stride, form)
        for block in blocks:
            for weights in block:
                total = total + next(factors) * weights
        m.write_f32(y, total)
        m.count("vec.macs", rows * cols)

    instruction(row, "for j rising: y[c] = y[c] + h[j] * f32(W[j,c])",
                operands=f"y<>f32[cols] W<{form}[rows,cols] h<f32[rows] rows", example=example)(meaning)


_gemv("vec.gemv.f32     R4 opcode=0x0B funct3=5 funct2=0", "f32",
      example="csrw vec.cols, s1\ncsrw vec.row_stride, s2         # bytes of a KV cache row: one head of it is a matrix\n"
              "vec.gemv.f32 a0, a1, a2, a3     # scores of a3 positions = keys of the head times the query")
_gemv("vec.gemv.f16     R4 opcode=0x0B funct3=5 funct2=1", "f16",
      example="csrw vec.cols, s1\n"
              "vec.gemv.f16 a0, a1, a2, a3     # a3 logits from an embedding table in fp16")
_gemv("vec.gemv.bf16    R4 opcode=0x0B funct3=5 funct2=2", "bf16",
      example="csrw vec.cols, s1\n"
              "vec.gemv.bf16 a0, a1, a2, a3    # a layer of a bf16 checkpoint as it is")
_mac_t("vec.macT.f32     R4 opcode=0x0B funct3=6 funct2=0", "f32",
       example="vec.fill.32  a0, zero, s1\n"
               "vec.macT.f32 a0, a1, a2, a3     # context = values of a3 positions, weighted by their probabilities")
_mac_t("vec.macT.f16     R4 opcode=0x0B funct3=6 funct2=1", "f16",
       example="vec.fill.32  a0, zero, s1\n"
               "vec.macT.f16 a0, a1, a2, a3     # context from values in fp16")
_mac_t("vec.macT.bf16    R4 opcode=0x0B funct3=6 funct2=2", "bf16",
       example="vec.fill.32   a0, zero, s1\n"
               "vec.macT.bf16 a0, a1, a2, a3    # only the a3 rows whose activation is not zero, fetched before")


# An int8 KV cache: keys and values stay int8, the query and the probabilities fp32.
_gemv("vec.gemv.i8.f32  R4 opcode=0x0B funct3=7 funct2=2", "i8",
      example="vec.gemv.i8.f32 a0, a1, a2, a3  # scores of a3 positions, keys as int8\n"
              "vec.mul.f32     a0, a0, a4, a3  # times the scale of each key")
_mac_t("vec.macT.i8.f32  R4 opcode=0x0B funct3=7 funct2=3", "i8",
       example="vec.mul.f32     a2, a2, a4, a3  # probabilities times the scale of each value\n"
               "vec.macT.i8.f32 a0, a1, a2, a3  # context from values as int8")


@instruction("vec.gemv.i8      R4 opcode=0x0B funct3=5 funct2=3", "y[r] = sum over c of W[r,c] * x[c], wraps",
             operands="y>i32[rows] W<i8[rows,cols] x<i8[cols] rows",
             example="vec.quant.i8    s0, a2, s1, a4  # activations and their scale\nvec.gemv.i8     s2, a1, s0, a3\n"
                     "vec.dequant.i32 a0, s2, s3, a3  # row scales of the weights")
def vec_gemv_i8(m, y, W, x, rows):
    if rows == 0:
        return
    cols = _columns(m)
    blocks = _matrix(m, W, rows, cols, _stride(m, cols, "i8"), "i8")
    vector = m.read_i8(x, cols).astype(np.int32)
    m.write_i32(y, np.concatenate([block.astype(np.int32) @ vector for block in blocks]))
    _count(m, "vec.macs vec.macs_i8", rows * cols)


@instruction("vec.macT.i8      R4 opcode=0x0B funct3=6 funct2=3", "y[c] = y[c] + sum over j of h[j] * W[j,c], wraps",
             operands="y<>i32[cols] W<i8[rows,cols] h<i8[rows] rows",
             example="vec.fill.32 a0, zero, s1\n"
                     "vec.macT.i8 a0, a1, a2, a3      # exact sums; vec.dequant.i32 scales them")
def vec_mac_t_i8(m, y, W, h, rows):
    if rows == 0:
        return
    cols = _columns(m)
    stride, factors, total = _stride(m, cols, "i8"), m.read_i8(h, rows).astype(np.int32), m.read_i32(y, cols)
    blocks = _matrix(m, W, rows, cols, stride, "i8")
    for block in blocks:
        total = total + factors[:len(block)] @ block.astype(np.int32)
        factors = factors[len(block):]
    m.write_i32(y, total)
    _count(m, "vec.macs vec.macs_i8", rows * cols)
