"""The figures of the clock: what a preset says, as the rules of isa/timing/clock_rules.py read it, and their state at cycle 0."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from itertools import chain
from math import ceil

import numpy as np

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.instruction import TABLE
from isa.preset import Preset
from isa.queues import CORE, QUEUE, QUEUES, Action, Tag, edges
from isa.regions import HBM, REGIONS
from isa.timing import attention, bank_state, fetched
from isa.timing.attention import STEPS
from isa.timing.clock_rules import (
    ATTENTION,
    ATTENTION_STATE,
    BANKS,
    CORE_FIGURES,
    COUNT,
    CYCLES,
    DEPTH,
    ELEMENT_BYTES,
    FENCES,
    FORM,
    FREE_AT,
    GATE_AT,
    HBM_REGION,
    ISSUES,
    KIND,
    LATENCY,
    LINE,
    LOAD_FIGURES,
    MEMORY,
    NAMED,
    NOW,
    OPERATION_WORDS,
    OPERATIONS,
    ORDERS,
    PARTS,
    PORTS,
    QUEUE_FIGURE_WORDS,
    QUEUE_FIGURES,
    QUEUE_STATE,
    QUEUE_WORDS,
    RECORD,
    REGION_COUNT,
    REGION_FIGURE_WORDS,
    REGION_FIGURES,
    REGION_STATE,
    REGION_WORDS,
    RESULTS,
    RINGS,
    SIGNALLED,
    SIGNALS,
    TAG_CSR,
    TERM_WORDS,
    TERMS,
    WAITS,
)
from isa.timing.fetched import FORMS
from isa.timing.memories import AttentionDram, PimDram
from isa.timing.rates import CORE_RATES, CYCLES_WORDS, Rate, Words, bounded, cycles_figures
from isa.units import UNITS
from isa.units.pim.kinds import KIND_NUMBERS, PLACES, kind_table
from isa.units.sync import TAGS

MNEMONICS: tuple[str, ...] = tuple(row.mnemonic for row in TABLE.values() if row.is_xslim)
"""The instructions that the clock knows, by number."""

NUMBER: dict[str, int] = {mnemonic: number for number, mnemonic in enumerate(MNEMONICS)}

LISTED = tuple(mnemonic for mnemonic in MNEMONICS if mnemonic.split(".")[0] == "attn"
               and STEPS.get(mnemonic.split(".")[1]) in (attention.SCORES, attention.CONTEXT))
"""Instructions that read keys or values, by lists of cache rows where there are some."""


@cache
def _operations() -> tuple[int, ...]:
    """What each Xslim instruction does to the order of the queues, OPERATION_WORDS numbers each."""
    places = {Action.ISSUE: ISSUES, Action.SIGNAL: SIGNALS, Action.WAIT: WAITS, Action.FENCE: FENCES, Action.RESULT: RESULTS}
    words: list[int] = []
    for mnemonic in MNEMONICS:
        row = [0] * OPERATION_WORDS
        row[TAG_CSR] = -1
        if place := PLACES.get(mnemonic):
            names = [operand.name for operand in TABLE[mnemonic].operands if operand is not TABLE[mnemonic].result]
            at = [names.index(name) if name else -1 for name in (place.bank, place.row, place.columns)]
            assert max(at) < 3, mnemonic
            row[KIND:] = [KIND_NUMBERS[place.kind], *at, place.fixed, place.every_channel, place.kind == "mac in a bank"]
        row[FORM] = FORMS.get(mnemonic, 0)
        unit, _, name = mnemonic.partition(".")
        form, _, element = name.partition(".")
        if unit == "attn" and form in STEPS:
            row[FORM], row[ELEMENT_BYTES] = STEPS[form] + 1, attention.element_bytes(STEPS[form], element)
        for action, queue, tag in edges(TABLE[mnemonic]):
            row[places[action]] = queue + 1 if action is Action.WAIT else 1 if action is Action.FENCE else queue
            if tag is Tag.FETCH_TAG:
                row[TAG_CSR] = CSRS["fetch.tag"].address
        row[ORDERS] = int(any(row[SIGNALS:TAG_CSR]))
        words += row
    return tuple(words)


def _terms_of(unit: str) -> list[Rate]:
    """The rates of a unit that give events time, those before that do without the events of others."""
    return sorted((rate for rate in UNITS[unit].rates if rate.counter), key=lambda rate: not rate.less)


def figures_of(preset: Preset) -> Words:
    """The figures of a preset as the rules read them. The preset has rates."""
    words = [0] * OPERATIONS + [*_operations()]
    rates = preset.rates
    assert rates is not None
    ring = RINGS

    def terms(cycles: Iterable[tuple[str, str, Fraction]]) -> int:
        """(counter, counter whose events do not count, cycles of an event): where they stand now."""
        words.extend([0] * (-len(words) % LINE))
        place, found = len(words), list(cycles)
        words.append(len(found))
        for counter, less, _ in found:
            words.extend((COUNTERS[counter].slot, COUNTERS[less].slot if less else -1))
        for _, _, each in found:
            words.extend(cycles_figures(each))
        return place

    for name, queue in QUEUE.items():
        if queue != CORE and preset.has_unit(name):
            depth = int(rates[f"{name}.queue_depth"])
            place = QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue
            words[place:place + PORTS] = (int(rates[f"{name}.start_cycles"]), depth, ring, terms(
                (rate.counter, rate.less, 1 / rates[rate.name]) for rate in _terms_of(name)))
            ports = [(i, kind.read, kind.read if kind.written is None else kind.written) for i, kind in enumerate(REGIONS.values())
                     if kind.name in preset.file.region and name in preset.region(kind.name).ports]
            words[place + PORTS] = len(words)
            words += len(ports), *chain(*ports)
            ring += RECORD * depth
    for i, rate in enumerate(CORE_RATES):
        cycles = rates[rate.name] if rate.unit == "cycles" else 1 / rates[rate.name]
        words[CORE_FIGURES + 2 * i:CORE_FIGURES + 2 * i + 2] = int(cycles), ceil(cycles % 1 * PARTS)
    for i, kind in enumerate(REGIONS.values()):
        if kind.name in preset.file.region:
            latency, cycles = _access(preset, kind.name)
            words[LOAD_FIGURES + 2 * i] = latency
            place = REGION_FIGURES + REGION_FIGURE_WORDS * i
            words[place + LATENCY] = latency
            words[place + CYCLES:place + CYCLES + CYCLES_WORDS] = cycles_figures(cycles)
    state = ring                                                # behind the records: the state of memories
    for i, name in enumerate(REGIONS) if preset.has_unit("fetch") else ():
        if name in preset.file.region and (memory := preset.memory(name)):
            region = preset.region(name)
            if figures := fetched.figures_of(memory, region.base, region.size, state, preset.period):
                words[REGION_FIGURES + REGION_FIGURE_WORDS * i + MEMORY], words[NAMED] = len(words), 1
                words += figures
                state += len(fetched.events_of(np.array(figures, np.int64)))
    stack = preset.memory(HBM) if preset.has_unit("attn") and HBM in preset.file.region else None
    if isinstance(stack, AttentionDram):
        ratio = bounded(preset.period / stack.period_ps)
        words[ATTENTION:ATTENTION + 3] = len(words), ratio.numerator, ratio.denominator
        words[REGION_FIGURES + REGION_FIGURE_WORDS * HBM_REGION + MEMORY] = -1
        words[ATTENTION_STATE] = state
        of_attention = attention.figures_of(stack)
        words += of_attention.tolist()
        state += len(attention.events_of(of_attention))
    memory, organisation = preset.memory(HBM) if preset.has_unit("pim") else None, preset.banks
    if isinstance(memory, PimDram) and organisation is not None:
        bank_figures = bank_state.figures_of({name: getattr(memory, name) for name in bank_state.FIGURES}, organisation.banks,
                                   organisation.bank_groups, organisation.blocks, kind_table())
        ratio = bounded(preset.period / memory.period_ps)       # bank cycles of a cycle of the machine
        words[BANKS:NAMED] = len(words), state, ratio.numerator, ratio.denominator
        for number, mnemonic in enumerate(MNEMONICS):           # what registers of all banks take depends on how many there are
            if mnemonic in PLACES and PLACES[mnemonic].bytes:
                words[OPERATIONS + OPERATION_WORDS * number + COUNT] = PLACES[mnemonic].columns_of({}, organisation.banks)
        words += bank_figures.tolist()
    return _in_lines(np.array(words, np.int64))


def _in_lines(words: Words) -> Words:
    """A copy that begins with a line of the host's cache."""
    room = np.zeros(len(words) + LINE, np.int64)
    start = -room.ctypes.data // room.itemsize % LINE
    room[start:start + len(words)] = words
    return room[start:start + len(words)]


