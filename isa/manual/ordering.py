"""The chapter on order: what a machine whose units work beside the core may do, and what a program has to wait for.

The rules are those of isa/queues.py, as text. The cases are programs that the hazard check judges
(tests/emulator/test_ordering_cases.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from isa.instruction import rows
from isa.manual.document import Block, Code, Heading, Paragraph, Table
from isa.queues import CORE, QUEUES
from isa.units import UNITS


class Case(NamedTuple):
    """A short program, and the hazard in it: "read after write", ... or "" where everything is ordered. `why` names the rule."""

    code: str
    hazard: str
    why: str


SETUP = """
s0, s1, s2    addresses of 64 bytes each
s3, s4        16 elements, 64 bytes
s5, s6        1 and 2, tags
a0, a1        the address of an instruction that comes soon, and of another one, a load"""

_WRITE = "vec.relu.f32 s0, s1, s3\n"
CASES: tuple[Case, ...] = (
    Case("sd zero, 0(s1)\nvec.relu.f32 s0, s1, s3", "", "the core's accesses come before whatever is issued after them"),
    Case(_WRITE + "lw t0, 0(s0)", "read after write", "the core does not wait by itself for what it issues"),
    Case(_WRITE + "sd zero, 0(s1)", "write after read", "the unit may not have read the bytes at s1 yet"),
    Case(_WRITE + "sd zero, 0(s0)", "write after write", "the unit may write later than the core"),
    Case(_WRITE + "fence\nlw t0, 0(s0)", "read after write", "fence is for the core's own accesses and waits for no queue"),
    Case(_WRITE + "sync.fence\nlw t0, 0(s0)", "", "the core waits until every queue is empty"),
    Case(_WRITE + "sync.signal.vec s5\nsync.wait s5\nlw t0, 0(s0)", "", "the core waits for a signal after the operation"),
    Case("sync.signal.vec s5\n" + _WRITE + "sync.wait s5\nlw t0, 0(s0)", "read after write",
         "the signal stands before the operation"),
    Case(_WRITE + "fetch.copy s2, s0, s4", "read after write", "two queues are in no order"),
    Case(_WRITE + "vec.relu.f32 s2, s0, s3", "", "one queue executes in order"),
    Case(_WRITE + "sync.signal.vec s5\nsync.wait.fetch s5\nfetch.copy s2, s0, s4", "", "the fetch queue waits"),
    Case(_WRITE + "sync.signal.vec s5\nsync.wait.fetch s5\nlw t0, 0(s0)", "read after write",
         "the fetch queue waits, the core does not"),
    Case("csrw fetch.tag, s5\nfetch.copy s0, s1, s4\ncsrw fetch.tag, zero\nsync.wait s5\nlw t0, 0(s0)", "",
         "the copy signals by itself: CSRs are read when it is issued"),
    Case(_WRITE + "vec.sum.f32 zero, s1, s3\nlw t0, 0(s0)", "",
         "a result holds the core for it and for all before it in its queue"),
    Case("fetch.copy s0, s1, s4\nvec.sum.f32 t1, s1, s3\nlw t0, 0(s0)", "read after write", "the result is of another queue"),
    Case(_WRITE + "sync.signal.vec s5\nsync.wait.fetch s5\nsync.signal.fetch s6\nsync.wait s6\nlw t0, 0(s0)", "",
         "what the fetch queue has waited for, its signal stands for too"),
    Case("sync.signal.fetch s5\n" + _WRITE + "sync.signal.vec s5\nsync.wait s5\nlw t0, 0(s0)", "",
         "a wait is for the latest signal of the tag before it"),
    Case("lw t0, 0(a1)\nsw t0, 0(a0)\njr a0", "",
         "an instruction is fetched as the core's stores have left it, also without fence.i"),
    Case("li a2, 4\nfetch.copy a0, a1, a2\nfence.i\njr a0", "read after write",
         "the core reads an instruction, and has not waited"),
    Case("li a2, 4\nfetch.copy a0, a1, a2\nsync.fence\njr a0", "", "the core has waited"),
)

HEAD = """
The core executes base instructions and those of sync by itself, each when the one before it is done. An instruction of another
unit is an operation: the core issues it to the queue of its unit and goes on. Program order is the order in which the core comes
to the instructions, issued ones included.

The emulator executes every instruction whole, in program order. A machine may let its units work beside the core, as far as this
chapter allows. A program that waits where it has to gives the same registers, memory, unit state and counters on both.
`slimulator run --hazards` finds waits that are missing."""

QUEUE_TEXT = """
1. The operands of an operation and all CSRs that it uses have the values of the moment in which it is issued, `fetch.tag`
included.
2. The operations of one queue are done in the order in which they were issued: each finds unit state and memory as those before
it have left them. State inside a unit belongs to its queue, so it needs no wait.
3. Between two queues, and between a queue and the core, nothing is in order unless a wait makes it so.
4. A queue may have any length. If it is full, the core waits."""

KNOWN = """
Whether an access has to wait is a question of what the core or an operation knows to be done:

1. An operation knows all that were issued to its queue before it, all that the core knew when it issued it, and all that its
queue has waited for before.
2. `sync.signal.UNIT` gives a tag what an operation issued to that queue in its place would know. A fetch operation that is issued
with `fetch.tag` not 0 gives that tag what it knows, and itself.
3. `sync.wait.UNIT` makes the operations that are issued to that queue after it wait for a tag; `sync.wait` makes the core wait.
Then they know what the tag was given by the latest signal of it before the wait, in program order. An earlier signal of the
same tag does not end the wait.
4. `sync.fence` makes the core wait for every operation that it has issued.
5. An operation that returns a value in a register, even in zero, makes the core wait for it; then the core knows it and what it
knows.

