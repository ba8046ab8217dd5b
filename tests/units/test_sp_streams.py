"""Convolutions with run-length streams, sp.conv.rl.i8 and sp.depthwise.rl.i8: streams written by hand, and malformed ones."""

import numpy as np
import pytest
from test_vec_networks import Net
from unit_bench import refused

from isa.traps import Cause


def with_stream(bench, block, data):
    bench.set(sp__block=block, sp__stream=len(data), vec__offsets=5 | 7 << 32)
    return bench.put(np.array(data, "u1"))


def test_a_stream_by_hand():
    """Two outputs of four channels: 0 5 0 -3 and 0 0 9 0. Blocks of two: from 1 on (5 0), from 3 on (-3 and 0 of the next output),
    from 6 on (9 0)."""
    bench = Net(1, 1, 3, 4, 2)
    windows = bench.windows(1, 3, 1, 1, 1)
    data = [0x81, 5, 0, 0x81, 0xFD, 0, 0x82, 9, 0]
    done = bench.run("sp.conv.rl.i8", y=bench.y, x=bench.x, W=with_stream(bench, 2, data))
    got = bench.got(7)
    assert got == [bench.result(total, o) for (x,) in windows
                   for o, total in enumerate((5 * (x[1] + 5) - 3 * (x[3] + 5), 9 * (x[2] + 5)))] + [99]
    counts = {name: events for name, events in done.counts.items() if name.startswith("sp.")}
    assert counts == {"sp.ops": 1, "sp.values": 18, "sp.macs": 9, "sp.macs_skipped": 15, "sp.zeros_stored": 9, "sp.weight_bytes": 6,
                      "sp.meta_bytes": 3, "sp.elements": 6}


def test_depthwise_and_escapes():
    """An escape moves on by 3; then the last tap of channel 1 and the first of channel 2."""
    bench = Net(2, 2, 2, 3, 3)
    windows = bench.windows(1, 1, 2, 2, 1)
    done = bench.run("sp.depthwise.rl.i8", y=bench.y, x=bench.x, W=with_stream(bench, 2, [0x83, 0, 0x84, 7, 0xFF]))
    taps = windows[0]
    assert bench.got(4) == [bench.result(total, c) for c, total in enumerate((0, 7 * (taps[3][1] + 5), -(taps[0][2] + 5)))] + [99]
    assert done.counts["sp.meta_bytes"] == 3 and done.counts["sp.weight_bytes"] == 2


@pytest.mark.parametrize(("data", "text"), [
    ([0x80, 5], "the stream of row 0 ends inside a block, after 2 bytes"),
    ([0x88, 5, 0], "a block of row 0 starts at column 8, beyond the last, 7"),
    ([0x87, 5, 1], "a value for row 0, column 8 is not zero; the matrix has 1 rows and 8 columns"),
    ([0x80, 5, 6, 0x80, 1, 0], "a block of row 0 starts at column 1, inside the one before it")])
def test_malformed_streams(data, text):
    bench = Net(3, 1, 3, 4, 2)
    W = with_stream(bench, 2, data)
    assert refused(Cause.ILLEGAL_OPERAND, bench, "sp.conv.rl.i8", y=bench.y, x=bench.x, W=W) == f"malformed metadata: {text}"


def test_settings_of_streams():
    bench = Net(4, 1, 3, 4, 2)
    W = with_stream(bench, 256, [0x80, 5])
    reason = refused(Cause.ILLEGAL_OPERAND, bench, "sp.conv.rl.i8", y=bench.y, x=bench.x, W=W)
    assert reason == "sp.block is 256; expected 1..255 values in a block of a stream"
    bench.set(sp__block=2, sp__stream=1 << 30)
    reason = refused(Cause.CAPACITY, bench, "sp.conv.rl.i8", y=bench.y, x=bench.x, W=W)
    assert reason == "sp.stream is 0x40000000; expected at most 0x10000000"
    bench.set(sp__stream=0)
    bench.windows(1, 3, 1, 1, 1)
    bench.run("sp.conv.rl.i8", y=bench.y, x=bench.x, W=0)           # all weights are zero
    assert bench.got(6) == [bench.result(0, o) for o in (0, 1)] * 3
