"""From one or two vectors to one, element by element: the loops of the vector unit's kernels.

In steps of 16 lanes, a last short step by masked loads and stores. `operation` and sizes are constants where these functions
are called from, so of each chain of ifs one line remains. An operand may be the result's own memory, as long as element i of the
result lies nowhere behind element i of the operand; any other overlap is left to the meaning.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel_words import DONE, LARGE, PORT, PUNT, count, inline, leaf, overlap, readable, writable
from emulator.simd.functions import (
    bf16_bits,
    canonical,
    exp,
    f16_bits,
    f32_from_bf16,
    f32_from_f16,
    gelu,
    i32_from_f32,
    maximum,
    minimum,
    relu,
    relu_squared,
    root,
    sigmoid,
    silu,
    tanh,
)
from emulator.simd.lanes import convert, put_up_to, take_up_to

f32 = np.float32
VEC = PORT["vec"]
MOST = LARGE >> 3               # elements: more are left to the meaning

@leaf
def apart(a: int, a_size: int, b: int, b_size: int) -> bool:
    """True if two operands share no byte, or start at the same one."""
    return a == b or not overlap(a, a_size, b, b_size)


# ------------------------------------------------------------------------------------------------ one vector to one vector

RELU, RELU2, SILU, GELU, EXP, SIGMOID, TANH, SQRT, SCALE, TO_F16, TO_BF16, FROM_F16, FROM_BF16, FROM_I32, TO_I32 = range(15)


@inline
def function_of(operation: int, x: Any, s: Any) -> Any:
    """The results for 16 elements."""
    if operation == RELU:
        return relu(x)
    if operation == RELU2:
        return relu_squared(x)
    if operation == SILU:
        return silu(x)
    if operation == GELU:
        return gelu(x)
    if operation == EXP:
        return exp(x)
    if operation == SIGMOID:
        return sigmoid(x)
    if operation == TANH:
        return tanh(x)
    if operation == SQRT:
        return root(x)
    if operation == SCALE:
        return canonical(x * s)
    if operation == TO_F16:
        return f16_bits(x)
    if operation == TO_BF16:
        return bf16_bits(x)
    if operation == FROM_F16:
        return canonical(f32_from_f16(x))
    if operation == FROM_BF16:
        return canonical(f32_from_bf16(x))
    if operation == FROM_I32:
        return convert(x, f32)
    return i32_from_f32(x)


@inline
def map_one(operation: int, to_size: int, size: int, kind: Any, dst: int, x: int, s: Any, n: int, block: int) -> int:
    """dst[i] = f(x[i]), with elements of `to_size` and `size` bytes, x of this kind. Counts bytes only."""
    if n < 0 or n > MOST:
        return PUNT
    source, reads = readable(block, VEC, x, size * n, size)
    target, writes = writable(block, VEC, dst, to_size * n, to_size)
    if source == 0 or target == 0:
        return PUNT
    if overlap(source, size * n, target, to_size * n) and (source != target or to_size > size):
        return PUNT
    for i in range(0, n, 16):
        values = function_of(operation, take_up_to(source + size * i, kind, n - i, 0), s)
        put_up_to(target + to_size * i, values, n - i)
    count(block, reads, size * n)
    count(block, writes, to_size * n)
    return DONE


# ------------------------------------------------------------------------------------------------ two vectors to one

ADD, SUB, MUL, DIV, MINIMUM, MAXIMUM, ADD_I32, AXPY = range(8)


@inline
def function_of_two(operation: int, a: Any, b: Any, s: Any) -> Any:
    """The results for 16 pairs of elements."""
    if operation == ADD:
        return canonical(a + b)
    if operation == SUB:
        return canonical(a - b)
    if operation == MUL:
        return canonical(a * b)
    if operation == DIV:
        return canonical(a / b)
    if operation == MINIMUM:
        return minimum(a, b)
    if operation == MAXIMUM:
        return maximum(a, b)
    if operation == AXPY:
        return canonical(a + b * s)
    return a + b


@inline
def map_two(operation: int, kind: Any, dst: int, a: int, b: int, s: Any, n: int, block: int) -> int:
    """dst[i] = f(a[i], b[i]), all of this kind and four bytes each. Counts bytes only."""
    if n < 0 or n > MOST:
        return PUNT
    first, first_reads = readable(block, VEC, a, 4 * n, 4)
    second, second_reads = readable(block, VEC, b, 4 * n, 4)
    target, writes = writable(block, VEC, dst, 4 * n, 4)
    if first == 0 or second == 0 or target == 0:
        return PUNT
    if not apart(first, 4 * n, target, 4 * n) or not apart(second, 4 * n, target, 4 * n):
        return PUNT
    for i in range(0, n, 16):
        p, q = take_up_to(first + 4 * i, kind, n - i, 0), take_up_to(second + 4 * i, kind, n - i, 0)
        put_up_to(target + 4 * i, function_of_two(operation, p, q, s), n - i)
    count(block, first_reads, 4 * n)
    count(block, second_reads, 4 * n)
    count(block, writes, 4 * n)
    return DONE
