"""The traps of an instruction's entry are those that it raises: each that is listed is provoked, no other one comes.

Each instruction is started from operands, CSRs and state with which it completes, and then with one of them, or two, spoilt.
Whatever traps must be listed with its cause, and with the mtval that the entry gives: an operand, or an expression of the function
that raises it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from good_starts import SRAM, Start, good
from hypothesis import given, settings
from random_xslim import cases

import asm
from isa.csrs import CSRS
from isa.effects import TrapRule, csrs, trap_rules, traps
from isa.instruction import LONGEST, TABLE, Row
from isa.preset import load_preset
from isa.program import Program, Section
from isa.reference import ReferenceMachine, TrapReport
from isa.traps import Cause, Trap
from isa.units import UNITS

TEXT, MMIO, NOWHERE, FLASH, HBM = 0x8000_0000, 0x200_0000, 0x10, 0x10_0000_0000, 0x20_0000_0000
XSLIM = [row for row in TABLE.values() if row.is_xslim]
WORD = (1 << 64) - 1


class Watching(ReferenceMachine):
    """Keeps the last trap with the values that its function had."""

    last: Trap | None = None

    def _enter_trap(self, trap: Trap, word: int | None) -> TrapReport | None:
        self.last = trap
        return super()._enter_trap(trap, word)


@cache
def machine() -> Watching:
    made = Watching("slim")
    made.load(Program([Section(".text", "ax", TEXT, 4, [bytes(4096)]), Section(".weights", "a", FLASH, 4096, [bytes(4096)])],
                      [], [], TEXT))
    return made


# ------------------------------------------------------------------------------------------------ one start


def execute(row: Row, values: dict[str, int], settings: dict[str, int], state: dict[str, Any]) -> Trap | None:
    """Execute one instruction on the slim machine; its trap."""
    m = machine()
    numbers = {operand.name: 10 + i if operand.is_register else 0 for i, operand in enumerate(row.operands)}
    for name, value in values.items():
        m.x[numbers[name]] = value & WORD
    for csr in CSRS.values():
        m.csr_values[csr.address] = csr.reset
    for name, value in settings.items():
        m.set_csr(name, value)
    for name, array in m.state.items():
        if name.startswith(row.unit):
            array[:] = state.get(name, -1 if name == "pim.open_row" else 0)
    m.peek(TEXT, 4).view("<u4")[0] = row.encode(numbers)
    m.pc, m.last = TEXT, None
    m.step()
    return m.last


def spoilt(row: Row) -> Iterator[Start]:
    """Starts with one thing wrong, and some with two."""
    values, settings, state = good(row)
    yield values, settings, state
    wrong: list[Start] = []
    for operand in row.operands:
        if operand.access:
            wrong += [({operand.name: address}, {}, {}) for address in (
                NOWHERE, NOWHERE + 1, MMIO, FLASH, FLASH + 8192, SRAM + 1, SRAM + 2, WORD - 3, HBM - 4)]
        elif operand is not row.result:
            wrong += [({operand.name: value}, {}, {}) for value in (0, 1, 3, 5, 8, 64, 300, 70_000 if row.unit == "lut" else 5000,
                                                                 LONGEST + 1, 1 << 63, WORD)]
    for name in csrs(row):
        wrong += [({}, {name: value}, {}) for value in (0, 1, 3, 5, 12, 64, NOWHERE, MMIO, FLASH, SRAM + 1, 1 << 40, 1 << 63, WORD)]
    for array in UNITS[row.unit].state:
        wrong += [({}, {}, {array.name: value}) for value in (0, 1, 2, 0x7F, 0xE000_0800 if array.name == "pim.crf" else 3)
                  if _sound(row, {**state, array.name: value})]
    if row.mnemonic.startswith("attn.wrgb"):                # more channels than the query buffer has
        wrong.append(({}, {}, {"attn.model": [8, 4, machine().parameter("attn.channels"), 0, 8]}))
    if row.unit == "attn":                                  # no heads at all
        wrong.append(({}, {}, {"attn.model": 0, "attn.loaded": 0}))
    for one in wrong:
        yield values | one[0], settings | one[1], state | one[2]
    for one, other in zip(wrong, wrong[len(wrong) // 2:] + wrong[:len(wrong) // 2], strict=True):
        merged = state | one[2] | other[2]
        if _sound(row, merged):
            yield values | one[0] | other[0], settings | one[1] | other[1], merged


def _sound(row: Row, state: dict[str, Any]) -> bool:
    """Is this a state that instructions can have left?"""
    m = machine()
    try:
        arrays = {name: np.broadcast_to(np.asarray(state.get(name, 0), array.dtype), array.shape)
                  for name, array in m.state.items() if name.startswith(row.unit)}
        return UNITS[row.unit].sound(arrays, m.parameter)
    except OverflowError:
        return False


# ------------------------------------------------------------------------------------------------ the rule behind a trap


def rule_of(row: Row, trap: Trap, values: dict[str, int]) -> TrapRule:
    """The rule of the entry that a trap follows. Fails where there is none, or where mtval is another."""
    frames = []
    at = trap.__traceback__
    while at is not None:
        frames.append(at.tb_frame)
        at = at.tb_next
    for rule in trap_rules(row):
        if rule.cause is trap.cause and _follows(rule, trap, frames, values):
            return rule
    pytest.fail(f"{row.mnemonic}: {trap.cause.name} with mtval {trap.value:#x} is in no line of its entry: {trap.detail}")


def _follows(rule: TrapRule, trap: Trap, frames: list[Any], values: dict[str, int]) -> bool:
    texts = rule.mtval.split(" or ")
    if rule.mtval == "the instruction":
        return True                                                 # the machine puts it there
    if rule.cause in (Cause.LOAD_ACCESS, Cause.STORE_ACCESS, Cause.PORT, Cause.MISALIGNED_OPERAND):
        access = next(frame for frame in frames if frame.f_code.co_name in ("check_read", "check_write"))
        if access.f_locals["address"] & WORD != trap.value:
            return False
        plain = frames[-2].f_code.co_name == "check_operands" or frames[-3].f_code.co_name == "check_operands"
        named = [values[text.strip("`")] & WORD for text in texts if text.strip("`") in values]
        return trap.value in named if plain else "access" in rule.mtval or rule.mtval == "the address" or trap.value in named
    names = {frame.f_code.co_name for frame in frames}
    if rule.place is not None and rule.place.name.rpartition(".")[2] not in {*names, *(type(frame.f_locals.get("self")).__name__
                                                                                       for frame in frames)}:
        return False
    if rule.place is None and rule.mtval.strip("`") in values and values[rule.mtval.strip("`")] & WORD == trap.value:
        return True
    for frame in reversed(frames):
        try:
            value = eval(rule.mtval.strip("`"), frame.f_globals, frame.f_locals)
        except (NameError, AttributeError, KeyError, TypeError):
            continue
        if isinstance(value, int | np.integer) and int(value) & WORD == trap.value & WORD:
            return True
    return False


# ------------------------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize("row", XSLIM, ids=lambda row: row.mnemonic)
def test_each_listed_trap_is_raised_and_no_other(row: Row) -> None:
    raised = {Cause.ILLEGAL_INSTRUCTION}                # on a machine without the unit: see below
    completed = 0
    machine().peek(SRAM, 0x4_0000)[:] = 0               # what an earlier test has left
    if row.mnemonic == "thr.index":                     # a mask of zeros writes no index
        machine().peek(good(row)[0]["mask"], 16)[:] = 0xFF
    with np.errstate(all="ignore"):
        for values, given_csrs, state in spoilt(row):
            trap = execute(row, values, given_csrs, state)
            if trap is None:
                completed += 1
            else:
                rule_of(row, trap, values)
                raised.add(trap.cause)
    assert completed, "no start was good"
    assert raised == set(traps(row))


@pytest.mark.parametrize("row", [row for row in TABLE.values() if not row.is_xslim], ids=lambda row: row.mnemonic)
def test_each_listed_trap_of_the_core_is_raised_and_no_other(row: Row) -> None:
    m, raised = machine(), set()
    numbers = (0, 2, 0x300, 0x7C0, 0xC00)     # immediates; CSRs: there is no 0x7C0, and 0xC00 is read-only
    for first, second, number, handler in product((1, SRAM, FLASH, NOWHERE), (1, SRAM, NOWHERE), numbers, (0, TEXT)):
        fields = {operand.name: 10 + i if operand.is_register else number for i, operand in enumerate(row.operands)}
        if not all(operand.is_register or operand.field.fits(number) for operand in row.operands):
            continue
        m.x[10:13], m.x[17], m.exit_code = [first, second, second], 64, None            # also the service write
        m.set_csr("mtvec", handler)
        m.peek(TEXT, 4).view("<u4")[0] = row.encode(fields)
        m.pc, m.last = TEXT, None
        m.step()
        if m.last is not None:
            rule_of(row, m.last, {})
            raised.add(m.last.cause)
    assert raised == set(traps(row))


@pytest.mark.parametrize("unit", sorted({row.unit for row in XSLIM}))
def test_an_instruction_of_a_unit_that_the_machine_lacks_is_illegal(unit: str) -> None:
    data = load_preset("slim").file.model_dump(exclude_none=True)
    assert all(rule.cause is Cause.ILLEGAL_INSTRUCTION and rule.when == f"the machine has no {row.unit} unit"
               for row in XSLIM for rule in trap_rules(row)[:1])
    assert unit in data["unit"]


@settings(max_examples=60, deadline=None)
@given(cases)
def test_random_programs_trap_as_their_entries_say(case: Any) -> None:
    text, _ = case
    program = asm.assemble(text)
    m = Watching(program.machine)
    m.load(program)

    def look(_: ReferenceMachine, step: Any) -> None:
        if step.trap is not None and step.row is not None:
            assert m.last is not None
            behind, m.pc = m.pc, step.pc                            # mtval can be that of the instruction
            rule_of(step.row, m.last, {operand.name: m.x[step.fields[operand.name]]
                                       for operand in step.row.operands if operand.is_register})
            m.pc = behind
            assert step.trap in traps(step.row)

    m.hook(look)
    m.run(400)
