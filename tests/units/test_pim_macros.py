"""pim, macro forms: what they compute against NumPy's float16 and integers, what they count, what they refuse.

The slim machine: 64 channels of 16 banks, rows of 32 columns; an address is row, bank, channel, column from the top down.
"""

import numpy as np
import pytest
from unit_bench import Bench, Trapped, refused

from isa.traps import Cause

HBM = 0x20_0000_0000
BANKS, COLUMNS = 16, 32
CHANNELS = (0, 2, 63)
MASK = sum(1 << channel for channel in CHANNELS)
SB, HAB = 0, 1
ONE = {"core.instructions": 1, "pim.ops": 1}


@pytest.fixture
def bench():
    bench = Bench()
    bench.set(pim__channel_mask=MASK)
    return bench


def place(channel, bank, row, column=0):
    return HBM + ((row * BANKS + bank) * 64 + channel) * 1024 + column * 32


def fill(bench, row, columns, form, seed=0):
    """Random weights in all banks of the channels, (channels, banks, elements) as they are stored."""
    random = np.random.default_rng(seed)
    per_column = 32 if form == "i8" else 16
    shape = (len(CHANNELS), BANKS, columns * per_column)
    weights = numbers(random, form, shape)
    for i, channel in enumerate(CHANNELS):
        for bank in range(BANKS):
            data = np.ascontiguousarray(weights[i, bank]).view(np.uint8)
            bench.m.peek(place(channel, bank, row), len(data))[:] = data
    return weights


def numbers(random, form, shape):
    if form == "i8":
        return random.integers(-128, 128, shape, np.int8)
    x = random.standard_normal(shape, np.float32)
    return x.astype(np.float16) if form == "f16" else (x.view(np.uint32) >> 16).astype(np.uint16)


def bf16(bits):
    """bfloat16 as float32."""
    return (np.asarray(bits, np.uint32) << np.uint32(16)).view(np.float32)


def to_bf16(x):
    """float32 to the nearest bfloat16, ties to even: of the two neighbours, the nearer one."""
    down = np.asarray(x, np.float32).view(np.uint32) >> np.uint32(16)
    up = down + np.uint32(1)
    distance = [np.abs(bf16(bits).astype(np.float64) - x) for bits in (down, up)]
    return np.where((distance[0] < distance[1]) | ((distance[0] == distance[1]) & (down % 2 == 0)), down, up).astype(np.uint16)


def expected_lanes(form, weights, x, bias=0):
    """16 accumulators of each bank: weights (..., elements), x (elements,). An element after the other, in NumPy's arithmetic."""
    kind = {"f16": np.float16, "bf16": np.float32, "i8": np.int32}[form]
    lanes = np.zeros((*weights.shape[:-1], 16), kind)
    lanes[..., 0] = bias
    if form == "i8":
        lanes[..., 0] += (weights.astype(np.int64) @ x.astype(np.int64)).astype(np.int32)
        return lanes
    w, x = (weights, x) if form == "f16" else (bf16(weights), bf16(x))
    for start in range(0, len(x), 16):
        lanes = lanes + w[..., start:start + 16] * x[start:start + 16]
        assert lanes.dtype == kind
    return lanes


def expected_sums(form, lanes):
    if form == "i8":
        return lanes[..., 0]
    for half in (8, 4, 2, 1):
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0].view(np.uint16) if form == "f16" else to_bf16(lanes[..., 0])


def zeros(bench, form):
    bench.run(f"pim.wr_bias.{form}", bias=bench.put(np.zeros(len(CHANNELS) * BANKS, np.int32 if form == "i8" else np.uint16)))


def accumulators(bench, form):
    words = bench.m.state["pim.accumulators"].reshape(64, BANKS, 16)[list(CHANNELS)]
    if form == "f16":
        assert not np.any(words >> 16)
        return words.astype(np.uint16).view(np.float16)
    return words.view(np.float32 if form == "bf16" else np.int32)


