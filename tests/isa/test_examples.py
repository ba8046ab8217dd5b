"""Every instruction has an example in the manual, and it runs: with registers, CSRs and state that suit its instructions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starts import SRAM, Start, filled, starts

import asm
from isa.csrs import CSRS
from isa.instruction import TABLE, Row, decode
from isa.reference import ReferenceMachine

END = "\ncsrw mtvec, zero\nli a7, 93\nli a0, 0\necall\n"


def prepared(example: str) -> ReferenceMachine:
    """A machine in front of the example, then an exit. A register that no instruction has set before holds what the first one that
    reads it needs: an address of memory of its own, a length, a setting."""
    program = asm.assemble(f"_start:\n{example}{END}", machine="slim")
    m = ReferenceMachine("slim")
    m.load(program)
    start = Start()
    known = {0, 2}                                  # x0, sp
    code = program.section(".text")
    assert code is not None
    for word in np.frombuffer(code.bytes(), "<u4").tolist():
        row, fields = decode(word) or (None, {})
        assert row is not None
        values = _needs(row, fields)
        if row.is_xslim:
            start = starts(row)[0] | start
        for operand in row.operands:
            number = fields[operand.name]
            if operand.is_register and operand is not row.result and number not in known:
                known.add(number)
                m.x[number] = SRAM + 0x3_0000 + 0x1000 * number if values[operand.name] is None else values[operand.name]
        if row.result is not None:
            known.add(fields[row.result.name])
    for name, value in start.csrs.items():
        m.set_csr(name, value)
    for name, given in start.state.items():
        m.state[name][:] = filled(m.state[name], given)
    return m


def _needs(row: Row, fields: dict[str, int]) -> dict[str, Any]:
    """What each register operand of an instruction needs, None: an address."""
    if row.is_xslim:
        return starts(row)[0].values | {operand.name: None for operand in row.operands if operand.access}
    name = next((name for name, csr in CSRS.items() if csr.address == fields.get("csr")), "")
    setting = {"vec.cols": 4, "vec.head_dim": 4, "attn.key_stride": 64, "fetch.row_bytes": 4, "fetch.src_stride": 8,
               "fetch.chunk_table": None,
               "vec.outputs": 4, "vec.multipliers": None, "vec.shifts": None, "vec.bias": None, "sp.block": 1,
               "attn.row_list": None, "sp.meta": None, "sp.scales": None, "sp.cols": 4,
               "cim.x_scales": None, "cim.meta": None, "cim.scales": None, "cim.cols": 4}.get(name, 0)
    return {operand.name: None if row.format.name in ("LOAD", "S") and operand.name == "rs1" else setting if name else 3
            for operand in row.operands}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_the_example_runs_its_instruction_to_its_end(row: Row) -> None:
    assert row.example, "an instruction needs an example"
    m = prepared(row.example)
    done = []
    m.hook(lambda _, step: done.append((step.row, step.trap)))
    result = m.run(200)
    assert result.reason == "exit", result.trap
    assert row in [executed for executed, _ in done]
    assert [executed.mnemonic for executed, trap in done if trap is not None] == ["ebreak"] * (row.mnemonic == "ebreak")


def test_examples_are_short() -> None:
    assert {name: row.example for name, row in TABLE.items() if len(row.example.splitlines()) > 6} == {}
