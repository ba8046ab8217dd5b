"""The clock: when each operation starts and ends, and what it waited for.

The core goes on while the units work. An operation of a unit takes part in this order of events:

    the core    executes what stands before the operation in the program; where the unit's queue is full, it waits for the oldest
                operation in it
    start       when the operation has been issued, the one before it in the queue has ended, each tag that the queue waits for
                has been signalled, and each region that it touches is free
    end         start + the unit's start-up cycles + the latency of the slowest region + the longest of these: what the unit has
                to do, one event after the other at its rate; the bytes of each region at the region's rate; 1

A region moves bytes for one operation at a time: from the start on, for as long as its bytes take. The core's own loads and
stores wait for no unit. Signals, waits, fences and results are those of the chapter on order. A signal comes when its queue gets
there: the operations before it have ended, and what the queue waits for has come.

Where the hbm region names a memory with processors, the rule of banks says when an operation of pim ends, and on the channels that
it works on, the next one begins when they can take it. Operations on other channels overlap with it. They start in the order of the
program, each when it has been issued, tags have been signalled, and no other unit moves bytes of hbm. Other units wait with theirs
until all operations of pim that were issued before have ended.

Each cycle of a queue is busy, waits for a reason, or is idle: nothing was issued. So is each cycle of the core, which is idle when
the program has ended and units still work.

The critical path is what the run's time is made of: a chain of core time, unit time and region time in which each link starts when
the one before it ends. It is kept as one sum for each of these, beside every moment that something can wait for. Whoever waits for
a moment takes over its sums. So the sums of the last moment add up to the time of the run, and no log is needed.

The rules below are functions of int64 arrays, for either engine. `t` is the clock's state, `r` holds the figures of a preset,
`counts` the counters by slot, `csrs` the CSRs by number. The words of both arrays are listed first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import ceil, lcm
from typing import Any

import numpy as np
import numpy.typing as npt

from isa.counters import COUNTERS, SLOTS
from isa.csrs import CSRS
from isa.instruction import TABLE, Row
from isa.preset import Preset
from isa.queues import CORE, QUEUE, QUEUES, Action, Tag, edges
from isa.regions import HBM, REGIONS
from isa.timing import bank_state
from isa.timing.bank_state import BANKS as BANKS_OF_A_CHANNEL
from isa.timing.banks import bank_operation
from isa.timing.memories import PimDram
from isa.timing.rates import CORE_RATES, rule, scaled
from isa.units import UNITS
from isa.units.pim.kinds import KIND_NUMBERS, PLACES, kind_table
from isa.units.sync import TAGS

Words = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint64]
_EMITTED = COUNTERS["tokens.emitted"].slot

# ------------------------------------------------------------------------------------------------ words of the state

REASONS = ("signal", "memory", "full queue", "fence", "result")
"""What a queue or the core can wait for: a tag; a region that another operation uses; room in a queue; all queues; a value."""
FOR_SIGNAL, FOR_MEMORY, FOR_ROOM, FOR_FENCE, FOR_RESULT = range(len(REASONS))

# A moment is a cycle, and behind it the sums of its critical path: of each queue, then of each region.
MOMENT = 1 + len(QUEUES) + len(REGIONS)

PART, TOKENS, FIRST_TOKEN, LAST_TOKEN = range(4)        # of a cycle of the core; tokens emitted, when: the first and the last
NOW = 4                                                 # the core's moment
SEEN = NOW + MOMENT                                     # (SLOTS) counters, as far as their events have been given time
SIGNALLED = SEEN + SLOTS                                # (TAGS) moments: the latest signal of each tag
REGION_STATE = SIGNALLED + MOMENT * TAGS
REGION_FREE, REGION_BUSY = 0, MOMENT                    # of each region: the moment from which on it is free; cycles busy
REGION_WORDS = MOMENT + 1
QUEUE_STATE = REGION_STATE + REGION_WORDS * len(REGIONS)
FREE, GATE = 0, MOMENT                                  # of each queue, moments: end of its last operation; tags that it waits for
BUSY, NEXT, WAITED = 2 * MOMENT, 2 * MOMENT + 1, 2 * MOMENT + 2     # cycles busy; place in its ring; cycles waited, by reason
QUEUE_WORDS = WAITED + len(REASONS)
RINGS = QUEUE_STATE + QUEUE_WORDS * len(QUEUES)         # for each queue the ends of as many operations as it holds: moments

# ------------------------------------------------------------------------------------------------ words of the figures

QUEUE_FIGURES = 0
START, DEPTH, RING, TERMS = range(4)                    # of each queue: start-up cycles; operations that it holds; where its ring
QUEUE_FIGURE_WORDS = 4                                  # and its terms stand
REGION_FIGURES = QUEUE_FIGURES + QUEUE_FIGURE_WORDS * len(QUEUES)
LATENCY, CYCLES, BYTES, READ, WRITTEN = range(5)        # of each region: CYCLES cycles move BYTES bytes; slots of its counters
REGION_FIGURE_WORDS = 5
CORE_TERMS = REGION_FIGURES + REGION_FIGURE_WORDS * len(REGIONS)    # where the core's terms stand, and what they are divided by
CORE_DIVISOR = CORE_TERMS + 1
BANKS = CORE_DIVISOR + 1                                # where the figures of the banks stand, 0 without; where their state stands;
BANK_STATE, BANK_CYCLES, MACHINE_CYCLES = BANKS + 1, BANKS + 2, BANKS + 3       # so many bank cycles are so many of the machine
OPERATIONS = BANKS + 4
ISSUES, SIGNALS, WAITS, FENCES, RESULTS, TAG_CSR = range(6)         # of each Xslim instruction: what it does to the order of the
KIND, BANK, ROW, COLUMNS, COUNT, EVERY, SECOND = range(6, 13)       # of pim: isa/units/pim/kinds.py; operands by position, -1: none
OPERATION_WORDS = 13                                    # queues. A queue; in WAITS one more; in TAG_CSR -1 is the first operand

MNEMONICS: tuple[str, ...] = tuple(row.mnemonic for row in TABLE.values() if row.is_xslim)
"""The instructions that the clock knows, by number."""

EVENTS, LESS, FACTOR, DIVISOR = range(4)                # Terms: their number, then of each the slots of its counter and of another,
TERM_WORDS = 4                                          # whose events it does without (-1: none). One takes FACTOR / DIVISOR cycles


# ------------------------------------------------------------------------------------------------ rules


@rule
def copy(t: Words, moment: int, source: int) -> None:
    """Make one moment what another one is."""
    for i in range(MOMENT):
        t[moment + i] = t[source + i]


@rule
def later(t: Words, moment: int, source: int) -> int:
    """The later of two moments: where it stands. Of equal ones the first."""
    return source if t[source] > t[moment] else moment


@rule
def add(t: Words, moment: int, link: int, cycles: int) -> None:
    """Let a queue, or a region (QUEUE_COUNT more than its number), take some cycles more."""
    t[moment] += cycles
    t[moment + 1 + link] += cycles


@rule
def core_time(t: Words, r: Words, counts: Words) -> None:
    """Give time to what the core has executed so far."""
    place, total = r[CORE_TERMS], t[PART]
    for term in range(place + 1, place + 1 + TERM_WORDS * r[place], TERM_WORDS):
        slot = r[term + EVENTS]
        total += (counts[slot] - t[SEEN + slot]) * r[term + FACTOR]
        t[SEEN + slot] = counts[slot]
    whole = total // r[CORE_DIVISOR]
    t[PART] = total - whole * r[CORE_DIVISOR]
    add(t, NOW, CORE, whole)
    t[QUEUE_STATE + BUSY] += whole


@rule
def before(t: Words, r: Words, counts: Words) -> None:
    """Before an operation: the core's time, and the bytes that are the core's own."""
    core_time(t, r, counts)
    for i in range(REGION_COUNT):
        figures = REGION_FIGURES + REGION_FIGURE_WORDS * i
        t[SEEN + r[figures + READ]] = counts[r[figures + READ]]
        t[SEEN + r[figures + WRITTEN]] = counts[r[figures + WRITTEN]]


@rule
def hold_core(t: Words, until: int, reason: int) -> None:
    """The core waits for a moment."""
    if t[until] > t[NOW]:
        t[QUEUE_STATE + WAITED + reason] += t[until] - t[NOW]
        copy(t, NOW, until)


@rule
def work_of(t: Words, r: Words, counts: Words, place: int) -> int:
    """Cycles of the events since the last operation: the longest of some terms."""
    work, end = 1, place + 1 + TERM_WORDS * r[place]
    for term in range(place + 1, end, TERM_WORDS):
        slot, less = r[term + EVENTS], r[term + LESS]
        events = counts[slot] - t[SEEN + slot]
        if less >= 0:
            events -= counts[less] - t[SEEN + less]
        if events > 0:
            work = max(work, scaled(events, r[term + FACTOR], r[term + DIVISOR]))
    for term in range(place + 1, end, TERM_WORDS):
        t[SEEN + r[term + EVENTS]] = counts[r[term + EVENTS]]
    return work


@rule
def moved(t: Words, r: Words, counts: Words, region: int) -> int:
    """Bytes that the operation moved in a region."""
    figures = REGION_FIGURES + REGION_FIGURE_WORDS * region
    read, written = r[figures + READ], r[figures + WRITTEN]
    size = counts[read] - t[SEEN + read]
    if written != read:
        size += counts[written] - t[SEEN + written]
    return int(size)


@rule
def issue(t: Words, r: Words, counts: Words, queue: int) -> None:
    """An operation has gone into a queue, and has been executed."""
    state, figures = QUEUE_STATE + QUEUE_WORDS * queue, QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue
    ring = r[figures + RING] + MOMENT * t[state + NEXT]
    hold_core(t, ring, FOR_ROOM)
    ready = later(t, state + FREE, NOW)
    signalled = later(t, ready, state + GATE)
    begin = signalled
    for region in range(REGION_COUNT):
        if moved(t, r, counts, region) > 0:
            begin = later(t, begin, REGION_STATE + REGION_WORDS * region + REGION_FREE)
            if region == HBM_REGION:
                begin = later(t, begin, QUEUE_STATE + QUEUE_WORDS * PIM + FREE)
    t[state + WAITED + FOR_SIGNAL] += t[signalled] - t[ready]
    t[state + WAITED + FOR_MEMORY] += t[begin] - t[signalled]
    start = t[begin]
    copy(t, ring, begin)
    work, slowest, latency, farthest = work_of(t, r, counts, r[figures + TERMS]), queue, 0, queue
    for region in range(REGION_COUNT):
        size = moved(t, r, counts, region)
        if size > 0:
            place, memory = REGION_STATE + REGION_WORDS * region, REGION_FIGURES + REGION_FIGURE_WORDS * region
            cycles = scaled(size, r[memory + CYCLES], r[memory + BYTES])
            copy(t, place + REGION_FREE, ring)
            add(t, place + REGION_FREE, QUEUE_COUNT + region, cycles)
            t[place + REGION_BUSY] += cycles
            if cycles > work:
                work, slowest = cycles, QUEUE_COUNT + region
            if r[memory + LATENCY] > latency:
                latency, farthest = r[memory + LATENCY], QUEUE_COUNT + region
    add(t, ring, queue, r[figures + START])
    add(t, ring, farthest, latency)
    add(t, ring, slowest, work)
    copy(t, state + FREE, ring)
    t[state + BUSY] += t[ring] - start
    t[state + NEXT] = t[state + NEXT] + 1 if t[state + NEXT] + 1 < r[figures + DEPTH] else 0


@rule
def operand(at: int, a: int, b: int, c: int) -> int:
    """The operand at a position, 0 for none."""
    if at < 0:
        return 0
    return a if at == 0 else b if at == 1 else c


@rule
def issue_to_banks(t: Words, r: Words, counts: Words, csrs: Words, row: int, a: int, b: int, c: int) -> None:
    """An operation has gone into the queue of pim. The rule of banks says when it ends. One on other channels may end before it."""
    state, figures = QUEUE_STATE + QUEUE_WORDS * PIM, QUEUE_FIGURES + QUEUE_FIGURE_WORDS * PIM
    ring = r[figures + RING] + MOMENT * t[state + NEXT]
    hold_core(t, ring, FOR_ROOM)
    signalled = later(t, NOW, state + GATE)
    begin = later(t, signalled, REGION_STATE + REGION_WORDS * HBM_REGION + REGION_FREE)
    for region in range(REGION_COUNT):
        if moved(t, r, counts, region) > 0:
            begin = later(t, begin, REGION_STATE + REGION_WORDS * region + REGION_FREE)
    free, start = t[state + FREE], t[begin]
    t[state + WAITED + FOR_SIGNAL] += max(0, t[signalled] - max(t[NOW], free))
    t[state + WAITED + FOR_MEMORY] += max(0, start - max(t[signalled], free))
    copy(t, ring, begin)
    for region in range(REGION_COUNT):
        size = moved(t, r, counts, region)
        if size > 0 and region != HBM_REGION:
            place, memory = REGION_STATE + REGION_WORDS * region, REGION_FIGURES + REGION_FIGURE_WORDS * region
            cycles = scaled(size, r[memory + CYCLES], r[memory + BYTES])
            copy(t, place + REGION_FREE, ring)
            add(t, place + REGION_FREE, QUEUE_COUNT + region, cycles)
            t[place + REGION_BUSY] += cycles
    bank, columns = operand(r[row + BANK], a, b, c), r[row + COUNT]
    if r[row + COLUMNS] >= 0:
        columns = operand(r[row + COLUMNS], a, b, c)
    second = -1
    if r[row + SECOND] > 0 and csrs[NEXT_BANK] > 0:
        second = (bank + 1) % r[r[BANKS] + BANKS_OF_A_CHANNEL]
    all_channels = -1 if r[row + EVERY] > 0 else 0
    end = bank_operation(
        t[r[BANK_STATE]:], r[r[BANKS]:], r[row + KIND],
        csrs[CHANNEL_MASK] | all_channels, csrs[CHANNEL_MASK + 1] | all_channels, csrs[CHANNEL_MASK + 2] | all_channels,
        csrs[CHANNEL_MASK + 3] | all_channels, bank, second, operand(r[row + ROW], a, b, c), max(1, columns),
        scaled(start, r[BANK_CYCLES], r[MACHINE_CYCLES]))
    end = max(start + 1, scaled(end, r[MACHINE_CYCLES], r[BANK_CYCLES]))
    add(t, ring, PIM, end - start)
    t[state + BUSY] += max(0, end - max(free, start))
    if end > free:
        copy(t, state + FREE, ring)
    t[state + NEXT] = t[state + NEXT] + 1 if t[state + NEXT] + 1 < r[figures + DEPTH] else 0


@rule
def operation(t: Words, r: Words, counts: Words, csrs: Words, number: int, a: int, b: int, c: int) -> None:
    """An Xslim instruction has retired: `number` in MNEMONICS, and its first operands. `before` was called before it."""
    row = OPERATIONS + OPERATION_WORDS * number
    if r[row + ISSUES] == PIM and r[BANKS] > 0:
        issue_to_banks(t, r, counts, csrs, row, a, b, c)
    elif r[row + ISSUES] > 0:
        issue(t, r, counts, r[row + ISSUES])
    order(t, r, csrs, row, a)


@rule
def operation_outside_of_banks(t: Words, r: Words, counts: Words, csrs: Words, number: int, a: int) -> None:
    """The same for an instruction of any unit but pim. It compiles much faster."""
    row = OPERATIONS + OPERATION_WORDS * number
    if r[row + ISSUES] > 0:
        issue(t, r, counts, r[row + ISSUES])
    order(t, r, csrs, row, a)


@rule
def order(t: Words, r: Words, csrs: Words, row: int, a: int) -> None:
    """Signals, waits, fences and results of an instruction."""
    tag = a if r[row + TAG_CSR] < 0 else csrs[r[row + TAG_CSR]]
    if r[row + SIGNALS] > 0 and tag > 0:
        state = QUEUE_STATE + QUEUE_WORDS * r[row + SIGNALS]
        copy(t, SIGNALLED + MOMENT * tag, later(t, later(t, state + FREE, state + GATE), NOW))
    if r[row + WAITS] > 0:
        if r[row + WAITS] - 1 == CORE:
            hold_core(t, SIGNALLED + MOMENT * tag, FOR_SIGNAL)
        else:
            gate = QUEUE_STATE + QUEUE_WORDS * (r[row + WAITS] - 1) + GATE
            latest = later(t, gate, SIGNALLED + MOMENT * tag)
            if latest != gate:
                copy(t, gate, latest)
    if r[row + FENCES] > 0:
        hold_core(t, all_done(t), FOR_FENCE)
    if r[row + RESULTS] > 0:
        hold_core(t, QUEUE_STATE + QUEUE_WORDS * r[row + RESULTS] + FREE, FOR_RESULT)


@rule
def all_done(t: Words) -> int:
    """The moment from which on the core and every queue have nothing to do."""
    end = NOW
    for queue in range(1, QUEUE_COUNT):
        state = QUEUE_STATE + QUEUE_WORDS * queue
        end = later(t, later(t, end, state + FREE), state + GATE)
    return end


@rule
def token(t: Words, r: Words, counts: Words) -> None:
    """The program has emitted a token."""
    core_time(t, r, counts)
    if t[TOKENS] == 0:
        t[FIRST_TOKEN] = t[NOW]
    t[TOKENS] += 1
    t[LAST_TOKEN] = t[NOW]


QUEUE_COUNT, REGION_COUNT = len(QUEUES), len(REGIONS)
NO_COUNTER = SLOTS - 2
PIM, HBM_REGION = QUEUE["pim"], list(REGIONS).index(HBM)
CHANNEL_MASK, NEXT_BANK = CSRS["pim.channel_mask"].address, CSRS["pim.next_bank"].address      # of the first of four masks

# ------------------------------------------------------------------------------------------------ figures of a preset


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
        for action, queue, tag in edges(TABLE[mnemonic]):
            row[places[action]] = queue + 1 if action is Action.WAIT else 1 if action is Action.FENCE else queue
            if tag is Tag.FETCH_TAG:
                row[TAG_CSR] = CSRS["fetch.tag"].address
        words += row
    return tuple(words)


def figures_of(preset: Preset) -> Words:
    """The figures of a preset as the rules read them. The preset has rates."""
    words = [0] * OPERATIONS + [*_operations()]
    for i in range(REGION_COUNT):                               # of regions that there are not: a counter that never counts
        place = REGION_FIGURES + REGION_FIGURE_WORDS * i
        words[place + READ] = words[place + WRITTEN] = NO_COUNTER
    rates = preset.rates
    assert rates is not None
    ring = RINGS

    def terms(cycles: Iterable[tuple[str, str, Fraction]]) -> int:
        """(counter, counter whose events do not count, cycles of an event): where they stand now."""
        place = len(words)
        words.append(0)
        for counter, less, each in cycles:
            words.extend((COUNTERS[counter].slot, COUNTERS[less].slot if less else -1, each.numerator, each.denominator))
            words[place] += 1
        return place

    for name, queue in QUEUE.items():
        if queue != CORE and preset.has_unit(name):
            depth = int(rates[f"{name}.queue_depth"])
            place = QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue
            words[place:place + QUEUE_FIGURE_WORDS] = (int(rates[f"{name}.start_cycles"]), depth, ring, terms(
                (rate.counter, rate.less, 1 / rates[rate.name]) for rate in UNITS[name].rates if rate.counter))
            ring += MOMENT * depth
    loads = []
    for i, kind in enumerate(REGIONS.values()):
        if kind.name in preset.file.region:
            latency, cycles = _access(preset, kind.name)
            loads.append((f"{kind.name}.loads", "", Fraction(latency)))
            place = REGION_FIGURES + REGION_FIGURE_WORDS * i
            words[place:place + REGION_FIGURE_WORDS] = (latency, cycles.numerator, cycles.denominator, kind.read,
                                                        kind.read if kind.written is None else kind.written)
    core = [(rate.counter, "", rates[rate.name] if rate.unit == "cycles" else 1 / rates[rate.name]) for rate in CORE_RATES] + loads
    words[CORE_DIVISOR] = lcm(*(cycles.denominator for _, _, cycles in core))
    words[CORE_TERMS] = terms((counter, less, cycles * words[CORE_DIVISOR]) for counter, less, cycles in core)
    memory, organisation = preset.memory(HBM) if preset.has_unit("pim") else None, preset.banks
    if isinstance(memory, PimDram) and organisation is not None:
        figures = bank_state.figures_of({name: getattr(memory, name) for name in bank_state.FIGURES}, organisation.banks,
                                   organisation.bank_groups, organisation.blocks, kind_table())
        ratio = preset.period / memory.period_ps                # bank cycles of a cycle of the machine
        words[BANKS:OPERATIONS] = len(words), ring, ratio.numerator, ratio.denominator
        for number, mnemonic in enumerate(MNEMONICS):           # what registers of all banks take depends on how many there are
            if mnemonic in PLACES and PLACES[mnemonic].bytes:
                words[OPERATIONS + OPERATION_WORDS * number + COUNT] = PLACES[mnemonic].columns_of({}, organisation.banks)
        words += figures.tolist()
    return np.array(words, np.int64)


def _access(preset: Preset, region: str) -> tuple[int, Fraction]:
    """(latency, cycles of a byte) of a region, in cycles of the machine's clock."""
    assert preset.rates is not None
    if memory := preset.memory(region):
        return ceil(memory.latency_ps() / preset.period), memory.byte_ps() / preset.period
    return int(preset.rates[f"{region}.latency_cycles"]), 1 / preset.rates[f"{region}.bytes_per_cycle"]


