"""How the executor of the float graph computes sums and functions: plainly, or bit by bit as the Slim machine does.

    PLAIN   NumPy's fp32, with its own order of summation, and libm: fast, close to any other implementation
    EXACT   the machine's lanes and approximations: what a program leaves in memory, bit by bit

They differ only in the order of sums and in approximated functions. For everything else (products and sums of elements, rounding,
rope) the executor uses isa.arithmetic in both cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.model.tensors import F32, Codes
from isa import arithmetic as exact
from isa import half

Half = npt.NDArray[np.uint16]           # the bits of fp16 numbers


@dataclass(frozen=True)
class Arithmetic:
    """The functions that the executor needs.

    gemv       (rows, cols), (cols,) -> (rows,)             W x
    gemv_codes codes (rows, cols), x int8 or integers of 16 bits (cols,), its scale (1,) -> (rows,)
    gemv_half  fp16 bits (rows, cols), (cols,) -> (rows,)   W x in fp16
    mac_t      (rows, cols), (rows,) -> (cols,)             W^T h
    rmsnorm, layernorm  (n,), gain (n,), eps -> (n,)
    softmax    (n,) -> (n,)
    silu, gelu (n,) -> (n,)
    """

    gemv: Callable[[F32, F32], F32]
    gemv_codes: Callable[[Codes, npt.NDArray[np.int8], F32], F32]
    gemv_half: Callable[[Half, Half], Half]
    mac_t: Callable[[F32, F32], F32]
    rmsnorm: Callable[[F32, F32, np.float32], F32]
    layernorm: Callable[[F32, F32, np.float32], F32]
    softmax: Callable[[F32], F32]
    silu: Callable[[F32], F32]
    gelu: Callable[[F32], F32]


def _group_sums(codes: Codes, x: npt.NDArray[np.int8]) -> F32:
    """Exact integer sums of each group, converted to fp32: (rows, groups).

    The sums wrap at 32 bits like the machine's; with int8 x 127 * 127 * 133,000 columns would be needed for that.
    """
    rows, cols = codes.values.shape
    products = codes.values.astype(np.int32) * x.astype(np.int32)
    sums: F32 = products.reshape(rows, cols // codes.group, codes.group).sum(axis=2, dtype=np.int32).astype(np.float32)
    return sums


def _gemv_codes(codes: Codes, x: npt.NDArray[np.int8], scale: F32) -> F32:
    """Each group's sum times its scale, added up in rising order, times the scale of x: as checkpoints define it."""
    return _rising((_group_sums(codes, x) * codes.scales).T) * scale


def _exact_gemv_codes(codes: Codes, x: npt.NDArray[np.int8], scale: F32) -> F32:
    """As lut.gemv: each group's sum times the product of both scales, added up through the lanes."""
    total: F32 = exact.lane_sum(_group_sums(codes, x) * (codes.scales * scale))
    return total


def _gemv_half(W: Half, x: Half) -> Half:
    """In fp32, rounded to fp16 at the end."""
    return exact.f16_bits(exact.f32_from_f16(W) @ exact.f32_from_f16(x))


def _exact_gemv_half(W: Half, x: Half) -> Half:
    """As the banks: column c goes to lane c % 16; products and sums are rounded to fp16, then the lanes folded."""
    rows, cols = W.shape
    lanes = np.zeros((rows, exact.LANES), np.uint16)
    for start in range(0, cols, exact.LANES):
        width = min(exact.LANES, cols - start)
        lanes[:, :width] = half.f16_mac(lanes[:, :width], W[:, start:start + width], x[start:start + width])
    return half.f16_fold(lanes)


def _rising(terms: F32) -> F32:
    """Sum over the first axis, one after the other, from +0.0: (n, ...) -> (...)."""
    total: F32 = np.zeros(terms.shape[1:], np.float32)
    for term in terms:
        total = total + term
    return total


# ------------------------------------------------------------------------------------------------ plain


def _rmsnorm(x: F32, gain: F32, eps: np.float32) -> F32:
    size: np.float32 = np.sqrt(np.mean(x * x) + eps)
    return x / size * gain


def _layernorm(x: F32, gain: F32, eps: np.float32) -> F32:
    d: F32 = x - np.mean(x)
    return _rmsnorm(d, gain, eps)


def _softmax(x: F32) -> F32:
    e: F32 = np.exp(x - np.max(x))
    total: np.float32 = np.sum(e)
    return e / total


def _silu(x: Any) -> Any:
    return x / (np.float32(1) + np.exp(-x))


def _gelu(x: Any) -> Any:
    """Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415, section 2: the tanh form."""
    half, cubic, root = np.float32(0.5), np.float32(0.044715), np.float32(np.sqrt(2 / np.pi))
    return half * x * (np.float32(1) + np.tanh(root * (x + cubic * x * x * x)))


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """exp may overflow to infinity, which is the right answer in silu."""
    def quiet(*arguments: Any) -> Any:
        with np.errstate(over="ignore", under="ignore"):
            return function(*arguments)
    return quiet


PLAIN = Arithmetic(gemv=lambda W, x: W @ x, gemv_codes=_gemv_codes, gemv_half=_gemv_half, mac_t=lambda W, h: h @ W,
                   rmsnorm=_rmsnorm, layernorm=_layernorm, softmax=_quiet(_softmax), silu=_quiet(_silu), gelu=_gelu)

# ------------------------------------------------------------------------------------------------ the machine's


EXACT = Arithmetic(gemv=lambda W, x: exact.lane_sum(W * x), gemv_codes=_exact_gemv_codes, gemv_half=_exact_gemv_half,
                   mac_t=lambda W, h: _rising(W * h[:, None]), rmsnorm=exact.rmsnorm, layernorm=exact.layernorm,
                   softmax=_quiet(exact.softmax), silu=_quiet(exact.silu), gelu=_quiet(exact.gelu))
