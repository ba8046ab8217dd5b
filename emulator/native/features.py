"""Which SIMD instructions the kernels use: the host's best, or what SLIMULATOR_SIMD names (amx, avx512, avx2, portable).

They differ in speed alone. `avx512` asks for byte permutations, population counts and VNNI, which server and desktop processors
have had together since Ice Lake and Zen 4; older AVX-512 processors take `avx2`. `amx` has tile registers too, for which Linux
asks a process to ask (https://docs.kernel.org/arch/x86/xstate.html).
"""

from __future__ import annotations

import os
from ctypes import CDLL, c_long

from llvmlite import binding

from emulator.errors import SimdError

LEVELS = ("portable", "avx2", "avx512", "amx")
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512vbmi", "avx512vbmi2", "avx512bitalg",
           "avx512vpopcntdq")
_NEEDS: dict[str, tuple[str, ...]] = {
    "portable": (),
    "avx2":     ("avx2",),
    "avx512":   _AVX512,
    "amx":      (*_AVX512, "amx-tile", "amx-int8"),
}
_ARCH_PRCTL, _ASK_FOR, _TILE_DATA = 158, 0x1023, 18            # of Linux on x86-64: the call, what it does, of which state


def _may_use_tiles() -> bool:
    """Ask for the tile registers, for all threads of this process. False if they are not given."""
    try:
        return bool(CDLL(None).syscall(c_long(_ARCH_PRCTL), c_long(_ASK_FOR), c_long(_TILE_DATA)) == 0)
    except (OSError, AttributeError, TypeError):        # no such C library
        return False


def _level() -> str:
    features = binding.get_host_cpu_features()
    possible = [level for level in LEVELS if all(features.get(name) for name in _NEEDS[level])]
    if possible[-1] == "amx" and not _may_use_tiles():
        possible.pop()
    wanted = os.environ.get("SLIMULATOR_SIMD") or possible[-1]
    if wanted not in possible:
        raise SimdError(f"SLIMULATOR_SIMD={wanted}: expected one of {', '.join(possible)} on this processor")
    return wanted


LEVEL: str = _level()                                       # what kernels are compiled for
AMX = LEVEL == "amx"
AVX512, AVX2 = AMX or LEVEL == "avx512", LEVEL == "avx2"
AVX_VNNI = AVX2 and bool(binding.get_host_cpu_features().get("avxvnni"))
F16C = LEVEL != "portable" and bool(binding.get_host_cpu_features().get("f16c"))       # conversions of binary16