def state_of(preset: Preset, figures: Words) -> Words:
    """The clock's state at cycle 0."""
    rings = MOMENT * sum(int(figures[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + DEPTH]) for queue in range(len(QUEUES)))
    clock = np.zeros(RINGS + rings, np.int64)
    if not figures[BANKS]:
        return clock
    assert preset.banks is not None
    return np.concatenate((clock, bank_state.state_of(figures[figures[BANKS]:], preset.banks.channels)))


# ------------------------------------------------------------------------------------------------ what users see


@dataclass(frozen=True)
class QueueTime:
    """Cycles of a queue, or of the core, which add up to those of the run: busy, waiting by reason (without zeros), idle."""

    busy: int
    waiting: dict[str, int]
    idle: int


@dataclass(frozen=True)
class Time:
    """How long the machine took. All times are in cycles of its clock, by name: of the queues; cycles in which regions moved bytes;
    what the critical path consists of, the core, units and regions, without zeros, which adds up to `cycles`."""

    cycles: int
    clock_hz: int
    queues: dict[str, QueueTime]
    regions: dict[str, int]
    critical_path: dict[str, int]
    tokens: int                         # emitted
    first_token: int | None             # when the first was emitted, and the last
    last_token: int | None

    @property
    def seconds(self) -> float:
        return self.cycles / self.clock_hz

    @property
    def tokens_per_second(self) -> float | None:
        """From the first token to the last; None with less than two."""
        if self.tokens < 2 or self.first_token is None or self.last_token is None or self.last_token == self.first_token:
            return None
        return (self.tokens - 1) * self.clock_hz / (self.last_token - self.first_token)


