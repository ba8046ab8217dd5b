"""The clock: cycles that a person can work out, sums that add up, the order that the hazard check sees, both engines alike."""

from typing import Any

from both_engines import run_program

from asm.assembler import assemble
from isa.preset import Preset, load_preset, preset_of
from isa.timing import clock

SIMPLE = {"core.instructions_per_cycle": 1, "core.taken_branch_cycles": 2, "core.multiplication_cycles": 3,
          "core.division_cycles": 20, "core.service_cycles": 100, "vec.start_cycles": 5, "vec.queue_depth": 2,
          "vec.elements_per_cycle": 4, "vec.macs_per_cycle": 4, "fetch.start_cycles": 7, "fetch.queue_depth": 4,
          "fetch.bytes_per_cycle": 8, "fetch.rows_per_cycle": 1, "thr.start_cycles": 3, "thr.queue_depth": 4,
          "thr.compares_per_cycle": 2, "sram.latency_cycles": 2, "sram.bytes_per_cycle": 64, "dram.latency_cycles": 50,
          "dram.bytes_per_cycle": 4}


def machine(**changes: float) -> Preset:
    """slim with round figures. `vec__queue_depth=1` changes one."""
    data: Any = load_preset("slim").file.model_dump(mode="json")
    for name, value in (SIMPLE | {key.replace("__", "."): value for key, value in changes.items()}).items():
        part, key = name.split(".")
        table = (data["core"]["rates"] if part == "core" else data["region"][part] if part in data["region"]
                 else data["unit"][part]["rates"])
        table[key] = {"value": value, "source": "assumed: round figures"}
    return preset_of(data)


def time_of(lines: str, preset: Preset, data: str = "") -> clock.Time:
    """The time of a program on the reference engine; the fast one agrees in every word of the clock."""
    exits = "li a7, 93\nli a0, 0\necall\n"
    program = assemble(f".machine slim\n.bss\n.balign 64\nroom: .skip 4096\n.text\n_start:\n{lines}\n{exits}{data}")
    done = run_program(program, machine=preset)
    assert done.reference.time == done.fast.time and done.reference.time is not None
    return done.reference.time


EXIT = 3 + 100              # cycles of the end: three instructions and a service


def test_the_core_alone():
    assert time_of("nop\nnop", machine()).cycles == 2 + EXIT
    assert time_of("nop\nnop", machine(core__instructions_per_cycle=2)).cycles == 2 + 100               # 5 instructions take 2.5
    assert time_of("j 1f\nnop\n1: nop", machine()).cycles == 2 + EXIT
    assert time_of("beq zero, zero, 1f\nnop\n1: nop", machine()).cycles == 2 + 2 + EXIT
    assert time_of("mul t0, t1, t2\ndiv t0, t1, t2", machine()).cycles == 2 + 3 + 20 + EXIT
    loads = time_of("li t0, 0x10000000\nlw t1, 0(t0)\nsw t1, 0(t0)", machine())
    assert loads.cycles == 3 + 2 + EXIT and loads.queues["core"].busy == loads.cycles == loads.critical_path["core"]


ADD = "vec.add.f32 t0, t0, t0, t1"                      # 16 elements in sram: 4 cycles of elements, 3 of bytes
ADD_CYCLES = 5 + 2 + 4                                  # start, latency, elements
COMPARE = "thr.gt.f32 t2, t0, zero, t1"                 # 16 elements in sram: 8 cycles, 66 bytes
SET_UP = "li t0, 0x10000000\nli t1, 16\n"               # two instructions


def test_an_operation_and_a_fence():
    alone = time_of(SET_UP + ADD, machine())
    assert alone.cycles == 3 + EXIT                     # the core ends long after the unit
    assert alone.queues["vec"] == clock.QueueTime(ADD_CYCLES, {}, alone.cycles - ADD_CYCLES)
    fenced = time_of(SET_UP + ADD + "\nsync.fence", machine())
    assert fenced.cycles == 2 + ADD_CYCLES + 1 + EXIT   # the fence itself is an instruction; the add's passes beside the unit
    assert fenced.queues["core"] == clock.QueueTime(4 + EXIT, {"fence": ADD_CYCLES - 1}, 0)
    assert fenced.critical_path == {"core": 3 + EXIT, "vec": 9, "sram": 2}
    assert fenced.regions["sram"] == 3 and fenced.regions["dram"] == 0


