"""Tensors by name: what a text means, and what is read from memory."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import asm
from isa.numbers import FORMATS, ValueKind
from isa.program import ProgramError
from isa.reference import ReferenceMachine
from isa.tensor import PLAIN, TensorError, parse_tensor, read_tensor, tensor_bytes

SRAM = 0x1000_0000


@pytest.mark.parametrize(("text", "name", "shape"), [
    ("f32[4,16]", "f32", (4, 16)), ("u64", "u64", ()), (" bf16 [ 0x10 ] ", "bf16", (16,)), ("t2[2,3,5]", "t2", (2, 3, 5))])
def test_text(text, name, shape):
    assert parse_tensor(text) == (name, shape)


@pytest.mark.parametrize(("text", "said"), [
    ("f32[4", "expected a format and a shape"), ("", "expected a format and a shape"), ("f3[2]", "did you mean 'f32'?"),
    ("x", "formats are i8, i16"), ("f32[]", "'' is not a number of elements"), ("f32[4,n]", "'n' is not a number"),
    ("f32[0]", "expected 1 or more"), ("f32[-1]", "expected 1 or more"), ("f32[2][2]", "expected a format and a shape")])
def test_text_that_names_none(text, said):
    with pytest.raises(TensorError) as caught:
        parse_tensor(text)
    assert said in str(caught.value)


def test_plain_types_are_views():
    machine = ReferenceMachine()
    machine.peek(SRAM + 1, 24)[:] = list(struct.pack("<6f", 0, 1, 2, 3, 4, 5))
    tensor = machine.tensor(SRAM + 1, "f32[2,3]")
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    tensor[1, 2] = 7
    assert struct.unpack("<f", machine.peek(SRAM + 21, 4).tobytes()) == (7.0,)
    assert machine.counter("sram.bytes_read") == 0
    assert read_tensor(machine, SRAM + 5, "f32").shape == () and read_tensor(machine, SRAM + 5, "f32") == 1


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in PLAIN])
def test_packed_formats_are_decoded_row_by_row(name):
    machine = ReferenceMachine()
    values = np.random.default_rng(1).integers(0, 2, (2, 3, 13))
    values = values * 2 - 1 if name == "b1" or FORMATS[name].kind is ValueKind.BIPOLAR else values
    packed = FORMATS[name].pack(values.reshape(6, 13))
    assert tensor_bytes(name, (2, 3, 13)) == packed.size
    machine.peek(SRAM, packed.size)[:] = packed.reshape(-1)
    assert read_tensor(machine, SRAM, f"{name}[2,3,13]").tolist() == values.tolist()
    assert read_tensor(machine, SRAM, f"{name}[13]").tolist() == values[0, 0].tolist()


def test_memory_that_is_not_there():
    machine = ReferenceMachine()
    with pytest.raises(TensorError, match=r"f32\[4\] at 0x10: 16 bytes"):
        machine.tensor(0x10, "f32[4]")
    with pytest.raises(TensorError, match="do not lie in one region"):
        machine.tensor(SRAM, "f32[100000,100000]")


def test_symbols():
    machine = ReferenceMachine()
    machine.load(asm.assemble("_start: nop\n.data\nwords: .word 1, 2, 3\nlast_word: .word 9\n"))
    assert machine.tensor("words", "u32[3]").tolist() == [1, 2, 3]
    assert machine.tensor("words+4", "u32") == 2
    assert machine.tensor("last_word - 0x4", "u32") == 3
    with pytest.raises(ProgramError, match="did you mean 'words'"):
        machine.tensor("wrods", "u32")
    for text in ("words+x", "", "words+", "0x", "-1"):
        with pytest.raises(ProgramError, match="is not an address"):
            machine.program.address(text)
    assert machine.program.address("16+0x10") == 32
