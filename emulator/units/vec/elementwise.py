"""From one or two vectors to one, element by element: the loops of the vector unit's kernels.

In steps of 16 lanes, a last short step by masked loads and stores. `operation` and sizes are constants where these functions
are called from, so of each chain of ifs one line remains. Addresses are host addresses; the result may begin where an operand
does (IN_PLACE in emulator/kernel.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.native.inlining import specialised
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

# ------------------------------------------------------------------------------------------------ one vector to one vector

RELU, RELU2, SILU, GELU, EXP, SIGMOID, TANH, SQRT, SCALE, TO_F16, TO_BF16, FROM_F16, FROM_BF16, FROM_I32, TO_I32 = range(15)


@specialised
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


@specialised
def map_one(operation: int, to_size: int, size: int, kind: Any, dst: int, x: int, s: Any, n: int) -> None:
    """dst[i] = f(x[i]), with elements of `to_size` and `size` bytes, x of this kind."""
    for i in range(0, n, 16):
        put_up_to(dst + to_size * i, function_of(operation, take_up_to(x + size * i, kind, n - i, 0), s), n - i)


# ------------------------------------------------------------------------------------------------ two vectors to one

ADD, SUB, MUL, DIV, MINIMUM, MAXIMUM, ADD_I32, AXPY = range(8)


@specialised
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


@specialised
def map_two(operation: int, kind: Any, dst: int, a: int, b: int, s: Any, n: int) -> None:
    """dst[i] = f(a[i], b[i]), all of this kind and four bytes each."""
    for i in range(0, n, 16):
        p, q = take_up_to(a + 4 * i, kind, n - i, 0), take_up_to(b + 4 * i, kind, n - i, 0)
        put_up_to(dst + 4 * i, function_of_two(operation, p, q, s), n - i)
