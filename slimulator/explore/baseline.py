"""A plain CPU beside every result: a roofline, so what a token takes there at least.

    time = the longer of: bytes of the stored weights at the memory's bandwidth, products of a token at the cores' rate

It is no measurement. A program of such a machine reads all weights for every token, zeros and idle neurons too, and keeps nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cpu:
    """Bytes and products (int8) a second, and watts while it works."""

    bytes_per_second: float
    macs_per_second: float
    watts: float


DESKTOP = Cpu(38.4e9, 8 * 3e9 * 64, 65.0)
"""Assumed: two channels of DDR4-2400 (JESD79-4: 2400 MT/s of 8 bytes each), eight cores of 3 GHz with two 256-bit units for dot
products of int8, 65 W as such a package is rated."""

SAID = "a CPU: 38.4 GB/s, 1.5 T products/s, 65 W (assumed); a roofline, so at least this"


def on_cpu(weight_bytes: float, macs: float, cpu: Cpu = DESKTOP) -> tuple[float, float]:
    """Seconds and joules of a token: bytes of all weights, products of a token."""
    seconds = max(weight_bytes / cpu.bytes_per_second, macs / cpu.macs_per_second)
    return seconds, seconds * cpu.watts
