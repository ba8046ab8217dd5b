"""What the manual says of `ecall` holds on both engines: which numbers are served, and which trap, with and without a handler."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import asm
from emulator.machine import Machine
from isa.reference import ReferenceMachine
from isa.services import Host
from isa.traps import Cause, Trap

DOCS = Path(__file__).parents[2] / "docs" / "isa"
PAGE = (DOCS / "services.md").read_text(encoding="utf-8")
WITH_HANDLER = {int(number, 16): says for number, says in re.findall(r"^\| (0x\w+) \(\d+\) \|.*\| (\w+) \|$", PAGE, re.MULTILINE)}
NUMBERS = (*WITH_HANDLER, 0, 1, 63, 0x510F, 0x5114, 1 << 31, (1 << 64) - 1)
PROGRAM = asm.assemble("""\
_start: ecall
        nop
        nop
handler:
        j handler
""")


def test_the_manual_has_a_word_for_each_service() -> None:
    assert WITH_HANDLER == {0x40: "traps", 0x5D: "traps", 0x5110: "served", 0x5111: "served", 0x5112: "served", 0x5113: "served"}
    assert "A number that is not in the table raises ENVIRONMENT_CALL in any case." in " ".join(PAGE.split())
    for name, said in (("traps.md", "ecall with a number of no service, or while a handler is installed with one below 0x5110"),
                       ("rv64i.md", "traps for a number of no service, and while mtvec is not 0 for every number below 0x5110")):
        assert said in (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
@pytest.mark.parametrize("handler", [False, True])
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_served_or_traps_as_the_manual_says(number: int, handler: bool, engine: type[ReferenceMachine]) -> None:
    machine = engine("slim", Host([7]))
    machine.load(PROGRAM)
    machine.x[17] = number
    if handler:
        machine.set_csr("mtvec", PROGRAM.entry + 12)
    result = machine.run(max_instructions=1)
    trapped = number not in WITH_HANDLER or (handler and WITH_HANDLER[number] == "traps")
    assert (machine.counter("core.traps"), machine.counter("core.services")) == (int(trapped), int(not trapped))
    if trapped and not handler:
        assert result.trap is not None and (result.trap.cause, result.trap.value) == (Cause.ENVIRONMENT_CALL, 0)
    elif trapped:
        assert (machine.pc, machine.csr("mcause"), machine.csr("mtval")) == (PROGRAM.entry + 12, Cause.ENVIRONMENT_CALL, 0)
        with pytest.raises(Trap, match="no such service" if number >= 0x5110 else "a trap handler is installed"):
            machine.environment_call()


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
def test_the_host_knows_whose_tokens_come(engine: type[ReferenceMachine], tmp_path: Path) -> None:
    """Also when a snapshot is continued."""
    said: list[tuple[int, int]] = []
    host = Host(emit=lambda token: said.append((host.sequence, token)))
    machine = engine("slim", host)
    program = asm.assemble("".join(f"li a0, {value}; li a7, {number:#x}; ecall\n" for number, value in (
        (0x5111, 5), (0x5113, 2), (0x5111, 6), (0x5111, 7))) + "li a7, 93; ecall")
    program.save(tmp_path / "a.elf")
    machine.load(tmp_path / "a.elf")
    machine.run(max_instructions=12)
    machine.save(tmp_path / "a.slim")
    assert machine.run().exit_code == 7 and said == [(0, 5), (2, 6), (2, 7)]
    again = engine.restore(tmp_path / "a.slim")
    assert (again.host.sequence, again.host.tokens) == (2, [5, 6])


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
def test_show_lets_the_host_look_at_numbers(engine: type[ReferenceMachine]) -> None:
    """Not at none; bytes are counted as read; numbers outside of memory trap, and the host does not see them."""
    seen: list[list[float]] = []
    machine = engine("slim", Host(show=lambda numbers: seen.append(numbers.tolist())))
    machine.load(asm.assemble("""\
_start: la a0, numbers
        li a1, 3
        li a7, 0x5112
        ecall
        la a0, numbers
        li a1, 0
        ecall
        li a0, 8
        li a1, 1
        ecall
        .data
numbers: .float 1.5, -2, 0.25
"""))
    result = machine.run()
    assert seen == [[1.5, -2, 0.25]] and result.trap is not None and result.trap.value == 8
    assert machine.counter("dram.bytes_read") == 12 and machine.x[10] == 8
