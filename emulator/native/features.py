"""Which SIMD instructions the kernels use: the host's best, or what SLIMULATOR_SIMD names (avx512, avx2, portable).

The three differ in speed alone. `avx512` asks for byte permutations, population counts and VNNI, which server and desktop
processors have had together since Ice Lake and Zen 4; older AVX-512 processors take `avx2`.
"""

from __future__ import annotations

import os

from llvmlite import binding

from emulator.errors import SimdError

LEVELS = ("portable", "avx2", "avx512")
_NEEDS: dict[str, tuple[str, ...]] = {
    "portable": (),
    "avx2":     ("avx2",),
    "avx512":   ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512vbmi", "avx512vbmi2", "avx512bitalg",
                 "avx512vpopcntdq"),
}


def _level() -> str:
    features = binding.get_host_cpu_features()
    possible = [level for level in LEVELS if all(features.get(name) for name in _NEEDS[level])]
    wanted = os.environ.get("SLIMULATOR_SIMD") or possible[-1]
    if wanted not in possible:
        raise SimdError(f"SLIMULATOR_SIMD={wanted}: expected one of {', '.join(possible)} on this processor")
    return wanted


LEVEL: str = _level()                                       # what kernels are compiled for
AVX512, AVX2 = LEVEL == "avx512", LEVEL == "avx2"
AVX_VNNI = AVX2 and bool(binding.get_host_cpu_features().get("avxvnni"))
F16C = LEVEL != "portable" and bool(binding.get_host_cpu_features().get("f16c"))       # conversions of binary16
