"""Several vectors in a unit, the tokens of a prompt or of several texts: what lut, sp and cim have in common.

A unit U with several vectors has the CSRs U.vectors (0: one), U.codes_stride, U.scale_stride, U.result_stride (bytes from vector to
vector; 0: packed) and the parameter U.activations, which all its vectors together may not exceed. Inside the unit the vectors lie
one behind the other. The twin of emulator/units/vectors.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isa.traps import Cause, Trap

if TYPE_CHECKING:
    from isa.engine.vocabulary import Vocabulary

Array = npt.NDArray[Any]


def fits(vectors: int, length: int, capacity: int) -> bool:
    """True if a unit holds so many vectors (0: one) of this length; one of no elements takes the room of one."""
    return max(vectors, 1) * max(length, 1) <= capacity


def asked(m: Vocabulary, vectors: str, room: str, n: int, where: str) -> int:
    """Vectors of n elements that a build loads. Trap for more elements than the unit holds.

    vectors, room   the CSR that says how many, the parameter that limits all their elements
    where           "the tables of this machine hold"
    """
    asked_for, capacity = max(m.csr(vectors), 1), m.parameter(room)
    if not fits(asked_for, n, capacity):
        raise Trap(Cause.CAPACITY, asked_for * max(n, 1),
                   f"{asked_for * n} activations ({asked_for} x {n}); {where} {capacity} ({room})")
    return asked_for


def stride(m: Vocabulary, name: str, size: int, what: str, align: int = 1) -> int:
    """Bytes from vector to vector, or from row to row, as a CSR says. It is not looked at where these have no bytes (`size` 0)."""
    return m.stride(name, size, what, align, zero=size) if size else 0


def result_stride(m: Vocabulary, name: str, outputs: int) -> int:
    """Bytes from the results of a vector, 4 for each output, to those of the next one, as a CSR says."""
    return stride(m, name, 4 * outputs, f"{outputs} results", 4)


def each(read: Callable[[int, int], Array], address: int, vectors: int, count: int, step: int) -> Array:
    """`count` elements for each vector, (vectors, count), by a word of the vocabulary; `step` bytes from one to the next."""
    return np.stack([read(address + vector * step, count) for vector in range(vectors)])


def before(m: Vocabulary, acc: int, vectors: int, outputs: int, step: int) -> Array:
    """The int32 accumulators of each vector, (vectors, outputs)."""
    m.check_read(acc, m.span(vectors, 4 * outputs, step), 4)
    return each(m.read_i32, acc, vectors, outputs, step)


def check_results(m: Vocabulary, address: int, vectors: int, outputs: int, step: int) -> None:
    """Trap unless the results of each vector, 4 bytes an output, can be written."""
    m.check_write(address, m.span(vectors, 4 * outputs, step), 4)


def accumulate(m: Vocabulary, acc: int, start: Array, sums: Array, shift: int, step: int) -> None:
    """acc = start + (sums << shift), modulo 2**32, (vectors, outputs)."""
    for vector, total in enumerate((start + (sums.astype(np.int64) << shift)).astype(np.int32)):
        m.write_i32(acc + vector * step, total)
