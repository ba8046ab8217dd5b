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

Where a region names a memory, operations of fetch go by its rows or pages: what they take there is what its rule says of the places
that they touch, and the latency is in it. Where hbm names a memory with attention units, the same holds for operations of attn and
the rule of attention.

Where the hbm region names a memory with processors, the rule of banks says when an operation of pim ends, and on the channels that
it works on, the next one begins when they can take it. Operations on other channels overlap with it. They start in the order of the
program, each when it has been issued, tags have been signalled, and no other unit moves bytes of hbm. Other units wait with theirs
until all operations of pim that were issued before have ended.

Each cycle of a queue is busy, waits for a reason, or is idle: nothing was issued. So is each cycle of the core, which is idle when
the program has ended and units still work.

The critical path is what the run's time is made of: a chain of core time, unit time and region time in which each link starts when
the one before it ends. It is kept as one sum for each of these, in the record of every operation that a queue can hold. Whoever
waits for a moment takes over the sums of its record. So the sums of the last moment add up to the time of the run, without a log.
A record is used again only when the core has waited for the end of its operation. By then its bytes have moved too, and nobody
waits any more for what the core has seen pass. Only bytes of pim outside of hbm may move beyond the end: each region has a record
for these.

The rules below are functions of int64 arrays, for either engine. `t` is the clock's state, `r` holds the figures of a preset,
`counts` the counters by slot, `csrs` the CSRs by number. The words of both arrays are listed first.
"""

from __future__ import annotations

from isa.counters import COUNTERS, SLOTS
from isa.csrs import CSRS
from isa.queues import CORE, QUEUE, QUEUES
from isa.regions import HBM, REGIONS
from isa.timing.attention import QUERY, REFI, SOFTMAX, attention_cycles, count_whole, listed_cycles, lost
from isa.timing.bank_state import BANKS as BANKS_OF_A_CHANNEL
from isa.timing.banks import bank_operation
from isa.timing.fetched import cycles as fetched_cycles
from isa.timing.memory_rules import refreshed
from isa.timing.rates import CORE_RATES, CYCLES_WORDS, Words, cycles_of, rule, scaled
from isa.units.sync import TAGS

LINE = 8        # words of a line of a cache: what an operation needs together stands in one, both arrays begin with one

# ------------------------------------------------------------------------------------------------ words of the state

REASONS = ("signal", "memory", "full queue", "fence", "result")
"""What a queue or the core can wait for: a tag; a region that another operation uses; room in a queue; all queues; a value."""
FOR_SIGNAL, FOR_MEMORY, FOR_ROOM, FOR_FENCE, FOR_RESULT = range(len(REASONS))

# A moment is a cycle and the place of its record. A record has the sums of its critical path: of each queue, then of each region.
CYCLE, SUMS = 0, 1
LINKS, WORK = SUMS + len(QUEUES) + len(REGIONS), SUMS + len(QUEUES) + len(REGIONS) + 1      # of an operation: see `behind_region`
RECORD = 3 * LINE                                       # words of it
assert WORK < RECORD

PART, TOKENS, FIRST_TOKEN, LAST_TOKEN = range(4)        # of a cycle of the core; tokens emitted, when: the first and the last
TOUCHED = 4                                             # in how many regions the operation moves bytes that is issued now, in which
assert TOUCHED + len(REGIONS) < RECORD
NOW = RECORD                                            # the core's record
QUEUE_STATE = NOW + RECORD
FREE, FREE_AT, GATE, GATE_AT = range(4)                 # of each queue, moments: end of its last operation; tags that it waits for
BUSY, NEXT, WAITED = 4, 5, 6                            # cycles busy; place in its ring; cycles waited, by reason
QUEUE_WORDS = 2 * LINE                                  # a unit waits for the first two reasons alone
assert FOR_MEMORY == 1 and WAITED + FOR_MEMORY < LINE and WAITED + len(REASONS) <= QUEUE_WORDS
REGION_STATE = QUEUE_STATE + QUEUE_WORDS * len(QUEUES)
# FREE, FREE_AT: of each region, the moment from which on it is free: behind the start of the operation that is recorded there
LAST, MOVING, REGION_BUSY = 2, 3, 4                     # cycles of its last operation; of the one that is issued now; of all
REGION_WORDS = LINE
SIGNALLED = REGION_STATE + REGION_WORDS * len(REGIONS)  # (TAGS) moments: the latest signal of each tag
SEEN = SIGNALLED + 2 * TAGS                             # (SLOTS) counters, as far as their events have been given time
BESIDE = -(-(SEEN + SLOTS) // RECORD) * RECORD          # of each region the record of an operation of pim that moves bytes there
RINGS = BESIDE + RECORD * len(REGIONS)                  # for each queue the records of as many operations as it holds

# ------------------------------------------------------------------------------------------------ words of the figures

QUEUE_FIGURES = 0
START, DEPTH, RING, TERMS, PORTS = range(5)             # of each queue: start-up cycles; operations that it holds; where its ring,
QUEUE_FIGURE_WORDS = LINE                               # its terms and its ports stand: their number, then of each its region and
READ, WRITTEN, PORT_WORDS = range(1, 4)                 # the slots of the region's counters
REGION_FIGURES = QUEUE_FIGURES + QUEUE_FIGURE_WORDS * len(QUEUES)
LATENCY, MEMORY, CYCLES = range(3)                      # of each region: where the figures of its memory are (fetched.py), 0: none,
REGION_FIGURE_WORDS = LINE                              # -1: one for attention alone; cycles of a byte
assert CYCLES + CYCLES_WORDS <= LINE
CORE_FIGURES = REGION_FIGURES + REGION_FIGURE_WORDS * len(REGIONS)  # of each rate of the core: whole cycles of an event, and what
LOAD_FIGURES = CORE_FIGURES + 2 * len(CORE_RATES)       # is left, in PARTS; of a load from each region
BANKS = LOAD_FIGURES + 2 * len(REGIONS)                 # where the figures of the banks stand, 0 without; where their state stands;
BANK_STATE, BANK_CYCLES, MACHINE_CYCLES = BANKS + 1, BANKS + 2, BANKS + 3       # so many bank cycles are so many of the machine
NAMED = BANKS + 4                                       # 1 where fetch operations go by rules of memories
ATTENTION, ATTENTION_CYCLES, OWN_CYCLES = NAMED + 1, NAMED + 2, NAMED + 3       # where the figures of attention in hbm stand, or
ATTENTION_STATE = NAMED + 4                             # 0; so many of its cycles are so many of the machine; where its events are
OPERATIONS = -(-(NAMED + 5) // LINE) * LINE

# Of each Xslim instruction: into which queue it goes, 0: none; whether it does anything of what follows from SIGNALS on. A queue
# that signals; one more than a queue that waits; a fence; a queue whose result it has; the CSR of the tag, -1: the first operand.
(ISSUES, ORDERS, FORM, SIGNALS, WAITS, FENCES, RESULTS, TAG_CSR) = range(LINE)
ELEMENT_BYTES, KIND, BANK, ROW, COLUMNS, COUNT, EVERY, SECOND = range(LINE, 2 * LINE)
OPERATION_WORDS = 2 * LINE
# FORM: of fetch (fetched.py), or one more than the step of attn (attention.py), whose elements have ELEMENT_BYTES. From KIND on: of
# pim (isa/units/pim/kinds.py), operands by position, -1: none.

EVENTS, LESS, TERM_WORDS = range(3)                     # Terms: their number; of each the slots of its counter and of another one,
                                                        # whose events it does without (-1: none); of each the cycles of an event


# ------------------------------------------------------------------------------------------------ rules


@rule
def copy(t: Words, record: int, source: int) -> None:
    """Make the path of a record that of another one."""
    t[record:record + LINKS] = t[source:source + LINKS]


@rule
def add(t: Words, record: int, link: int, cycles: int) -> None:
    """Let a queue, or a region (QUEUE_COUNT more than its number), take some cycles more."""
    t[record] += cycles
    t[record + SUMS + link] += cycles


@rule
def behind_region(t: Words, r: Words, record: int, region: int) -> None:
    """Make the path of a record that of the moment from which on a region is free.

    The operation that moves bytes there began as this record does. So what it went through itself is taken off its path."""
    state = REGION_STATE + REGION_WORDS * region
    source = t[state + FREE_AT]
    copy(t, record, source)
    links = t[source + LINKS]
    queue, farthest = links % LINK, links // LINK % LINK
    t[record + SUMS + queue] -= r[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + START]
    if farthest >= QUEUE_COUNT:
        t[record + SUMS + farthest] -= r[REGION_FIGURES + REGION_FIGURE_WORDS * (farthest - QUEUE_COUNT) + LATENCY]
    t[record + SUMS + links // (LINK * LINK)] -= t[source + WORK]
    t[record + SUMS + QUEUE_COUNT + region] += t[state + LAST]
    t[record] = t[state + FREE]


@rule
def spend(t: Words, r: Words, counts: Words, slot: int, figure: int) -> None:
    """Give time to events of the core, by a counter and its figures. Most have had none since the last operation."""
    events = counts[slot] - t[SEEN + slot]
    if events != 0:
        t[SEEN + slot] = counts[slot]
        whole = events * r[figure]
        if r[figure + 1] > 0:
            parts = t[PART] + events * r[figure + 1]
            whole += parts // PARTS
            t[PART] = parts % PARTS
        add(t, NOW, CORE, whole)
        t[QUEUE_STATE + BUSY] += whole


@rule
def core_time(t: Words, r: Words, counts: Words) -> None:
    """Give time to what the core has executed so far."""
    spend(t, r, counts, INSTRUCTIONS, CORE_FIGURES)
    spend(t, r, counts, TAKEN_BRANCHES, CORE_FIGURES + 2)
    spend(t, r, counts, MULTIPLICATIONS, CORE_FIGURES + 4)
    spend(t, r, counts, DIVISIONS, CORE_FIGURES + 6)
    spend(t, r, counts, SERVICES, CORE_FIGURES + 8)
    if counts[LOADS] != t[SEEN + LOADS]:
        t[SEEN + LOADS] = counts[LOADS]
        for region in range(REGION_COUNT):
            spend(t, r, counts, REGION_LOADS + region, LOAD_FIGURES + 2 * region)


@rule
def hold_core(t: Words, cycle: int, record: int, reason: int) -> None:
    """The core waits for a moment."""
    if cycle > t[NOW]:
        t[QUEUE_STATE + WAITED + reason] += cycle - t[NOW]
        copy(t, NOW, record)


@rule
def work_of(t: Words, r: Words, counts: Words, place: int) -> int:
    """Cycles of the events since the last operation: the longest of some terms. Those that do without others come before these."""
    work, figure = 1, place + 1 + TERM_WORDS * r[place]
    for term in range(place + 1, figure, TERM_WORDS):
        slot = r[term + EVENTS]
        events = counts[slot] - t[SEEN + slot]
        if events > 0:
            less = r[term + LESS]
            t[SEEN + slot] = counts[slot]
            if less >= 0:
                events -= counts[less] - t[SEEN + less]
            work = max(work, cycles_of(r, figure + (term - place - 1) // TERM_WORDS * CYCLES_WORDS, events))
    return work


@rule
def move(t: Words, r: Words, counts: Words, earlier: Words, ports: int, but: int, start: int) -> int:
    """Give time to the bytes that an operation moves in regions, but one, and note these in TOUCHED. Returns the region that it has
    to wait for, which is busy beyond `start` and longest; -1: none."""
    latest, touched = -1, 0
    for port in range(ports + 1, ports + 1 + PORT_WORDS * r[ports], PORT_WORDS):
        read, written = r[port + READ], r[port + WRITTEN]
        size = counts[read] - earlier[read]
        if written != read:
            size += counts[written] - earlier[written]
        if size > 0:
            region = r[port]
            state, figures = REGION_STATE + REGION_WORDS * region, REGION_FIGURES + REGION_FIGURE_WORDS * region
            if region != but:
                touched += 1
                t[TOUCHED + touched] = region
                t[state + MOVING] = cycles_of(r, figures + CYCLES, size)
            if t[state + FREE] > start:
                start, latest = t[state + FREE], region
    t[TOUCHED] = touched
    return latest


@rule
def occupy(t: Words, region: int, start: int, record: int) -> None:
    """An operation moves bytes in a region, from its start on."""
    state = REGION_STATE + REGION_WORDS * region
    t[state + LAST] = t[state + MOVING]
    t[state + FREE] = start + t[state + MOVING]
    t[state + FREE_AT] = record
    t[state + REGION_BUSY] += t[state + MOVING]
    t[state + MOVING] = 0


@rule
def room(t: Words, r: Words, queue: int) -> int:
    """The record of the next operation of a queue. The core waits until the one that was recorded there has ended."""
    record = r[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + RING] + RECORD * t[QUEUE_STATE + QUEUE_WORDS * queue + NEXT]
    hold_core(t, t[record], record, FOR_ROOM)
    return record


@rule
def begin(t: Words, r: Words, counts: Words, earlier: Words, queue: int, record: int) -> int:
    """The cycle in which an operation starts. Its path until then goes into its record."""
    state = QUEUE_STATE + QUEUE_WORDS * queue
    ready, source = t[state + FREE], t[state + FREE_AT]
    if t[NOW] > ready:
        ready, source = t[NOW], NOW
    signalled = ready
    if t[state + GATE] > ready:
        signalled, source = t[state + GATE], t[state + GATE_AT]
    start = signalled
    region = move(t, r, counts, earlier, r[QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue + PORTS], -1, signalled)
    if region >= 0:
        start = t[REGION_STATE + REGION_WORDS * region + FREE]
    banks = QUEUE_STATE + QUEUE_WORDS * PIM
    if t[banks + FREE] > start and t[HBM_STATE + MOVING] > 0:
        start, source, region = t[banks + FREE], t[banks + FREE_AT], -1
    t[state + WAITED + FOR_SIGNAL] += signalled - ready
    t[state + WAITED + FOR_MEMORY] += start - signalled
    if region >= 0:
        behind_region(t, r, record, region)
    else:
        copy(t, record, source)
    return start


@rule
def end(t: Words, r: Words, counts: Words, queue: int, record: int, start: int, exact: int) -> None:
    """An operation that has started ends. `exact`: in the cycles of which memories the latency is, 0: of none, 1: of those with
    rules for fetch, -1: of the one for attention."""
    state, figures = QUEUE_STATE + QUEUE_WORDS * queue, QUEUE_FIGURES + QUEUE_FIGURE_WORDS * queue
    work, slowest, latency, farthest = work_of(t, r, counts, r[figures + TERMS]), queue, 0, queue
    for i in range(t[TOUCHED]):
        region = t[TOUCHED + 1 + i]
        cycles, memory = t[REGION_STATE + REGION_WORDS * region + MOVING], REGION_FIGURES + REGION_FIGURE_WORDS * region
        occupy(t, region, start, record)
        if cycles > work:
            work, slowest = cycles, QUEUE_COUNT + region
        if r[memory + LATENCY] > latency and exact * r[memory + MEMORY] <= 0:
            latency, farthest = r[memory + LATENCY], QUEUE_COUNT + region
    add(t, record, queue, r[figures + START])
    add(t, record, farthest, latency)
    add(t, record, slowest, work)
    t[record + LINKS] = queue + LINK * (farthest + LINK * slowest)
    t[record + WORK] = work
    t[state + FREE] = t[record]
    t[state + FREE_AT] = record
    t[state + BUSY] += t[record] - start
    t[state + NEXT] = t[state + NEXT] + 1 if t[state + NEXT] + 1 < r[figures + DEPTH] else 0


@rule
def issue(t: Words, r: Words, counts: Words, earlier: Words, queue: int) -> None:
    """An operation has gone into a queue, and has been executed."""
    record = room(t, r, queue)
    end(t, r, counts, queue, record, begin(t, r, counts, earlier, queue, record), 0)


@rule
def issue_fetch(t: Words, r: Words, counts: Words, earlier: Words, csrs: Words, numbers: Words, form: int, a: int, b: int,
                c: int) -> None:
    """An operation has gone into the queue of fetch. Memories with rules of their own say how long it takes there. Numbers alone:
    it is compiled."""
    record = room(t, r, FETCH)
    start = begin(t, r, counts, earlier, FETCH, record)
    rows, size = counts[FETCH_ROWS] - t[SEEN + FETCH_ROWS], counts[FETCH_BYTES] - t[SEEN + FETCH_BYTES]
    for region in range(REGION_COUNT):
        state, memory = REGION_STATE + REGION_WORDS * region, r[REGION_FIGURES + REGION_FIGURE_WORDS * region + MEMORY]
        if memory > 0 and t[state + MOVING] > 0:
            t[state + MOVING] = fetched_cycles(t, r[memory:], csrs, numbers, form, a, b, c, rows, size, start)
    end(t, r, counts, FETCH, record, start, 1)


@rule
def issue_attention(t: Words, r: Words, counts: Words, earlier: Words, csrs: Words, numbers: Words, model: Words,
                    row: int) -> None:
    """An operation of attn has gone into its queue. The memory with the units says how long it takes there."""
    record = room(t, r, ATTN)
    start, step, exact = begin(t, r, counts, earlier, ATTN, record), r[row + FORM] - 1, 0
    if step == QUERY and t[HBM_STATE + MOVING] == 0:            # it goes into the memory, wherever it comes from
        t[TOUCHED] += 1
        t[TOUCHED + t[TOUCHED]] = HBM_REGION
        if t[HBM_STATE + FREE] > start:
            t[QUEUE_STATE + QUEUE_WORDS * ATTN + WAITED + FOR_MEMORY] += t[HBM_STATE + FREE] - start
            start = t[HBM_STATE + FREE]
            behind_region(t, r, record, HBM_REGION)
    if step == QUERY or (step != SOFTMAX and t[HBM_STATE + MOVING] > 0):
        exact = -1
        heads, head_dim, tokens = model[4], model[2], 0
        if heads * head_dim > 0:
            tokens = (counts[ATTN_MACS] - t[SEEN + ATTN_MACS]) // (heads * head_dim)
        m, own, theirs, size = r[r[ATTENTION]:], r[OWN_CYCLES], r[ATTENTION_CYCLES], r[row + ELEMENT_BYTES]
        events = t[r[ATTENTION_STATE]:]
        if step != QUERY and csrs[ROW_LIST] != 0:
            cycles = listed_cycles(m, events, step, heads, tokens, head_dim, size, numbers, csrs[LIST_STRIDE] // 4)
        else:
            cycles = attention_cycles(m, step, heads, tokens, head_dim, size)
            count_whole(m, events, heads, tokens, head_dim, size)
        t[HBM_STATE + MOVING] = scaled(refreshed(scaled(start, theirs, own), cycles, m[REFI], lost(m)), own, theirs) - start
    end(t, r, counts, ATTN, record, start, exact)


@rule
def operand(at: int, a: int, b: int, c: int) -> int:
    """The operand at a position, 0 for none."""
    if at < 0:
        return 0
    return a if at == 0 else b if at == 1 else c


@rule
def issue_to_banks(t: Words, r: Words, counts: Words, earlier: Words, csrs: Words, row: int, a: int, b: int, c: int) -> None:
    """An operation has gone into the queue of pim. The rule of banks says when it ends. One on other channels may end before it."""
    state, figures = QUEUE_STATE + QUEUE_WORDS * PIM, QUEUE_FIGURES + QUEUE_FIGURE_WORDS * PIM
    record, ports = room(t, r, PIM), r[figures + PORTS]
    signalled, source, region = t[NOW], NOW, -1
    if t[state + GATE] > signalled:
        signalled, source = t[state + GATE], t[state + GATE_AT]
    start = signalled
    if t[HBM_STATE + FREE] > start:
        start, region = t[HBM_STATE + FREE], HBM_REGION
    other = move(t, r, counts, earlier, ports, HBM_REGION, start)
    if other >= 0:
        start, region = t[REGION_STATE + REGION_WORDS * other + FREE], other
    free = t[state + FREE]
    t[state + WAITED + FOR_SIGNAL] += max(0, signalled - max(t[NOW], free))
    t[state + WAITED + FOR_MEMORY] += max(0, start - max(signalled, free))
    if region >= 0:
        behind_region(t, r, record, region)
    else:
        copy(t, record, source)
    for i in range(t[TOUCHED]):                                 # these bytes may move beyond the operation's end
        region = t[TOUCHED + 1 + i]
        beside = BESIDE + RECORD * region
        copy(t, beside, record)
        t[beside + LINKS] = PIM + LINK * (PIM + LINK * PIM)
        t[beside + WORK] = -r[figures + START]
        occupy(t, region, start, beside)
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
    add(t, record, PIM, end - start)
    t[record + LINKS] = PIM + LINK * (PIM + LINK * PIM)
    t[record + WORK] = end - start - r[figures + START]
    t[state + BUSY] += max(0, end - max(free, start))
    if end > free:
        t[state + FREE] = end
        t[state + FREE_AT] = record
    t[state + NEXT] = t[state + NEXT] + 1 if t[state + NEXT] + 1 < r[figures + DEPTH] else 0


@rule
def operation(t: Words, r: Words, counts: Words, earlier: Words, csrs: Words, numbers: Words, model: Words, number: int, a: int,
              b: int, c: int) -> None:
    """An Xslim instruction has been executed, and the core has not counted it yet. Numbers alone: it is compiled.

    `earlier`: the counters before it, of which the bytes of regions are read. `number` in MNEMONICS; its first operands; the
    numbers of its index list; state attn.model."""
    row = OPERATIONS + OPERATION_WORDS * number
    if r[row + ISSUES] == PIM and r[BANKS] > 0:
        core_time(t, r, counts)
        issue_to_banks(t, r, counts, earlier, csrs, row, a, b, c)
        order(t, r, csrs, row, a)
    else:
        operation_outside_of_banks(t, r, counts, earlier, csrs, numbers, model, number, a, b, c)


@rule
def operation_outside_of_banks(t: Words, r: Words, counts: Words, earlier: Words, csrs: Words, numbers: Words, model: Words,
                               number: int, a: int, b: int, c: int) -> None:
    """The same for an instruction of any unit but pim. Numbers alone, as of `operation`. It compiles faster."""
    row = OPERATIONS + OPERATION_WORDS * number
    if r[row + FORM] > 0 and r[row + ISSUES] == FETCH and r[NAMED] > 0:
        core_time(t, r, counts)
        issue_fetch(t, r, counts, earlier, csrs, numbers, r[row + FORM], a, b, c)
        order(t, r, csrs, row, a)
    elif r[row + FORM] > 0 and r[row + ISSUES] == ATTN and r[ATTENTION] > 0:
        core_time(t, r, counts)
        issue_attention(t, r, counts, earlier, csrs, numbers, model, row)
        order(t, r, csrs, row, a)
    else:
        simple_operation(t, r, counts, earlier, csrs, number, a)


@rule
def simple_operation(t: Words, r: Words, counts: Words, earlier: Words, csrs: Words, number: int, a: int) -> None:
    """The same for an instruction of any unit but pim, fetch and attn. It compiles fastest."""
    row = OPERATIONS + OPERATION_WORDS * number
    core_time(t, r, counts)
    if r[row + ISSUES] > 0:
        issue(t, r, counts, earlier, r[row + ISSUES])
    order(t, r, csrs, row, a)


@rule
def order(t: Words, r: Words, csrs: Words, row: int, a: int) -> None:
    """Signals, waits, fences and results of an instruction."""
    if r[row + ORDERS] == 0:
        return
    if r[row + SIGNALS] > 0 or r[row + WAITS] > 0:
        tag = a if r[row + TAG_CSR] < 0 else csrs[r[row + TAG_CSR]]
        signal = SIGNALLED + 2 * tag
        if r[row + SIGNALS] > 0 and tag > 0:
            state = QUEUE_STATE + QUEUE_WORDS * r[row + SIGNALS]
            cycle, record = t[state + FREE], t[state + FREE_AT]
            if t[state + GATE] > cycle:
                cycle, record = t[state + GATE], t[state + GATE_AT]
            if t[NOW] > cycle:
                cycle, record = t[NOW], NOW
            t[signal] = cycle
            t[signal + 1] = record
        if r[row + WAITS] - 1 == CORE:
            hold_core(t, t[signal], t[signal + 1], FOR_SIGNAL)
        elif r[row + WAITS] > 0:
            state = QUEUE_STATE + QUEUE_WORDS * (r[row + WAITS] - 1)
            if t[signal] > t[state + GATE]:
                t[state + GATE] = t[signal]
                t[state + GATE_AT] = t[signal + 1]
    if r[row + FENCES] > 0:
        hold_core(t, all_done(t), last_record(t), FOR_FENCE)
    if r[row + RESULTS] > 0:
        state = QUEUE_STATE + QUEUE_WORDS * r[row + RESULTS]
        hold_core(t, t[state + FREE], t[state + FREE_AT], FOR_RESULT)


@rule
def all_done(t: Words) -> int:
    """The cycle from which on the core and every queue have nothing to do."""
    end = t[NOW]
    for queue in range(1, QUEUE_COUNT):
        state = QUEUE_STATE + QUEUE_WORDS * queue
        end = max(end, t[state + FREE], t[state + GATE])
    return end


@rule
def last_record(t: Words) -> int:
    """The record of that moment."""
    end, record = t[NOW], NOW
    for queue in range(1, QUEUE_COUNT):
        state = QUEUE_STATE + QUEUE_WORDS * queue
        if t[state + FREE] > end:
            end, record = t[state + FREE], t[state + FREE_AT]
        if t[state + GATE] > end:
            end, record = t[state + GATE], t[state + GATE_AT]
    return record


@rule
def token(t: Words, r: Words, counts: Words) -> None:
    """The program has emitted a token."""
    core_time(t, r, counts)
    if t[TOKENS] == 0:
        t[FIRST_TOKEN] = t[NOW]
    t[TOKENS] += 1
    t[LAST_TOKEN] = t[NOW]


QUEUE_COUNT, REGION_COUNT = len(QUEUES), len(REGIONS)
PARTS = 1 << 20             # of a cycle of the core, to which its figures are rounded up: half a cycle is exact, a third nearly
LINK = 256                  # beyond the number of any queue or region, which stand together in a word of a record
INSTRUCTIONS, TAKEN_BRANCHES, MULTIPLICATIONS, DIVISIONS, SERVICES = (COUNTERS[rate.counter].slot for rate in CORE_RATES)
LOADS, REGION_LOADS = COUNTERS["core.loads"].slot, next(iter(REGIONS.values())).loads
assert [kind.loads for kind in REGIONS.values()] == [*range(REGION_LOADS, REGION_LOADS + REGION_COUNT)]
ATTN, ATTN_MACS = QUEUE["attn"], COUNTERS["attn.macs"].slot
ROW_LIST, LIST_STRIDE = CSRS["attn.row_list"].address, CSRS["attn.list_stride"].address
FETCH, FETCH_ROWS, FETCH_BYTES = QUEUE["fetch"], COUNTERS["fetch.rows"].slot, COUNTERS["fetch.bytes"].slot
PIM, HBM_REGION = QUEUE["pim"], list(REGIONS).index(HBM)
HBM_STATE = REGION_STATE + REGION_WORDS * HBM_REGION
CHANNEL_MASK, NEXT_BANK = CSRS["pim.channel_mask"].address, CSRS["pim.next_bank"].address      # of the first of four masks
