"""Signals and waits between the units' queues.

Every unit takes its operations from its own queue, in order, while the core runs ahead. Tags order operations of different
queues. The emulator executes in program order, so a wait never has to wait: it checks that the tag was signalled before.
On real hardware a wait lasts until the latest signal of its tag before it, in program order, has come.

Sources: SLIM, arXiv 2507.09201 (flash and PIM work overlap); HPIM, arXiv 2509.12993 (queues of several engines).
"""

from __future__ import annotations

from collections.abc import Iterable

from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.unit import Counter, StateArray, Unit

TAGS = 64

UNIT = Unit(
    "sync", "Signals between queues",
    """\
The core puts operations into the units' queues and goes on; each unit works its queue off in order. Where one unit needs
another's result, a tag (a number 1..63) orders them: `sync.signal.fetch` puts a signal after the fetches issued so
far, `sync.wait.lut` holds the lut unit's later operations back until it has come, `sync.wait` holds the core. A fetch
operation signals by itself when `fetch.tag` is set. `sync.fence` holds the core until every queue is empty. An operation
that returns a value in a register holds the core until it is done, and with it all earlier ones of its unit. A tag may be
used again and again: a wait is for the latest signal before it in the program.

UNIT of `sync.signal.UNIT` and `sync.wait.UNIT` may be a unit that the machine lacks. Its queue never has an operation, only signals
and waits: a signal there stands for what the core knows and what the queue has waited for. Tags and counters are as with any
other.""",
    counters=(
        Counter("sync.ops",     43, "instructions", "sync instructions retired"),
        Counter("sync.signals", 44, "signals",      "tags signalled, those of fetch operations included"),
        Counter("sync.waits",   45, "waits",        "waits for a tag"),
        Counter("sync.fences",  46, "fences",       "waits for all queues"),
    ),
    state=(StateArray("sync.signalled", "u1", TAGS, "1 for a tag that has been signalled since power-up"),),
)


def _check(tag):
    """Trap for a number that is no tag."""
    if not 1 <= tag < TAGS:
        raise Trap(Cause.ILLEGAL_OPERAND, tag, f"tag {tag}; expected 1..{TAGS - 1}")


def check_signal(m, tag):
    """Traps for what is no tag, and on a machine without signals."""
    _check(tag)
    if "sync.signalled" not in m.state:
        raise Trap(Cause.ILLEGAL_OPERAND, tag, f"tag {tag} is to be signalled, but this machine has no sync unit")


def signal(m, tag):
    """Signal `tag`: what `sync.signal` does, and a fetch operation with a tag."""
    check_signal(m, tag)
    signalled = m.state["sync.signalled"].copy()
    signalled[tag] = 1
    m.set_state("sync.signalled", signalled)
    m.count("sync.signals")


def _wait(m, tag):
    """Wait for a tag. Traps for one that nothing has signalled: the wait would have no end."""
    _check(tag)
    if not m.state["sync.signalled"][tag]:
        raise Trap(Cause.NEVER_SIGNALLED, tag, f"nothing has signalled tag {tag}; expected a sync.signal, or a fetch with "
                                               f"fetch.tag = {tag}, before the wait")
    m.count("sync.waits")


def define_rows(units: Iterable[Unit]) -> None:
    """The rows of this unit: those of the core, and two for each unit that has a queue.

    The number of a unit's queue is part of the encoding: funct7 is that number less 1, for waits plus 0x20.
    """
    @instruction("sync.wait   R opcode=0x5B funct3=5 funct7=0x40", "the core goes on when the latest signal of tag has come",
                 operands="tag", example="li t0, 1\nsync.wait t0")
    def sync_wait(m, tag):
        _wait(m, tag)

    @instruction("sync.fence  R opcode=0x5B funct3=5 funct7=0x41", "the core goes on when every queue is empty",
                 example="sync.fence")
    def sync_fence(m):
        m.count("sync.fences")

    for unit in (unit for unit in units if unit.queue):
        @instruction(f"sync.signal.{unit.name} R opcode=0x5B funct3=5 funct7={unit.queue - 1:#04x}",
                     f"signal tag when the {unit.name} operations issued so far are done",
                     operands="tag", example=f"li t0, 1\nsync.signal.{unit.name} t0")
        def sync_signal_unit(m, tag):
            signal(m, tag)

        @instruction(f"sync.wait.{unit.name} R opcode=0x5B funct3=5 funct7={0x20 + unit.queue - 1:#04x}",
                     f"later {unit.name} operations start when the latest signal of tag has come",
                     operands="tag", example=f"li t0, 1\nsync.wait.{unit.name} t0")
        def sync_wait_unit(m, tag):
            _wait(m, tag)