def test_what_an_operation_waits_for():
    two = time_of(SET_UP + ADD + "\n" + ADD + "\nsync.fence", machine())
    assert two.cycles == 2 + 2 * ADD_CYCLES + 1 + EXIT and two.queues["vec"].waiting == {}
    slow = machine(sram__bytes_per_cycle=3)             # 192 bytes: 64 cycles
    assert time_of(SET_UP + ADD + "\nsync.fence", slow).critical_path == {"core": 3 + EXIT, "vec": 5, "sram": 2 + 64}
    # thr reads 64 bytes of sram and writes 2. It is issued 3 instructions later, and waits until vec's bytes are moved.
    shared = time_of(SET_UP + ADD + "\nli t2, 0x10000800\n" + COMPARE + "\nsync.fence", slow)
    assert shared.queues["thr"].waiting == {"memory": 64 - 3} and shared.queues["thr"].busy == 3 + 2 + 22
    assert shared.cycles == 2 + 64 + (3 + 2 + 22) + 1 + EXIT
    assert shared.critical_path == {"core": 3 + EXIT, "thr": 3, "sram": 64 + 2 + 22}


def test_a_value_holds_the_core():
    time = time_of(SET_UP + "vec.argmax.f32 t2, t0, t1", machine())
    assert time.cycles == 2 + ADD_CYCLES + 1 + EXIT     # 16 elements, 64 bytes
    assert time.queues["core"].waiting == {"result": ADD_CYCLES}


def test_a_full_queue_holds_the_core():
    lines = SET_UP + "\n".join([ADD] * 4) + "\nsync.fence"
    time = time_of(lines, machine())                    # the third waits for the end of the first, the fourth for the second's
    assert time.cycles == 2 + 4 * ADD_CYCLES + 1 + EXIT
    assert time.queues["core"].waiting == {"full queue": (ADD_CYCLES - 2) + (ADD_CYCLES - 1), "fence": 2 * ADD_CYCLES - 1}
    assert time_of(lines, machine(vec__queue_depth=8)).queues["core"].waiting == {"fence": 4 * ADD_CYCLES - 4}


def test_tags():
    lines = f"li t3, 1\nli t2, 0x10000800\n{ADD}\nsync.signal.vec t3\n"      # issued at 5
    core = time_of(SET_UP + lines + "sync.wait t3", machine())
    assert core.cycles == 5 + ADD_CYCLES + 1 + EXIT and core.queues["core"].waiting == {"signal": ADD_CYCLES - 2}
    unit = time_of(SET_UP + lines + f"sync.wait.thr t3\n{COMPARE}\nsync.fence", machine())
    assert unit.queues["thr"] == clock.QueueTime(3 + 2 + 8, {"signal": ADD_CYCLES - 3}, unit.cycles - 13 - (ADD_CYCLES - 3))
    assert unit.cycles == 5 + ADD_CYCLES + 13 + 1 + EXIT
    assert unit.critical_path == {"core": 6 + EXIT, "vec": 9, "sram": 2 + 2, "thr": 3 + 8}
    later = time_of(SET_UP + lines + f"sync.signal.thr t3\nsync.wait.thr t3\n{COMPARE}\nsync.fence", machine())
    assert later.queues["thr"].waiting == {}                    # the latest signal counts: an empty queue gives it at once


def test_a_fetch_signals_its_tag():
    lines = "li t3, 1\nli t2, 0x10000800\ncsrw fetch.tag, t3\nli t4, 64\nfetch.copy t2, t0, t4\n"
    time = time_of(SET_UP + lines + "sync.wait t3", machine())
    cycles = 7 + 2 + 8                                          # 64 bytes at 8 a cycle
    assert time.cycles == 7 + cycles + 1 + EXIT and time.queues["core"].waiting == {"signal": cycles - 1}
    untagged = time_of(SET_UP + lines.replace("li t3, 1", "li t3, 0") + "nop", machine())
    assert untagged.queues["core"].waiting == {}
