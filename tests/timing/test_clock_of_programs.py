"""The clock over whole programs: what adds up, what comes before what, and that it changes nothing."""

import numpy as np
import pytest
from both_engines import run_program

from asm.assembler import assemble
from emulator.machine import Machine
from isa.counters import COUNTERS
from isa.preset import load_preset
from isa.program import Program
from isa.queues import CORE, QUEUES, Action, Order, Tag, edges
from isa.reference import ReferenceMachine, Step
from isa.services import Host
from isa.shipped import PROGRAMS
from isa.timing import bank_state
from isa.timing import clock_rules as words

EXAMPLES = sorted(path.stem for path in PROGRAMS.glob("*.s"))


def example(name: str) -> Program:
    return assemble(PROGRAMS / f"{name}.s")


def adds_up(machine: ReferenceMachine) -> None:
    """Every cycle of a queue is busy, waited for or idle; the critical path is the whole time."""
    time = machine.time
    assert time is not None and time.cycles > 0
    for name, queue in time.queues.items():
        assert queue.busy + sum(queue.waiting.values()) + queue.idle == time.cycles, name
        assert min(queue.busy, queue.idle, *queue.waiting.values(), 0) == 0, name
    assert sum(time.critical_path.values()) == time.cycles
    assert all(0 <= cycles <= time.cycles for cycles in time.regions.values())
    t = machine.clocks[0].words
    for queue in range(1, len(QUEUES)):
        free = words.QUEUE_STATE + words.QUEUE_WORDS * queue + words.FREE
        record = t[free + 1]
        assert t[record] == t[record + words.SUMS:record + words.LINKS].sum()
        assert t[free] in (0, t[record])


@pytest.mark.parametrize("name", EXAMPLES)
def test_sums(name: str) -> None:
    machine = Machine(example(name).machine)
    machine.load(example(name))
    machine.run()
    adds_up(machine)


class Starts:
    """Holds each operation against what the hazard check's order says must be done before it."""

    def __init__(self, machine: ReferenceMachine) -> None:
        self.order, self.ends, self.checked = Order(), {0: 0}, 0
        self.before = machine.clocks[0].words.copy()
        machine.hook(self)

    def __call__(self, machine: ReferenceMachine, step: Step) -> None:
        t, before = machine.clocks[0].words, self.before
        if step.row is None or step.trap is not None:
            return
        for action, queue, tag in edges(step.row):
            number = 0 if tag is None else step.values["tag"] if tag is Tag.OPERAND else machine.csr("fetch.tag")
            state = words.QUEUE_STATE + words.QUEUE_WORDS * queue
            if action is Action.ISSUE:
                figures = machine.clocks[0].figures[words.QUEUE_FIGURES + words.QUEUE_FIGURE_WORDS * queue:]
                end = int(t[figures[words.RING] + words.RECORD * before[state + words.NEXT]])
                others = [other for other in range(1, len(QUEUES)) if other != queue or queue != words.PIM]
                known = max(self.ends[self.order.knows(queue, other)] for other in others)
                if queue == words.PIM:                          # operations on other channels may end first
                    assert end > known
                else:
                    start = end - int(t[state + words.BUSY] - before[state + words.BUSY])
                    assert start >= known and end > start
                self.ends[self.order.issue(queue)] = end
                self.checked += 1
            elif action is Action.SIGNAL and number:
                self.order.signal(queue, number)
            elif action is Action.WAIT:
                self.order.wait(queue, number)
            elif action is Action.FENCE:
                self.order.fence()
            elif action is Action.RESULT:
                self.order.result(queue)
        known = max(self.ends[self.order.knows(CORE, other)] for other in range(1, len(QUEUES)) if other != words.PIM)
        assert t[words.NOW] >= known                            # what the core knows to be done is done
        self.before = t.copy()


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_starts_before_what_the_hazard_check_wants_done(name: str) -> None:
    machine = ReferenceMachine(example(name).machine)
    machine.load(example(name))
    starts = Starts(machine)
    machine.run()
    assert starts.checked == sum(machine.counter(f"{unit}.ops") for unit in QUEUES[1:])


