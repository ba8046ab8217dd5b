"""What products count: the look-ups, reads and steps of planes and groups, and the core that has most."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.numbers import ValueKind

BUFFER = 1                              # lut.mode
GROUP = (4, 8, 7)                       # weights per group, by lut.mode


def plane_events(nonzero, mode):
    """Events of one plane of weights, `nonzero` bool (outputs, activations), as counts by counter name; and steps (outputs,).

    A group is 4, 8 or 7 weights of one output. LUT mode: one look-up. Buffer mode: one read per non-zero weight, two reads a
    step. Mixed mode: three non-zero weights at the front are one look-up, every other non-zero weight is one read.
    """
    size = GROUP[mode]
    outputs, length = nonzero.shape
    groups = np.pad(nonzero, ((0, 0), (0, -length % size))).reshape(outputs, -(-length // size), size)
    weights = groups.sum(axis=2)
    if mode == 0:
        lookups, reads = weights > 0, np.zeros_like(weights)
    elif mode == 1:
        lookups, reads = np.zeros_like(weights), weights
    else:
        lookups = groups[:, :, :3].all(axis=2)
        reads = weights - 3 * lookups
    steps = lookups if mode == 0 else (lookups + reads + 1) // 2
    return {"lut.lookups": lookups.sum(), "lut.buffer_reads": reads.sum(), "lut.steps": steps.sum(),
            "lut.groups_skipped": (weights == 0).sum()}, steps.sum(axis=1)


def bit_planes(fmt):
    """Passes over the weights of a format: one for each bit of an integer, one for signs. 0: each weight is looked up by itself."""
    match fmt.kind:
        case ValueKind.INTEGER:
            return int(fmt.bits)
        case ValueKind.SIGN:
            return 1
        case ValueKind.CODEBOOK:
            return 0
    raise ValueError(f"{fmt.name} is {fmt.kind.value}, which the LUT unit does not multiply")


def _count_macs(m, weights, vectors):
    """Count the products of `weights` (outputs, activations) with each vector."""
    m.count("lut.macs", vectors * weights.size)
    m.count("lut.macs_skipped", vectors * (weights.size - np.count_nonzero(weights)))


def _count_planes(m, fmt, weights, vectors):
    """Count the work of `weights` (outputs, activations), plane by plane. The steps of each output, (outputs,), for a vector."""
    _count_macs(m, weights, vectors)
    passes, steps = bit_planes(fmt), np.zeros(len(weights), np.int64)
    for plane in [weights >> bit & 1 for bit in range(passes)] if passes > 1 else [weights]:
        counts, of_plane = plane_events(plane != 0, m.csr("lut.mode"))
        steps += of_plane
        for name, events in counts.items():
            m.count(name, vectors * events)
    return steps


def _count_codes(m, weights, vectors, each):
    """Count the work of `weights`, for which each output takes so many look-ups. The steps of each output, (outputs,), for a
    vector."""
    _count_macs(m, weights, vectors)
    m.count("lut.lookups", vectors * len(weights) * each)
    m.count("lut.steps", vectors * len(weights) * each)
    return np.full(len(weights), each, np.int64)


def _count_codebook(m, fmt, weights, vectors):
    """Count the work of rows of `weights`, whose values are looked up in the codebook, alone or in pairs."""
    return _count_codes(m, weights, vectors, looked_up(m, weights.shape[1]))


def count_columns_of_codes(m, fmt, weights, vectors):
    """Count the work of columns of weights, (outputs, activations), each of which looks its value up in the codebook."""
    return _count_codes(m, weights, vectors, weights.shape[1])


def looked_up(m, codes):
    """Look-ups for codes of a codebook that lie side by side."""
    return group_count(codes, 2) if m.csr("lut.pairs") else codes


def count_longest(m, steps, vectors):
    """Count the steps of the core that has most, of the `steps` (outputs,) that each output takes for a vector."""
    cores = max(min(m.parameter("lut.cores"), len(steps)), 1)
    m.count("lut.steps_longest", vectors * np.pad(steps, (0, -len(steps) % cores)).reshape(-1, cores).sum(axis=0).max())


def work_of(fmt, of_codes=_count_codebook):
    """How the work of weights in a format is counted."""
    return _count_planes if bit_planes(fmt) else of_codes