A tag counts as signalled from the moment on in which the core comes to the signal. A wait for one that was never signalled traps
at once: NEVER_SIGNALLED. These operations hold the core, by rule 5:"""

MEMORY = """
Two accesses conflict if they touch the same byte and one of them writes it. The later one, in program order, has to know the
earlier one to be done if that is of an operation in another queue. The core's own accesses are loads, stores, instruction
fetches, and what services and devices read and write for it. They are done in program order, and before anything is issued after
them; nobody waits for them.

Bytes of hbm that pim reads and writes in its banks are bytes of memory like all others.

If the later one does not know that, the program has a hazard. Then a byte that is read may be as it was before or after the
write, and of two writes either may stay, for each byte by itself. What is computed from such bytes follows from them; nothing
else is touched.

Within one instruction there is no hazard: it reads everything before it writes anything, so its operands may overlap. If two of
its own writes overlap, they are made in the order of its Python text, and the last one stays.

A unit may write earlier where nobody can tell: after all checks of the operation, and to no byte that it has still to read.

fence and fence.tso have nothing to do, as the core's accesses are in order anyway. Neither waits for a queue."""

FETCH = """
An instruction fetch is a read of 4 bytes by the core. It sees all earlier stores of the core at once, and what an
operation has written as soon as the core knows the operation to be done. fence.i has nothing to do; a program that is to run on
other RISC-V machines writes it. A machine with an instruction cache, or one that fetches ahead, keeps what it has fetched in step
with memory."""

COUNTED = """
core.*, tokens.* and sync.* count when the core comes to the instruction. Bytes of regions that loads, stores and services of the
core move count at once. All other counters, those of memory regions included, count what an operation does when it is done, all of
it at once; so does sync.signals of a fetch operation. A counter that is read through its CSR has all operations that
the core knows to be done. Of the others it may have each one or not; the emulator has them all. After a `sync.fence` counters are
exact."""

TRAPS = """
The emulator takes every trap in program order. It is precise: everything before the instruction is done, nothing of it and
nothing after it.

On a machine the traps of these are precise too: the core's own instructions; those of sync; operations that return a value; and
for every operation what steps 1 to 3 of the [order of checks](traps.md) find, the unit, lengths, and operands whose bytes follow
from the row. These need the word, the registers and the memory map alone, and are checked before anything after the operation is
begun.

What steps 4 and 5 find may depend on unit state, or on memory that another operation is still writing. There a machine may go on
and take the trap late, when the core has executed some instructions after the operation:

1. mepc, mcause and mtval are those of program order, mepc the address of the operation. The operation has written nothing and
counted nothing but core.traps, and perhaps core.instructions.
2. The queue of the operation goes no further. No signal after it comes, so nothing that waits for one goes on, and the core
passes no wait for it: the trap is taken there at the latest. A machine takes a late trap after a finite time also if the core waits
for nothing, and at the latest when the core waits for room in a queue.
3. Before any trap is taken, and before the run ends, all queues execute what they can. If there are several faults then, the
first in program order is taken. So everything before it is done when the handler starts. A fault that is found while the run
is about to end is taken, and the run does not end if there is a handler. mtvec and mstatus are those of the moment in which the
trap is taken.
4. When the trap is taken, what is left in the queues is dropped: operations, waits and signals. All queues are empty when the
handler starts. A tag whose signal was dropped stays signalled, and a wait for it ends at once.
5. If the operation is a fetch operation with a tag, it has not counted in sync.signals, and its tag is again as it was before the
operation, unless the core has come to another signal of that tag since.
6. Instructions after it may have been executed, by the core and in other queues. A handler cannot go back as if they had not:
after a late trap it may report, and end the run.

A program that needs a precise trap there waits for the operation directly after it: then nothing but the wait has begun."""


def ordering() -> tuple[list[Block], Any]:
    """(blocks, data) of the chapter."""
    queues = [(str(number), name, UNITS[name].title if number != CORE else "base instructions, sync, services")
              for number, name in enumerate(QUEUES)]
    holding = [row.mnemonic for row in rows() if row.is_xslim and row.result]
    blocks: list[Block] = [
        Heading(1, "Order of memory accesses and operations"),
        Paragraph(HEAD),
        Heading(2, "Queues"),
        Table(("queue", "name", "executes"), queues),
        Paragraph(QUEUE_TEXT),
        Heading(2, "What is known to be done"),
        Paragraph(KNOWN.strip() + " " + ", ".join(f"`{name}`" for name in holding) + "."),
        Heading(2, "Memory"),
        Paragraph(MEMORY),
        Heading(2, "Instruction fetch"),
        Paragraph(FETCH),
        Heading(2, "Counters"),
        Paragraph(COUNTED),
        Heading(2, "Traps of queued operations"),
        Paragraph(TRAPS),
        Heading(2, "Cases"),
        Paragraph("In the code"),
        Code(SETUP.strip()),
    ]
    for case in CASES:
        blocks += [Paragraph(_judged(case)), Code(case.code.strip(), "asm")]
    return blocks, {"queues": list(QUEUES), "hold_the_core": holding, "cases": [case._asdict() for case in CASES]}


def _judged(case: Case) -> str:
    return f"{'A hazard, ' + case.hazard if case.hazard else 'In order'}: {case.why}."
