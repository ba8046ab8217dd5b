"""Convolutions of int8 networks with weights that are run-length streams: the image stays in memory (isa/windows.py).

Numbers 20 of mac and of macT, those of rl and i8.
"""

from __future__ import annotations

import numpy as np

from isa import sparse
from isa.instruction import LONGEST, instruction
from isa.sparse.layout import Packed
from isa.sparse.sound import sound
from isa.traps import Cause, Trap
from isa.windows import offsets, products, read_windows, result_stride, windows_of, write_results


def _settings(m):
    """Values of a block, and bytes of the stream."""
    block, size = m.csr("sp.block"), m.csr("sp.stream")
    if not 1 <= block <= 255:
        raise Trap(Cause.ILLEGAL_OPERAND, block, f"sp.block is {block}; expected 1..255 values in a block of a stream")
    if size > LONGEST:
        raise Trap(Cause.CAPACITY, size, f"sp.stream is {size:#x}; expected at most {LONGEST:#x}")
    return block, size


def _one_stream(m, W, rows, cols, times):
    """The matrix (rows, cols) of one run-length stream, int64. Each of its values serves so many times."""
    block, size = _settings(m)
    data, layout, ends = m.read(W, size), sparse.RunLength(block), np.array([0, size])
    stored = len(sound(layout.slots, data, 1, rows * cols, ends).rows)
    packed = Packed("i8", 1, rows * cols, data, np.zeros(0, np.uint8), ends.astype(np.uint32))
    weights = sound(layout.unpack, packed).reshape(rows, cols).astype(np.int64)
    macs = int(np.count_nonzero(weights))
    m.count("sp.values", times * stored)
    m.count("sp.macs", times * macs)
    m.count("sp.macs_skipped", times * (rows * cols - macs))
    m.count("sp.zeros_stored", times * (stored - macs))
    m.count("sp.weight_bytes", stored)
    m.count("sp.meta_bytes", size - stored)
    return weights


@instruction("sp.conv.rl.i8      R  opcode=0x2B funct3=7 funct7=0x14",
             "y[v, o] = result of the sum of (x[e] + x_offset) * W[o, e], e of window v where W is stored, + bias[o]",
             operands="y>i8[windows,outputs] x<i8[image] W<u8[sp.stream]",
             example="csrw sp.block, a3               # values of a block\ncsrw sp.stream, a4              # bytes of the stream\n"
                     "sp.conv.rl.i8 a0, a1, a2")
def sp_conv_rl_i8(m, y, x, W):
    some, outputs = windows_of(m), m.csr("vec.outputs")
    if not some or not outputs:
        return
    _settings(m)
    stride, offset = result_stride(m, some.many, outputs), offsets(m)[0]
    image = read_windows(m, x, some).reshape(some.many, -1) + offset
    write_results(m, y, products(image, _one_stream(m, W, outputs, some.elements, some.many)), stride)
    m.count("sp.elements", some.many * outputs)


@instruction("sp.depthwise.rl.i8 R  opcode=0x2B funct3=7 funct7=0x34",
             "y[v, c] = result of the sum of (x[t, c] + x_offset) * W[c, t], t of window v where W is stored, + bias[c]",
             operands="y>i8[windows,channels] x<i8[image] W<u8[sp.stream]",
             example="csrw sp.block, a3               # along the taps of a channel\ncsrw sp.stream, a4\n"
                     "sp.depthwise.rl.i8 a0, a1, a2")
def sp_depthwise_rl_i8(m, y, x, W):
    some = windows_of(m)
    if not some:
        return
    _settings(m)
    stride, offset = result_stride(m, some.many, some.channels), offsets(m)[0]
    image = read_windows(m, x, some) + offset
    write_results(m, y, (image * _one_stream(m, W, some.channels, some.taps, some.many).T).sum(axis=1), stride)
    m.count("sp.elements", some.many * some.channels)