def test_a_token_that_is_stepped_to() -> None:
    """Without a run before: the fast engine has described nothing to compiled code. With one, it is told of it there."""
    program = assemble(".machine slim\n.text\n_start: li a7, 0x5111\necall\nvec.relu.f32 t0, t0, zero\necall\nli a7, 93\necall\n")
    times = []
    for engine, steps in ((Machine, 2), (Machine, 0), (ReferenceMachine, 0)):
        machine = engine("slim", Host([1]))
        machine.load(program)
        for _ in range(steps):
            assert machine.step() is None
        machine.run()
        assert machine.counter("tokens.emitted") == 2
        times.append(machine.time)
    assert times[0] == times[1] == times[2] and times[0].first_token == 103 and times[0].last_token > 200


@pytest.mark.parametrize("name", ["double_buffer", "llama_layer"])
def test_the_clock_changes_nothing(name: str) -> None:
    timed, plain = (Machine(example(name).machine, time=time) for time in (True, False))
    for machine in (timed, plain):
        machine.load(example(name))
        machine.run()
    assert plain.time is None and plain.clocks == [] and timed.time is not None
    assert np.array_equal(timed.counts, plain.counts) and timed.host.output == plain.host.output
    assert timed.handed_over == plain.handed_over


def test_a_run_in_pieces_takes_as_long() -> None:
    whole, pieces = (Machine("slim") for _ in range(2))
    for machine in (whole, pieces):
        machine.load(example("sparse_ffn"))
    whole.run()
    while pieces.run(max_instructions=7).reason == "limit":
        adds_up(pieces)                                         # also of a run that has not ended
    assert whole.time == pieces.time and np.array_equal(whole.clocks[0].words, pieces.clocks[0].words)


def test_tokens() -> None:
    lines = "_start: li a7, 0x5111\n ecall\n li t0, 5\n1: addi t0, t0, -1\n bnez t0, 1b\n ecall\n li a7, 93\n ecall\n"
    machine = ReferenceMachine("slim", Host([]))
    machine.load(assemble(lines))
    assert machine.time is not None and machine.time.tokens_per_second is None and machine.time.first_token is None
    machine.run()
    time = machine.time
    core = machine.preset.rates
    assert time is not None and core is not None and time.tokens == 2
    service, taken = int(core["core.service_cycles"]), int(core["core.taken_branch_cycles"])
    assert time.first_token == 3 + service                      # slim: an instruction a cycle; `li` of this number is two
    assert time.last_token == time.first_token + 1 + 10 + 4 * taken + 1 + service
    assert time.tokens_per_second == pytest.approx(1e9 / (time.last_token - time.first_token))


def test_snapshots_hold_the_clock(tmp_path) -> None:
    machine = Machine("slim")
    machine.load(example("sparse_ffn"))
    machine.run(max_instructions=700)
    example("sparse_ffn").save(tmp_path / "p.elf")
    machine.save(tmp_path / "s.npz")
    restored = ReferenceMachine.restore(tmp_path / "s.npz", example("sparse_ffn"))
    machine.run()
    restored.run()
    assert restored.time == machine.time
    untimed = Machine.restore(tmp_path / "s.npz", example("sparse_ffn"), time=False)
    assert untimed.run().reason == "exit" and untimed.time is None


def test_a_clock_takes_no_state_that_it_cannot_have() -> None:
    machine = Machine("hbm2-pim")
    machine.load(example("pim_crf_gemv"))
    machine.run(max_instructions=2000)
    timer = machine.clocks[0]
    good, banks = timer.words.copy(), int(timer.figures[words.BANK_STATE])
    timer.restore(good, machine.counts)
    ring = words.QUEUE_STATE + words.QUEUE_WORDS * words.PIM + words.NEXT
    first = banks + bank_state.HEAD_WORDS
    for place, value in ((ring, 10 ** 6), (ring, -1), (banks + bank_state.SETS, 0), (banks + bank_state.SETS, 65),
                         (banks + bank_state.SETS, 64), (first + bank_state.MASK, 0), (first + bank_state.WINDOW_NEXT, 4),
                         (first + bank_state.LEVEL, 3)):
        bad = good.copy()
        bad[place] = value
        with pytest.raises(ValueError, match="the clock's"):
            timer.restore(bad, machine.counts)


