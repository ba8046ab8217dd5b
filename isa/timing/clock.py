"""What users see of the clock: the time of a run, what it consists of, and the clock that a machine keeps.

The rules are in isa/timing/clock_rules.py, the figures that they read in isa/timing/clock_figures.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from isa.counters import COUNTERS, SLOTS
from isa.preset import Preset
from isa.queues import CORE, QUEUE, QUEUES
from isa.regions import REGIONS
from isa.timing import attention, bank_state, fetched
from isa.timing.clock_figures import LISTED, NUMBER, counters_of, end_of_rings, figures_of, places_of_records, state_of
from isa.timing.clock_rules import (
    ATTENTION,
    ATTENTION_STATE,
    BANK_CYCLES,
    BANK_STATE,
    BANKS,
    BESIDE,
    BUSY,
    CORE_FIGURES,
    CYCLE,
    DEPTH,
    FIRST_TOKEN,
    FREE,
    GATE,
    LAST_TOKEN,
    LINK,
    LINKS,
    LIST_STRIDE,
    MACHINE_CYCLES,
    MEMORY,
    MOVING,
    NAMED,
    NEXT,
    NOW,
    PIM,
    QUEUE_FIGURE_WORDS,
    QUEUE_FIGURES,
    QUEUE_STATE,
    QUEUE_WORDS,
    REASONS,
    RECORD,
    REGION_BUSY,
    REGION_FIGURE_WORDS,
    REGION_FIGURES,
    REGION_STATE,
    REGION_WORDS,
    ROW_LIST,
    SEEN,
    SIGNALLED,
    SUMS,
    TOKENS,
    WAITED,
    WORK,
    all_done,
    core_time,
    last_record,
    operation,
    token,
)
from isa.timing.fetched import FORMS
from isa.timing.rates import Words, scaled
from isa.units.sync import TAGS

Counts = npt.NDArray[np.uint64]
NOTHING: Words = np.zeros(0, np.int64)
_EMITTED = COUNTERS["tokens.emitted"].slot


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
    attention: dict[str, int] | None = None     # of attention units in hbm: rows opened, columns read, of each bank by itself

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

    def without_core(self) -> None:
        """Let the core take no time."""
        self.figures[CORE_FIGURES:BANKS] = 0

    def begin_at(self, cycle: int, counts: Counts, after: Clock | None = None) -> None:
        """Begin at another cycle, with the banks as another clock of the same machine has left them."""
        self.start(counts)
        self.words[NOW + CYCLE] = self.words[NOW + SUMS + CORE] = cycle
        if after and self.figures[BANKS]:
            self.words[self.figures[BANK_STATE]:] = after.words[self.figures[BANK_STATE]:]

    def end_of_banks(self) -> int:
        """The cycle in which all that the banks were told to do is done; they may hold the host for longer than an operation."""
        held = self.words[self.figures[BANK_STATE] + bank_state.HELD]
        return max(int(self.words[QUEUE_STATE + QUEUE_WORDS * PIM + FREE]),
                   int(scaled(int(held), int(self.figures[MACHINE_CYCLES]), int(self.figures[BANK_CYCLES]))))

    def after(self, machine: Any, counted: Counts) -> None:
        """To be called when a machine has executed an instruction. If it is an Xslim instruction: before the core counts it, and
        before memory has what it has written; else after both. `counted`: the counters as they were before it."""
        row, counts = machine.row, machine.counts
        if row is not None and row.is_xslim:
            operands, numbers, model = machine.operands, NOTHING, NOTHING
            first = [_signed(value) for value in (*operands.values(), 0, 0, 0)][:3]
            if FORMS.get(row.mnemonic, 0) >= fetched.ROWS and self.figures[NAMED] and operands["count"]:
                numbers = _numbers(machine, operands["index"], operands["count"])
            if "attn.model" in machine.state:
                model = machine.state["attn.model"].astype(np.int64)
            if row.mnemonic in LISTED and self.figures[ATTENTION] and machine.csr_values[ROW_LIST] and operands["n"]:
                stride = int(machine.csr_values[LIST_STRIDE]) // 4
                numbers = _numbers(machine, int(machine.csr_values[ROW_LIST]), stride * max(int(model[4]) - 1, 0) + operands["n"])
            operation(self.words, self.figures, counts.view(np.int64), counted.view(np.int64), machine.csr_values.view(np.int64),
                      numbers, model, NUMBER[row.mnemonic], *first)
        elif counts[_EMITTED] != counted[_EMITTED]:
            token(self.words, self.figures, counts.view(np.int64))

    def memory(self, region: str) -> tuple[Words, Words]:
        """(figures, events) of the named memory of a region, for the rules of memory_rules.py or flash_rules.py: what the last
        operation of fetch did there. Raises KeyError for a region that fetch operations take no such rule for."""
        place = int(self.figures[REGION_FIGURES + REGION_FIGURE_WORDS * list(REGIONS).index(region) + MEMORY])
        if place <= 0:
            raise KeyError(region)
        return self.figures[place + fetched.FIGURES:], self.words[self.figures[place + fetched.EVENTS]:]

    def attention(self) -> dict[str, int] | None:
        """Rows opened and columns read by attention units in hbm so far; None where it has none (attention.py)."""
        if not self.figures[ATTENTION]:
            return None
        events = self.words[self.figures[ATTENTION_STATE]:]
        return {"rows_opened": int(events[attention.OPENED]), "columns_read": int(events[attention.READ])}

    def restore(self, words: Words, counts: Counts) -> None:
        """Go on from the state of another clock of the same machine, with the counters that it has seen. Raises ValueError for what
        no clock can have left."""
        for queue in range(len(QUEUES)):
            place = int(words[QUEUE_STATE + QUEUE_WORDS * queue + NEXT])
            if not 0 <= place <= max(int(self.figures[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + DEPTH]) - 1, 0):
                raise ValueError(f"the clock's place in queue {QUEUES[queue]} is {place}")
        end = end_of_rings(self.figures)
        records, links = words[BESIDE:end].reshape(-1, RECORD), words[BESIDE:end].reshape(-1, RECORD)[:, LINKS]
        for place in places_of_records():
            if words[place] != NOW and not (BESIDE <= words[place] < end and (words[place] - BESIDE) % RECORD == 0):
                raise ValueError(f"the clock's record {int(words[place])} is none")
        if len(records) and (min(links) < 0 or max(links // LINK ** 2) >= WORK - SUMS - 1
                             or max(links // LINK % LINK) >= WORK - SUMS - 1 or max(links % LINK) >= len(QUEUES)):
            raise ValueError("a record of the clock names a queue or a region that there is not")
        sums = np.concatenate((words[NOW:NOW + RECORD].reshape(1, -1), records))
        if min(words[:SEEN]) < 0 or (sums[:, :LINKS] < 0).any():
            raise ValueError("a time of the clock is below 0")
        if not np.array_equal(sums[:, SUMS:LINKS].sum(1), sums[:, CYCLE]):
            raise ValueError("a record of the clock does not add up")
        moments = [QUEUE_STATE + QUEUE_WORDS * queue + at for queue in range(len(QUEUES)) for at in (FREE, GATE)]
        for place in (*moments, *(SIGNALLED + 2 * tag for tag in range(TAGS))):         # the word behind it is where its record is
            if words[place] > words[NOW] and words[place] != words[words[place + 1]]:
                raise ValueError(f"a moment of the clock, {int(words[place])}, is not that of its record")
        if any(words[REGION_STATE + REGION_WORDS * region + MOVING] for region in range(len(REGIONS))):
            raise ValueError("the clock stands in the middle of an operation")
        if self.figures[BANKS] and self.preset.banks is not None and not bank_state.is_sound(
                words[self.figures[BANK_STATE]:], self.figures[self.figures[BANKS]:], self.preset.banks.channels):
            raise ValueError("the clock's state of the banks is invalid")
        self._compare(words, counts.view(np.int64))
        self.words[:] = words

    def _compare(self, words: Words, counts: Words) -> None:
        """Raise ValueError if a state does not belong to these counters: what units do gets its time at once, what the core does
        before the next operation."""
        seen = words[SEEN:SEEN + SLOTS]
        told = [counter for queue in QUEUE.values() if queue != CORE and not (queue == PIM and self.figures[BANKS])
                for counter in counters_of(self.figures, queue)]
        late = np.zeros(SLOTS, bool)
        late[told] = seen[told] != counts[told]
        for slot in np.flatnonzero(late | (seen < 0) | (seen > counts)).tolist():
            name = next((counter.name for counter in COUNTERS.values() if counter.slot == slot), f"slot {slot}")
            raise ValueError(f"the clock has seen {int(seen[slot])} {name}, the counter is {int(counts[slot])}")
        if words[TOKENS] > counts[_EMITTED]:
            raise ValueError(f"the clock has seen {int(words[TOKENS])} tokens, {int(counts[_EMITTED])} were emitted")

    def time(self, counts: Counts) -> Time:
        """The time so far."""
        t = self.words
        core_time(t, self.figures, counts.view(np.int64))
        cycles, record = int(all_done(t)), int(last_record(t))
        sums = zip((*QUEUES, *REGIONS), t[record + SUMS:record + LINKS].tolist(), strict=True)
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
        return Time(cycles, self.preset.clock_hz, queues, regions, path, int(t[TOKENS]), first, last, self.attention())


def _numbers(machine: Any, address: int, count: int) -> Words:
    """The numbers of a list in memory."""
    return np.asarray(machine.memory[address:address + 4 * count].view("<u4").astype(np.int64))


def _signed(value: int) -> int:
    """As a register of 64 bits holds it, with a sign."""
    return (int(value) + (1 << 63)) % (1 << 64) - (1 << 63)