class Clock:
    """The time of one machine. `words` is its state, which either engine changes."""

    def __init__(self, preset: Preset) -> None:
        self.preset, self.figures = preset, figures_of(preset)
        self.words = state_of(preset, self.figures)

    def start(self, counts: Counts) -> None:
        """Begin at cycle 0. What has been counted so far took no time."""
        self.words[:] = state_of(self.preset, self.figures)
        self.words[SEEN:SEEN + SLOTS] = counts.view(np.int64)

    def before(self, counts: Counts) -> None:
        """To be called before each Xslim instruction."""
        before(self.words, self.figures, counts.view(np.int64))

    def after(self, counts: Counts, counted: Counts, csrs: Counts, row: Row | None, operands: dict[str, Any]) -> None:
        """To be called after each instruction that has retired. `counted`: the counters as they were before it."""
        if row is not None and row.is_xslim:
            first = [_signed(value) for value in (*operands.values(), 0, 0, 0)][:3]
            operation(self.words, self.figures, counts.view(np.int64), csrs.view(np.int64), NUMBER[row.mnemonic], *first)
        elif counts[_EMITTED] != counted[_EMITTED]:
            token(self.words, self.figures, counts.view(np.int64))

    def restore(self, words: Words) -> None:
        """Go on from the state of another clock of the same machine. Raises ValueError for what no clock can have left."""
        for queue in range(len(QUEUES)):
            place = int(words[QUEUE_STATE + QUEUE_WORDS * queue + NEXT])
            if not 0 <= place <= max(int(self.figures[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + DEPTH]) - 1, 0):
                raise ValueError(f"the clock's place in queue {QUEUES[queue]} is {place}")
        if self.figures[BANKS] and self.preset.banks is not None and not bank_state.is_sound(
                words[self.figures[BANK_STATE]:], self.figures[self.figures[BANKS]:], self.preset.banks.channels):
            raise ValueError("the clock's state of the banks is invalid")
        self.words[:] = words

    def time(self, counts: Counts) -> Time:
        """The time so far."""
        t = self.words
        core_time(t, self.figures, counts.view(np.int64))
        end = int(all_done(t))
        cycles = int(t[end])
        sums = zip((*QUEUES, *REGIONS), t[end + 1:end + MOMENT].tolist(), strict=True)
        queues = {}
        for name, queue in QUEUE.items():
            if queue != CORE and not self.preset.has_unit(name):
                continue
            place = QUEUE_STATE + QUEUE_WORDS * queue
            waiting = {reason: int(t[place + WAITED + i]) for i, reason in enumerate(REASONS) if t[place + WAITED + i]}
            busy = int(t[place + BUSY])
            queues[name] = QueueTime(busy, waiting, cycles - busy - sum(waiting.values()))
        regions = {region.name: int(t[REGION_STATE + REGION_WORDS * i + REGION_BUSY])
                   for i, region in enumerate(REGIONS.values()) if region.name in self.preset.file.region}
        first, last = (int(t[FIRST_TOKEN]), int(t[LAST_TOKEN])) if t[TOKENS] else (None, None)
        path = {name: cycles for name, cycles in sums if cycles}
        return Time(cycles, self.preset.clock_hz, queues, regions, path, int(t[TOKENS]), first, last)


def _signed(value: int) -> int:
    """As a register of 64 bits holds it, with a sign."""
    return (int(value) + (1 << 63)) % (1 << 64) - (1 << 63)


NUMBER: dict[str, int] = {mnemonic: number for number, mnemonic in enumerate(MNEMONICS)}
