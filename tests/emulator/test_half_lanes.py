"""16-bit arithmetic on lanes against float64: every number with every special one, by the host's instructions and by hand."""

import numpy as np
import pytest
from numba import njit

from emulator.simd.functions import f16_bits, f32_from_f16
from emulator.simd.half import _rounded_by_hand, f16_mac
from emulator.simd.lanes import put, take

EVERY = np.arange(1 << 16, dtype=np.uint16)
SPECIAL = np.array([0, 1, 2, 0x3FF, 0x400, 0x401, 0x1400, 0x37FF, 0x3800, 0x3BFF, 0x3C00, 0x3C01, 0x3FFF, 0x63FF, 0x6400, 0x7800,
                    0x7BFF, 0x7C00, 0x7C01, 0x7E00, 0x7FFF, 0x8000, 0x8001, 0x83FF, 0xB800, 0xBC00, 0xFBFF, 0xFC00, 0xFE00],
                   np.uint16)


@njit
def macs(a, b, c, out, by_hand):
    """Bits of c + a * b."""
    for i in range(0, len(a), 16):
        x, y = f32_from_f16(take(a.ctypes.data + 2 * i, np.uint16)), f32_from_f16(take(b.ctypes.data + 2 * i, np.uint16))
        z = f32_from_f16(take(c.ctypes.data + 2 * i, np.uint16))
        put(out.ctypes.data + 2 * i, f16_bits(_rounded_by_hand(z + _rounded_by_hand(x * y)) if by_hand else f16_mac(z, x, y)))


def expected(a, b, c):
    """c + a * b: each rounded once from what float64 holds exactly."""
    a, b, c = (x.view(np.float16).astype(np.float64) for x in (a, b, c))
    with np.errstate(all="ignore"):
        product = (a * b).astype(np.float16).astype(np.float64)
        total = (c + product).astype(np.float16)
    return np.where(np.isnan(total), np.uint16(0x7E00), total.view(np.uint16))


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("role", ["product", "sum"])
def test_every_number_with_every_special_one(by_hand, role):
    one = np.full(1 << 16, 0x3C00, np.uint16)
    zero, out = np.zeros(1 << 16, np.uint16), np.zeros(1 << 16, np.uint16)
    for number in SPECIAL:
        other = np.full(1 << 16, number, np.uint16)
        a, b, c = (EVERY, other, zero) if role == "product" else (EVERY, one, other)
        macs(a, b, c, out, by_hand)
        wrong = np.flatnonzero(out != expected(a, b, c))
        assert not len(wrong), (hex(number), hex(wrong[0]), hex(out[wrong[0]]), hex(expected(a, b, c)[wrong[0]]))


def test_random_macs():
    a, b, c = np.random.default_rng(0).integers(0, 1 << 16, (3, 1 << 20), np.uint16)
    out = np.zeros(1 << 20, np.uint16)
    for by_hand in (False, True):
        macs(a, b, c, out, by_hand)
        assert np.array_equal(out, expected(a, b, c))