def test_each_sum_and_moment_of_a_restored_clock_is_checked() -> None:
    machine = Machine("slim")
    machine.load(example("llama_layer"))
    machine.run(max_instructions=400)
    timer, good = machine.clocks[0], machine.clocks[0].words.copy()
    vec = words.QUEUE_STATE + words.QUEUE_WORDS * QUEUES.index("vec")
    assert good[vec + words.FREE_AT] >= words.RINGS
    record, later = int(good[vec + words.FREE_AT]), int(good[words.NOW]) + 10 ** 6
    for place, value, says in (
            (vec + words.FREE, later, "is not that of its record"), (vec + words.GATE, later, "is not that of its record"),
            (words.SIGNALLED + 2, later, "is not that of its record"), (vec + words.FREE_AT, record + 1, "is none"),
            (record, later, "does not add up"), (record + words.SUMS, -1, "below 0"), (vec + words.BUSY, -1, "below 0"),
            (record + words.LINKS, 255, "that there is not"), (words.HBM_STATE + words.MOVING, 1, "in the middle")):
        bad = good.copy()
        bad[place] = value
        with pytest.raises(ValueError, match=says):
            timer.restore(bad, machine.counts)
    timer.restore(good, machine.counts)


def test_a_restored_clock_belongs_to_the_counters() -> None:
    """What a unit has done has been given time, what the core has done perhaps; nothing more."""
    machine = Machine("slim")
    machine.load(example("llama_layer"))
    machine.run(max_instructions=400)
    timer, good, counts = machine.clocks[0], machine.clocks[0].words.copy(), machine.counts
    core, unit = COUNTERS["core.instructions"].slot, COUNTERS["vec.elements"].slot
    assert good[words.SEEN + core] <= counts[core] and good[words.SEEN + unit] == counts[unit] > 0
    for slot, change, says in ((core, 10 ** 6, "core.instructions"), (unit, 1, "vec.elements"), (unit, -1, "vec.elements")):
        bad = good.copy()
        bad[words.SEEN + slot] += change
        with pytest.raises(ValueError, match=f"the clock has seen {bad[words.SEEN + slot]} {says}, the counter is {counts[slot]}"):
            timer.restore(bad, counts)
    bad = good.copy()
    bad[words.TOKENS] = 1
    with pytest.raises(ValueError, match="the clock has seen 1 tokens, 0 were emitted"):
        timer.restore(bad, counts)
    timer.restore(good, counts)


def test_bytes_of_pim_that_move_beyond_its_end() -> None:
    """Registers are read faster than sram takes them, and 32 operations later their record is used again."""
    sram = load_preset("gddr6-aim").region("sram").base
    lines = [f"li a0, {sram}", f"li a1, {sram + 65536}", "li t0, 0xffffffff", "csrw pim.channel_mask, t0", "li a2, 0", "li a3, 1",
             "li a4, 4096", "pim.mac_abk.i8 a3, a2", "sync.fence", *["pim.rd_mac.i8 a0"] * 4, *["pim.mac_abk.i8 a3, a2"] * 32,
             "vec.relu.f32 a1, a1, a4", "sync.fence", "li a7, 93", "li a0, 0", "ecall"]
    machine = run_program(assemble("\n".join([".machine gddr6-aim", ".text", "_start:", *lines]) + "\n")).fast
    adds_up(machine)
    assert machine.time is not None and machine.time.queues["vec"].waiting["memory"] > 0
    machine.clocks[0].restore(machine.clocks[0].words.copy(), machine.counts)


@pytest.mark.parametrize("kernel", ["", "vec.relu.f32 a1, a1, a4"])
def test_single_steps_from_the_start(kernel: str) -> None:
    """Tokens are timed by compiled code, which knows the machine only after it has run."""
    program = assemble(f".machine slim\n.text\n_start:\nli a1, {load_preset('slim').region('sram').base}\nli a4, 64\n{kernel}\n"
                       + "li a7, 0x5111\necall\n" * 3 + "li a7, 93\nli a0, 0\necall\n")
    run, stepped = Machine("slim"), Machine("slim")
    for machine in (run, stepped):
        machine.load(program)
    run.run()
    while stepped.exit_code is None:
        assert stepped.step() is None
    assert run.time == stepped.time and run.time is not None and run.time.tokens == 3
