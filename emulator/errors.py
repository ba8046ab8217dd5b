"""What a user can ask of the emulator that it cannot do. Import costs nothing: the front door knows these before any kernel."""

from __future__ import annotations


class SimdError(ValueError):
    """SLIMULATOR_SIMD names a level that does not exist or that this processor does not have."""


class TraceError(ValueError):
    """A filter of a trace that names no unit or register."""