def _access(preset: Preset, region: str) -> tuple[int, Fraction]:
    """(latency, cycles of a byte) of a region, in cycles of the machine's clock."""
    assert preset.rates is not None
    if memory := preset.memory(region):
        return ceil(memory.latency_ps() / preset.period), bounded(memory.byte_ps() / preset.period)
    return int(preset.rates[f"{region}.latency_cycles"]), 1 / preset.rates[f"{region}.bytes_per_cycle"]


def end_of_rings(figures: Words) -> int:
    """Where the records of operations end."""
    return RINGS + RECORD * sum(int(figures[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + DEPTH]) for queue in range(len(QUEUES)))


def counters_of(figures: Words, queue: int) -> list[int]:
    """Slots of the counters whose events give the operations of a queue their time."""
    place = int(figures[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + TERMS])
    return figures[place + 1:place + 1 + TERM_WORDS * int(figures[place]):TERM_WORDS].tolist() if place else []


def places_of_records() -> list[int]:
    """The words of the state that hold the place of a record."""
    return [*(QUEUE_STATE + QUEUE_WORDS * queue + at for queue in range(len(QUEUES)) for at in (FREE_AT, GATE_AT)),
            *(REGION_STATE + REGION_WORDS * region + FREE_AT for region in range(len(REGIONS))),
            *(SIGNALLED + 2 * tag + 1 for tag in range(TAGS))]


def state_of(preset: Preset, figures: Words) -> Words:
    """The clock's state at cycle 0."""
    clock = np.zeros(end_of_rings(figures), np.int64)
    clock[places_of_records()] = NOW
    parts = [clock, *(fetched.events_of(figures[place:]) for place in _memories(figures))]
    if figures[ATTENTION]:
        parts.append(attention.events_of(figures[figures[ATTENTION]:]))
    if figures[BANKS]:
        assert preset.banks is not None
        parts.append(bank_state.state_of(figures[figures[BANKS]:], preset.banks.channels))
    return _in_lines(np.concatenate(parts))


def _memories(figures: Words) -> list[int]:
    """Where the figures of memories stand that fetch operations go by."""
    each = figures[REGION_FIGURES + MEMORY:REGION_FIGURES + REGION_FIGURE_WORDS * REGION_COUNT:REGION_FIGURE_WORDS]
    return [int(place) for place in each if place > 0]