# ------------------------------------------------------------------------------------------------ multiply-accumulate


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
@pytest.mark.parametrize("opsize", [1, 5, 32])
def test_a_matrix_times_a_vector(bench, form, opsize):
    weights = fill(bench, 7, opsize, form)
    x = numbers(np.random.default_rng(9), form, weights.shape[-1])
    bias = numbers(np.random.default_rng(8), form, len(CHANNELS) * BANKS)
    outside = bias.astype(np.int32) if form == "i8" else bias.view(np.uint16)
    width = outside.itemsize
    done = bench.run("pim.wr_gb", x=bench.put(x), opsize=opsize)
    assert done.counts == ONE | {"sram.bytes_read": 32 * opsize, "pim.write_commands": 3 * opsize,
                                 "pim.broadcasts": 3 * opsize, "pim.bytes_entered": 3 * 32 * opsize, "pim.slots": opsize}
    done = bench.run(f"pim.wr_bias.{form}", bias=bench.put(outside))
    assert done.counts == ONE | {"sram.bytes_read": 48 * width, "pim.write_commands": 3 * width // 2,
                                 "pim.accumulators_set": 48, "pim.bytes_entered": 48 * width, "pim.slots": width // 2}
    done = bench.run(f"pim.mac_abk.{form}", opsize=opsize, row=7)
    assert done.counts == ONE | {"pim.activations": 48, "pim.compute_commands": 3 * opsize,
                                 "pim.columns_read": 48 * opsize, "pim.macs": weights.size, "pim.bytes_stayed": 48 * 32 * opsize,
                                 "pim.slots": opsize, "pim.any_opening": 1}
    first = {"f16": bias, "bf16": bf16(bias) if form == "bf16" else 0, "i8": outside}[form]
    lanes = expected_lanes(form, weights, x, first.reshape(3, BANKS))
    assert np.array_equal(accumulators(bench, form), lanes)
    dst = bench.put(np.full(60, -1, np.int32))
    done = bench.run(f"pim.rd_mac.{form}", dst=dst)
    assert done.counts == ONE | {"sram.bytes_written": 48 * width, "pim.read_commands": 3 * width // 2,
                                 "pim.readouts": 48, "pim.bytes_left": 48 * width, "pim.slots": width // 2}
    assert np.array_equal(bench.get(dst, "<i4" if form == "i8" else "<u2", 48), expected_sums(form, lanes).reshape(-1))
    assert np.all(bench.get(dst + 48 * width, "<u1", 12) == 255)
    assert np.array_equal(accumulators(bench, form), lanes)             # reading clears nothing


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
def test_one_bank_and_runs_that_begin_inside(bench, form):
    """Columns 5..12 of the row with columns 3..10 of the buffer, in bank 6 alone; twice, so that sums go on."""
    weights = fill(bench, 3, COLUMNS, form)
    per_column = weights.shape[-1] // COLUMNS
    x = numbers(np.random.default_rng(1), form, 8 * per_column)
    bench.set(pim__column=5, pim__buffer_column=3)
    bench.run("pim.wr_gb", x=bench.put(x), opsize=8)
    assert np.array_equal(bench.m.state["pim.global_buffer"].reshape(64, 1024)[63, 96:96 + 256], x.view(np.uint8))
    assert not np.any(bench.m.state["pim.global_buffer"].reshape(64, 1024)[:, :96])
    done = bench.run(f"pim.mac_sbk.{form}", opsize=8, bank=6, row=3)
    assert done.counts["pim.activations"] == 3
    assert done.counts["pim.columns_read"] == 24
    assert done.counts["pim.macs"] == 24 * per_column
    done = bench.run(f"pim.mac_sbk.{form}", opsize=8, bank=6, row=3)
    assert done.counts["pim.row_hits"] == 3
    assert done.counts["pim.slots"] == 8
    assert {"pim.activations", "pim.any_opening", "pim.any_conflict"}.isdisjoint(done.counts)
    run = weights[:, 6, 5 * per_column:13 * per_column]
    expected = expected_lanes(form, np.concatenate([run, run], axis=1), np.concatenate([x, x]))
    got = accumulators(bench, form)
    assert np.array_equal(got[:, 6], expected)
    assert not np.any(np.delete(got, 6, axis=1))


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
def test_a_row_of_each_bank_with_that_of_the_next_one(bench, form):
    """All banks, the last with the first; then bank 15 alone, which needs bank 0 open too. The global buffer takes no part."""
    weights = fill(bench, 4, COLUMNS, form)
    per_column = weights.shape[-1] // COLUMNS
    bench.set(pim__column=2, pim__next_bank=1, pim__buffer_column=31)
    bench.m.state["pim.global_buffer"][:] = 77
    runs = weights[..., 2 * per_column:9 * per_column]
    zeros(bench, form)
    done = bench.run(f"pim.mac_abk.{form}", opsize=7, row=4)
    assert done.counts == ONE | {"pim.activations": 48, "pim.compute_commands": 21, "pim.columns_read": 336,
                                 "pim.macs": 336 * per_column, "pim.bytes_stayed": 336 * 32, "pim.slots": 7, "pim.any_opening": 1}

    def expected(bank, lanes):
        for channel in range(len(CHANNELS)):
            products = expected_lanes(form, runs[channel, bank], runs[channel, (bank + 1) % BANKS])
            assert np.array_equal(lanes[channel, bank], products), (channel, bank)

    for bank in range(BANKS):
        expected(bank, accumulators(bench, form))
    zeros(bench, form)
    bench.m.state["pim.open_row"][:] = -1
    done = bench.run(f"pim.mac_sbk.{form}", opsize=7, bank=15, row=4)
    assert done.counts == ONE | {"pim.activations": 6, "pim.compute_commands": 21, "pim.columns_read": 42,
                                 "pim.macs": 21 * per_column, "pim.bytes_stayed": 42 * 32, "pim.slots": 7, "pim.any_opening": 1}
    lanes = accumulators(bench, form)
    expected(15, lanes)
    assert not np.any(lanes[:, :15])
    assert np.array_equal(np.argwhere(bench.m.state["pim.open_row"].reshape(64, BANKS) == 4),
                          [(channel, bank) for channel in CHANNELS for bank in (0, 15)])


def test_f16_rounds_the_product_then_the_sum(bench):
    """(1 + 2**-10)**2 rounds to 1 + 2**-9; added to -(1 + 2**-9) that is 0, and not 2**-20."""
    for channel in CHANNELS:
        bench.m.peek(place(channel, 0, 0), 2).view(np.float16)[:] = 1 + 2**-10
    bench.run("pim.wr_gb", x=bench.put(np.full(16, 1 + 2**-10, np.float16)), opsize=1)
    bench.run("pim.wr_bias.f16", bias=bench.put(np.full(48, -(1 + 2**-9), np.float16)))
    bench.run("pim.mac_sbk.f16", opsize=1, bank=0, row=0)
    assert accumulators(bench, "f16")[0, 0, 0] == 0


def test_f16_infinities_and_nans(bench):
    values = np.array([65504, -65504, np.inf, np.inf, np.nan, 2.0**-24, -0.0, 1], np.float16)
    factors = np.array([2, 2, -1, 0, 1, 0.5, 1, 2.0**-24], np.float16)
    bench.m.peek(place(0, 0, 0), 16).view(np.float16)[:] = values
    bench.run("pim.wr_gb", x=bench.put(np.concatenate([factors, np.zeros(8, np.float16)])), opsize=1)
    bench.run("pim.mac_sbk.f16", opsize=1, bank=0, row=0)
    words = bench.m.state["pim.accumulators"][:8].tolist()
    assert words == [0x7C00, 0xFC00, 0xFC00, 0x7E00, 0x7E00, 0, 0, 1]       # 2**-25 is a tie and goes to 0; 0 + -0 is +0


def test_i8_sums_wrap(bench):
    bench.run("pim.wr_bias.i8", bias=bench.put(np.full(48, (1 << 31) - 1, np.int32)))
    for channel in CHANNELS:
        bench.m.peek(place(channel, 0, 0), 1)[:] = 1
    bench.run("pim.wr_gb", x=bench.put(np.ones(32, np.int8)), opsize=1)
    bench.run("pim.mac_abk.i8", opsize=1, row=0)
    assert accumulators(bench, "i8")[0, :2, 0].tolist() == [-(1 << 31), (1 << 31) - 1]


# ------------------------------------------------------------------------------------------------ rows


def test_the_controller_opens_and_closes_rows(bench):
    """Bank 3 of channel 2 has another row open, bank 4 this one: one conflict, one hit, the others are closed."""
    rows = bench.m.state["pim.open_row"].reshape(64, BANKS)
    rows[2, 3], rows[2, 4] = 8, 9
    done = bench.run("pim.mac_abk.i8", opsize=1, row=9)
    assert {name: done.counts.get(f"pim.{name}", 0) for name in ("activations", "precharges", "row_hits", "row_conflicts")} == {
        "activations": 47, "precharges": 1, "row_hits": 1, "row_conflicts": 1}
    rows = bench.m.state["pim.open_row"].reshape(64, BANKS)
    assert np.all(rows[list(CHANNELS)] == 9)
    assert np.all(np.delete(rows, CHANNELS, axis=0) == -1)


FORMS = {"pim.wr_sbk": {"x": 0x1000_0000, "bank": 0, "row": 0}, "pim.wr_abk": {"x": 0x1000_0000, "row": 0},
         "pim.rd_sbk": {"dst": 0x1000_0000, "bank": 0, "row": 0}, "pim.copy_bkgb": {"opsize": 1, "bank": 0, "row": 0},
         "pim.copy_gbbk": {"opsize": 1, "bank": 0, "row": 0}, "pim.mac_sbk.f16": {"opsize": 1, "bank": 0, "row": 0},
         "pim.mac_abk.bf16": {"opsize": 1, "row": 0}, "pim.ewmul.f16": {"opsize": 1, "row": 0}}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_the_machine_or_its_state_does_not_allow(bench, name):
    def detail(**changes):
        return refused(Cause.ILLEGAL_OPERAND, bench, name, **(FORMS[name] | changes))

    assert detail(row=32768) == "row 32768; slim has rows 0..32767"
    if "bank" in FORMS[name]:
        assert detail(bank=16) == "bank 16; slim has banks 0..15"
    if "opsize" in FORMS[name]:
        assert detail(opsize=33) == "opsize 33 from pim.column 0 on: a row has columns 0..31"
        assert detail(opsize=0) == "opsize 0; expected at least 1"
        bench.set(pim__column=30)
        assert detail(opsize=3) == "opsize 3 from pim.column 30 on: a row has columns 0..31"
        bench.set(pim__column=0)
        if "copy" in name or "mac" in name:
            bench.set(pim__buffer_column=31)
            assert detail(opsize=2) == "opsize 2 from pim.buffer_column 31 on: the global buffer has columns 0..31"
            bench.set(pim__buffer_column=0)
    bench.m.state["pim.mode"][2] = HAB
    assert detail() == "channel 2 is in mode HAB; a macro form needs SB"
    bench.m.state["pim.mode"][2] = SB
    bench.set(pim__channel_mask=0)
    assert detail().startswith("no channel is selected")
    bench.set(pim__channel_mask1=1)
    assert detail() == "channel 64 is selected; slim has channels 0..63"
    assert np.all(bench.m.state["pim.open_row"] == -1)
    bench.set(pim__channel_mask=MASK, pim__channel_mask1=0)
    bench.run(name, **FORMS[name])


def test_buffers_accumulators_and_activations_need_a_channel(bench):
    bench.set(pim__channel_mask=0)
    for name, operands in (("pim.wr_gb", {"x": 0x1000_0000, "opsize": 1}), ("pim.wr_bias.f16", {"bias": 0x1000_0000}),
                           ("pim.rd_mac.i8", {"dst": 0x1000_0000}), ("pim.af.f16", {"mode": 0}),
                           ("pim.rd_af", {"dst": 0x1000_0000})):
        assert refused(Cause.ILLEGAL_OPERAND, bench, name, **operands).startswith("no channel is selected")


def test_what_is_outside_of_memory(bench):
    for name, operands, cause in (("pim.wr_gb", {"x": 0x100, "opsize": 1}, Cause.LOAD_ACCESS),
                                  ("pim.wr_bias.i8", {"bias": 0x1000_0002}, Cause.MISALIGNED_OPERAND),
                                  ("pim.rd_mac.f16", {"dst": 0x100}, Cause.STORE_ACCESS),
                                  ("pim.rd_sbk", {"dst": 0x10_0000_0000, "bank": 0, "row": 0}, Cause.STORE_ACCESS),
                                  ("pim.ewadd.f16", {"y": 0x1000_0000, "x": 0x1000_0000, "opsize": 1 << 29}, Cause.CAPACITY)):
        with pytest.raises(Trapped) as trapped:
            bench.run(name, **operands)
        assert trapped.value.cause == cause, name
    assert np.all(bench.m.state["pim.open_row"] == -1)


# ------------------------------------------------------------------------------------------------ banks and buffers


def test_a_column_is_written_and_read(bench):
    data = np.arange(100, 132, dtype=np.uint8)
    bench.set(pim__column=4)
    done = bench.run("pim.wr_sbk", x=bench.put(data), bank=2, row=6)
    assert done.counts == ONE | {"sram.bytes_read": 32, "pim.activations": 3, "pim.write_commands": 3,
                                 "pim.columns_written": 3, "pim.bytes_entered": 96, "pim.slots": 1, "pim.any_opening": 1}
    for channel in CHANNELS:
        assert np.array_equal(bench.m.peek(place(channel, 2, 6, 4), 32), data)
    assert not np.any(bench.m.peek(place(1, 2, 6, 4), 32))
    bench.m.peek(place(2, 2, 6, 4), 1)[:] = 7
    dst = bench.put(np.zeros(96, np.uint8))
    done = bench.run("pim.rd_sbk", dst=dst, bank=2, row=6)
    assert done.counts == ONE | {"sram.bytes_written": 96, "pim.row_hits": 3, "pim.read_commands": 3,
                                 "pim.columns_read": 3, "pim.bytes_left": 96, "pim.slots": 1}
    read = bench.get(dst, "u1", 96).reshape(3, 32)
    assert np.array_equal(read[[0, 2]], [data, data])
    assert read[1].tolist() == [7, *data[1:].tolist()]


def test_a_column_of_all_banks_is_written(bench):
    data = np.arange(32, dtype=np.uint8)
    done = bench.run("pim.wr_abk", x=bench.put(data), row=1)
    assert done.counts == ONE | {"sram.bytes_read": 32, "pim.activations": 48, "pim.write_commands": 3,
                                 "pim.columns_written": 48, "pim.broadcasts": 3, "pim.bytes_entered": 96,
                                 "pim.slots": 1, "pim.any_opening": 1}
    for channel in CHANNELS:
        for bank in range(BANKS):
            assert np.array_equal(bench.m.peek(place(channel, bank, 1), 32), data)


def test_banks_and_buffers_are_copied(bench):
    weights = fill(bench, 5, COLUMNS, "i8")
    bench.set(pim__column=8, pim__buffer_column=20)
    done = bench.run("pim.copy_bkgb", opsize=10, bank=9, row=5)
    assert done.counts == ONE | {"pim.activations": 3, "pim.read_commands": 30, "pim.columns_read": 30,
                                 "pim.bytes_stayed": 960, "pim.slots": 10, "pim.any_opening": 1}
    buffers = bench.m.state["pim.global_buffer"].reshape(64, 1024)[list(CHANNELS)]
    assert np.array_equal(buffers[:, 640:960].view(np.int8), weights[:, 9, 256:576])
    assert not np.any(buffers[:, :640])
    bench.set(pim__column=1)
    done = bench.run("pim.copy_gbbk", opsize=10, bank=0, row=12)
    assert done.counts == ONE | {"pim.activations": 3, "pim.write_commands": 30,
                                 "pim.columns_written": 30, "pim.bytes_stayed": 960, "pim.slots": 10, "pim.any_opening": 1}
    for i, channel in enumerate(CHANNELS):
        assert np.array_equal(bench.m.peek(place(channel, 0, 12, 1), 320).view(np.int8), weights[i, 9, 256:576])


# ------------------------------------------------------------------------------------------------ activation, element-wise


@pytest.mark.parametrize("form", ["f16", "bf16"])
def test_activation(bench, form):
    """A table of 2 x with a kink: between two entries the value lies on the line, at an entry it is the entry."""
    starts = np.arange(1024, dtype=np.uint16) << 6
    if form == "f16":
        with np.errstate(over="ignore", invalid="ignore"):
            table = (starts.view(np.float16) * np.float16(2)).view(np.uint16)
        x = np.array([1, 1.03125, -3.1, 0, 20000, 2.0**-20], np.float16)
        doubled, outside = (x * np.float16(2)).view(np.uint16), x.view(np.uint16)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            table = to_bf16(np.nan_to_num(bf16(starts) * np.float32(2), nan=0, posinf=0, neginf=0))
        outside = to_bf16(np.array([1, 1.25, -3.1, 0, 1e30, 1e-30], np.float32))
        doubled = to_bf16(bf16(outside) * np.float32(2))
    done = bench.run("pim.wr_aflut", table=bench.put(table), mode=3)
    assert done.counts == ONE | {"sram.bytes_read": 2048, "pim.write_commands": 64 * 64,
                                 "pim.broadcasts": 64 * 64, "pim.bytes_entered": 64 * 2048, "pim.slots": 64}
    biases = np.zeros(48, np.uint16)
    biases[:6] = outside
    bench.run(f"pim.wr_bias.{form}", bias=bench.put(biases))
    done = bench.run(f"pim.af.{form}", mode=3)
    assert done.counts == ONE | {"pim.compute_commands": 3, "pim.elements": 48, "pim.slots": 1}
    dst = bench.put(np.zeros(48, np.uint16))
    done = bench.run("pim.rd_af", dst=dst)
    assert done.counts == ONE | {"sram.bytes_written": 96, "pim.read_commands": 3, "pim.readouts": 48,
                                 "pim.bytes_left": 96, "pim.slots": 1}
    assert bench.get(dst, "<u2", 6).tolist() == doubled.tolist()
    bench.run(f"pim.af.{form}", mode=0)                                 # a table of zeros
    bench.run("pim.rd_af", dst=dst)
    assert not np.any(bench.get(dst, "<u2", 48))
    for name in ("pim.wr_aflut", f"pim.af.{form}"):
        operands = {"table": 0x1000_0000, "mode": 8} if "aflut" in name else {"mode": 8}
        assert refused(Cause.ILLEGAL_OPERAND, bench, name, **operands) == "activation mode 8; expected 0..7"


@pytest.mark.parametrize("form", ["f16", "bf16"])
def test_products_in_bank_groups(bench, form):
    weights = fill(bench, 2, COLUMNS, form)
    bench.set(pim__column=2)
    done = bench.run(f"pim.ewmul.{form}", opsize=7, row=2)
    assert done.counts == ONE | {"pim.activations": 36, "pim.compute_commands": 21, "pim.columns_read": 168,
                                 "pim.columns_written": 84, "pim.elements": 1344, "pim.bytes_stayed": 252 * 32,
                                 "pim.slots": 7, "pim.any_opening": 1}
    for i, channel in enumerate(CHANNELS):
        for bank in range(BANKS):
            expected = weights[i, bank].copy()
            if bank % 4 == 2:
                a, b = weights[i, bank - 2, 32:144], weights[i, bank - 1, 32:144]
                expected[32:144] = a * b if form == "f16" else to_bf16(bf16(a) * bf16(b))
            assert np.array_equal(bench.m.peek(place(channel, bank, 2), 1024).view(weights.dtype), expected), (channel, bank)
    assert np.all(bench.m.state["pim.open_row"].reshape(64, 4, 4)[list(CHANNELS)] == [2, 2, 2, -1])


def test_products_in_some_bank_groups(bench):
    weights = fill(bench, 2, COLUMNS, "f16")
    bench.set(pim__group_mask=0b1010)
    done = bench.run("pim.ewmul.f16", opsize=4, row=2)
    assert done.counts == ONE | {"pim.activations": 18, "pim.compute_commands": 12, "pim.columns_read": 48,
                                 "pim.columns_written": 24, "pim.elements": 384, "pim.bytes_stayed": 72 * 32,
                                 "pim.slots": 4, "pim.any_opening": 1}
    assert np.all(bench.m.state["pim.open_row"].reshape(64, 4, 4)[2] == [[-1] * 4, [2, 2, 2, -1]] * 2)
    for bank in (2, 6, 10, 14):
        before = weights[0, bank, :64]
        after = weights[0, bank - 2, :64] * weights[0, bank - 1, :64] if bank in (6, 14) else before
        assert np.array_equal(bench.m.peek(place(0, bank, 2), 128).view(np.float16), after)
    bench.set(pim__group_mask=0xF0)
    assert refused(Cause.ILLEGAL_OPERAND, bench, "pim.ewmul.f16", opsize=4, row=2) == (
        "no bank group is selected: slim has bits 0..3 of pim.group_mask")


@pytest.mark.parametrize("form", ["f16", "bf16"])
@pytest.mark.parametrize("opsize", [0, 1, 9])
def test_sums_in_the_controller(bench, form, opsize):
    random = np.random.default_rng(5)
    a, b = numbers(random, form, 16 * opsize), numbers(random, form, 16 * opsize)
    y, x = bench.put(a), bench.put(b)
    done = bench.run(f"pim.ewadd.{form}", y=y, x=x, opsize=opsize)
    assert done.counts.get("pim.elements", 0) == 16 * opsize
    expected = (a + b).view(np.uint16) if form == "f16" else to_bf16(bf16(a) + bf16(b))
    assert np.array_equal(bench.get(y, "<u2", 16 * opsize), expected)
