"""pim, level 2: micro-programs. What blocks compute is compared with NumPy's float16, one operation after the other."""

import numpy as np
import pytest
from unit_bench import Bench, refused

import asm
from isa.traps import Cause

ILLEGAL = Cause.ILLEGAL_OPERAND
SPECIAL = np.array([0, 0x8000, 1, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x3C00, 0xBC01, 0x5555,
                    0xD123], np.uint16).view(np.float16)


def words(text):
    """The words of a micro-program: instructions, separated by semicolons."""
    lines = "".join(f".crf {line.strip()}\n" for line in text.split(";"))
    assembled = asm.assemble(f".section .text\n_start: nop\n.data\n{lines}").section(".data").bytes()
    return np.frombuffer(assembled, "<u4")


class Blocks(Bench):
    """A channel in HAB_PIM with a micro-program, its even and odd banks open at some row, random registers."""

    def __init__(self, text, row=6, machine="hbm2-pim", seed=0, channels=1):
        super().__init__(machine)
        self.random, self.row, self.channels = np.random.default_rng(seed), row, channels
        self.set(pim__channel_mask=(1 << channels) - 1)
        banks = self.m.preset.banks
        self.blocks, self.apart = banks.blocks, banks.banks_per_block
        self.run("pim.mode.hab")
        crf = np.zeros(32, "<u4")
        crf[:len(words(text))] = words(text)
        for index in range(4):
            self.run("pim.wr.crf", src=self.put(crf[8 * index:8 * index + 8]), index=index)
        self.run("pim.act.ab", row=row)
        self.run("pim.mode.hab_pim", zeroed=0)
        for name in ("grf_a", "grf_b", "srf"):
            self.m.state[f"pim.{name}"][:] = self.numbers(len(self.m.state[f"pim.{name}"]))

    def numbers(self, count):
        """fp16 of middle size, with special ones among them."""
        values = (self.random.standard_normal(count) * 4).astype(np.float16)
        return np.where(self.random.random(count) < 0.1, self.random.choice(SPECIAL, count), values)

    def registers(self, name, channel=0):
        """(blocks, registers, 16) of GRF_A or GRF_B, (blocks, 1, 16) of SRF."""
        return self.m.state[f"pim.{name}"].reshape(self.m.preset.banks.channels, self.blocks, -1, 16)[channel]

    def column(self, parity, column, channel=0):
        """A view of a column of each even or odd bank's open row, as fp16: a list of (16,)."""
        address = self.m.preset.banks.address
        return [self.m.peek(int(address(channel, block * self.apart + parity, self.row, column)), 32).view("<f2")
                for block in range(self.blocks)]

    def fill(self, parity, column, channel=0):
        for lanes in self.column(parity, column, channel):
            lanes[:] = self.numbers(16)
        return np.array(self.column(parity, column, channel))

    def step(self, column, parity=0, write=False):
        return self.run("pim.wr.pim" if write else "pim.rd.pim", parity=parity, column=column).counts

    def pc(self, channel=0):
        return int(self.m.state["pim.crf_pc"][channel])


def equal(got, expected):
    """The same bits, where NaN is the canonical one."""
    expected = np.where(np.isnan(expected), np.uint16(0x7E00), np.asarray(expected, np.float16).view(np.uint16))
    assert np.array_equal(np.asarray(got).view(np.uint16), expected)


# ------------------------------------------------------------------------------------------------ registers


def test_a_burst_goes_to_the_register_in_every_block_of_every_channel():
    bench = Blocks("exit", channels=2)
    before = bench.m.state["pim.grf_a"].copy()
    burst = np.arange(16, dtype=np.float16)
    assert bench.run("pim.wr.grf_a", src=bench.put(burst), index=5).counts == {
        "core.instructions": 1, "pim.ops": 1, "pim.write_commands": 2, "pim.broadcasts": 2, "pim.bytes_entered": 64,
        "pim.slots": 1, "sram.bytes_read": 32}
    after = bench.m.state["pim.grf_a"].reshape(64, 8, 8, 16)
    expected = before.reshape(64, 8, 8, 16).copy()
    expected[:2, :, 5] = burst
    assert np.array_equal(after.view(np.uint16), expected.view(np.uint16))
    bench.run("pim.wr.grf_b", src=bench.put(burst), index=0)
    bench.run("pim.wr.srf", src=bench.put(burst + 1))
    for channel in (0, 1):
        assert np.all(bench.registers("grf_b", channel)[:, 0] == burst)
        assert np.all(bench.registers("srf", channel)[:, 0] == burst + 1)


def test_entering_hab_pim_starts_anew_and_clears_what_it_is_told_to():
    bench = Blocks("nop 3; exit")
    bench.step(0)
    assert bench.m.state["pim.crf_repeat"][0] == 1
    bench.run("pim.mode.hab")
    bench.run("pim.mode.hab_pim", zeroed=2)
    assert (bench.pc(), bench.m.state["pim.crf_repeat"][0]) == (0, 0)
    assert bench.registers("grf_a").any()
    assert not bench.registers("grf_b").any()
    assert bench.registers("grf_b", 1).any()
    bench.run("pim.mode.hab")
    bench.run("pim.mode.hab_pim", zeroed=1)
    assert not bench.registers("grf_a").any()
    bench.run("pim.mode.hab")
    assert refused(ILLEGAL, bench, "pim.mode.hab_pim", zeroed=4) == "zeroed is 0x4; expected bit 0 for GRF_A, bit 1 for GRF_B"


@pytest.mark.parametrize(("command", "limit"), [("crf", 4), ("grf_a", 8), ("grf_b", 8)])
def test_registers_that_do_not_exist(command, limit):
    bench = Bench()
    bench.run("pim.mode.hab")
    assert refused(ILLEGAL, bench, f"pim.wr.{command}", src=0x1000_0000, index=limit) == (
        f"pim.wr.{command} {limit}; expected 0..{limit - 1}")


# ------------------------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("parity", [0, 1])
def test_arithmetic_is_that_of_float16(parity):
    bank = ("even_bank", "odd_bank")[parity]
    bench = Blocks(f"add grf_a[1], grf_b[2], {bank}; mul grf_b[3], {bank}, srf_m[5]; mac grf_b[0], grf_a[4], {bank};"
                   f"mad grf_a[0], {bank}, srf_m[2], srf_a[2]; add grf_b[5], srf_a[7], srf_m[1]; mac grf_b[1], {bank}, {bank};"
                   f"mad grf_b[6], grf_a[6], grf_b[7], {bank}; mul grf_a[7], grf_a[7], grf_a[7]")
    with np.errstate(all="ignore"):
        w = bench.fill(parity, 9)
        a, b, s = (bench.registers(name).copy() for name in ("grf_a", "grf_b", "srf"))
        scalar = lambda i: s[:, 0, i, None]                                         # noqa: E731
        expected = [("grf_a", 1, b[:, 2] + w), ("grf_b", 3, w * scalar(5)), ("grf_b", 0, b[:, 0] + a[:, 4] * w),
                    ("grf_a", 0, w * scalar(2) + scalar(10)), ("grf_b", 5, np.broadcast_to(scalar(15) + scalar(1), (8, 16))),
                    ("grf_b", 1, b[:, 1] + w * w), ("grf_b", 6, a[:, 6] * b[:, 7] + w), ("grf_a", 7, a[:, 7] * a[:, 7])]
        for at, (name, index, values) in enumerate(expected):
            assert bench.pc() == at
            before = {name: bench.registers(name).copy() for name in ("grf_a", "grf_b")}
            bench.step(9, parity)
            equal(bench.registers(name)[:, index], values)
            before[name][:, index] = bench.registers(name)[:, index]                # and nothing else
            assert all(np.array_equal(bench.registers(name).view("u2"), array.view("u2")) for name, array in before.items())


def test_a_mac_rounds_its_product_before_it_adds():
    bench = Blocks("mac grf_b[0], grf_a[0], even_bank")
    for lanes in bench.column(0, 0):
        lanes[:] = np.float16(1 + 2**-10)
    bench.registers("grf_a")[:, 0] = np.float16(1 + 2**-10)
    bench.registers("grf_b")[:, 0] = np.float16(-1)
    bench.step(0)
    assert np.all(bench.registers("grf_b")[:, 0] == np.float16(2**-9))              # fused, it would be 2**-9 + 2**-20


@pytest.mark.parametrize("what", ["relu", ""])
def test_mov_and_fill_move_bits(what):
    flag = f", {what}" if what else ""
    bench = Blocks(f"mov grf_a[3], even_bank{flag}; mov srf_m[0], grf_a[3]; mov even_bank, grf_b[2]{flag};"
                   f"fill grf_b[0], odd_bank{flag}; mov odd_bank, grf_b[7]")
    move = lambda bits: np.where(bits >= 0x8000, 0, bits) if what else bits         # noqa: E731
    source = bench.fill(0, 5).view("u2")
    bench.step(5)
    assert np.array_equal(bench.registers("grf_a")[:, 3].view("u2"), move(source))
    bench.step(5)
    assert np.array_equal(bench.registers("srf")[:, 0].view("u2"), move(source))
    bench.step(8, write=True)
    assert np.array_equal(np.array(bench.column(0, 8)).view("u2"), move(bench.registers("grf_b")[:, 2].view("u2")))
    filled = [bench.fill(1, column).view("u2") for column in range(8, 16)]
    for column in range(8, 16):
        assert bench.pc() == 3
        bench.step(column, 1)
    assert np.array_equal(bench.registers("grf_b").view("u2"), np.stack([move(bits) for bits in filled], 1))
    bench.step(31, 1, write=True)
    assert np.array_equal(np.array(bench.column(1, 31)).view("u2"), bench.registers("grf_b")[:, 7].view("u2"))


@pytest.mark.parametrize(("parity", "register"), [(0, "grf_a"), (1, "grf_b")])
def test_a_write_command_to_a_nop_stores_a_register(parity, register):
    bench = Blocks("nop 7; exit")
    for column in range(3, 10):
        bench.step(column, parity, write=True)
        stored = np.array(bench.column(parity, column)).view("u2")
        assert np.array_equal(stored, bench.registers(register)[:, column % 8].view("u2"))
    kept = bench.fill(parity, 11)
    bench.step(11, parity)                                                          # a read to a NOP does nothing
    assert np.array_equal(np.array(bench.column(parity, 11)).view("u2"), kept.view("u2"))
    assert bench.pc() == 1


# ------------------------------------------------------------------------------------------------ order


@pytest.mark.parametrize("row", [6, 7])
def test_address_aligned_mode_takes_register_numbers_from_row_and_column(row):
    bench = Blocks("mac grf_b[0], grf_a[0], even_bank, aam; add grf_a[0], grf_b[0], even_bank, aam", row=row)
    order = [24, 17, 9, 3, 0, 31, 12, 20]
    with np.errstate(all="ignore"):
        for column in order:
            w, a, b = bench.fill(0, column), bench.registers("grf_a").copy(), bench.registers("grf_b").copy()
            assert bench.pc() == 0
            bench.step(column)
            equal(bench.registers("grf_b")[:, column % 8], b[:, column % 8] + a[:, row % 2 * 4 + column // 8] * w)
        for column in order:
            assert bench.pc() == 1
            w, b = bench.fill(0, column), bench.registers("grf_b").copy()
            bench.step(column)
            equal(bench.registers("grf_a")[:, column % 8], b[:, column % 8] + w)
    assert bench.pc() == 2


@pytest.mark.parametrize(("text", "executed"), [
    ("mov grf_a[0], grf_b[1]; mov grf_a[1], grf_b[1]; exit", [0, 1]),
    ("nop 2; mov grf_a[0], grf_b[1]; exit", [0, 0, 0, 1]),
    ("mov grf_a[0], grf_b[1]; jump 3, 2; exit", [0, 0, 0, 0]),
    ("mov grf_a[0], grf_b[1]; mov grf_a[0], grf_b[1]; jump 2, 3; nop 0; exit", [0, 1, 0, 1, 0, 1, 3]),
    ("mov grf_a[0], grf_b[1]; jump 2, 2; nop 0; jump 1, 4; exit", [0, 0, 0, 2, 0, 0, 0, 2]),          # one loop in another
    ("jump 0, 5; nop 0; exit", [1]),
    ("mov grf_a[0], grf_b[1]; jump 1, 0; exit", [0]),                                                  # to the entry behind it
    ("mul grf_a[0], grf_a[0], grf_b[0], aam; jump 1, 2; exit", [0] * 16),
])
def test_the_order_of_instructions(text, executed):
    bench, found = Blocks(text), []
    for _ in executed:
        bench.step(0)
        taken = int(bench.m.state["pim.crf_repeat"][0])
        found.append(bench.pc() if taken else bench.pc() - 1)
    assert found == executed
    assert "the micro-program has ended" in refused(ILLEGAL, bench, "pim.rd.pim", parity=0, column=0)


@pytest.mark.parametrize(("text", "commands", "says"), [
    ("nop 31; " * 31 + "nop 0", 31 * 32 + 1, "the micro-program of channel 0 runs beyond CRF[31]; expected an EXIT"),
    ("nop 0; jump 1, 3; exit", 1, "CRF[1] of channel 0, 0xe0000803: a JUMP to entry -1; expected 0..31"),
    ("nop 0; jump 1, 1; exit", 1, "CRF[1] of channel 0, 0xe0000801: JUMPs lead round and round, with no instruction"),
    ("exit", 0, "CRF[0] of channel 0, 0xf0000000: the micro-program has ended; expected pim.mode.hab, and"),
    ("mov grf_a[0], odd_bank", 0, "CRF[0] of channel 0, mov grf_a[0], odd_bank, reads odd_bank, and this is a read command to ev"),
    ("mov even_bank, grf_a[0]", 0, "CRF[0] of channel 0, mov even_bank, grf_a[0], writes even_bank, and this is a read command to"),
    ("add grf_a[0], even_bank, odd_bank", 0, "reads odd_bank, and this is a read command to even_bank"),
])
def test_what_traps_when_it_is_reached(text, commands, says):
    bench = Blocks(text)
    for _ in range(commands):
        bench.step(0)
    assert says in refused(ILLEGAL, bench, "pim.rd.pim", parity=0, column=0)


@pytest.mark.parametrize(("word", "says"), [
    (0x39108000, "0x39108000: grf_a cannot be the destination of mac; expected grf_b"),
    (0x50000000, "opcode 5 is reserved"), (0x3B100080, "grf_a[8], source 0 of mac; expected an index 0..7"),
    (0x8A800000 | 1 << 15, "mov has no aam"), (0x10000000, "a_out cannot be the destination of add; expected grf_a or grf_b")])
def test_words_that_are_no_instruction(word, says):
    bench = Blocks("nop 0; exit")
    bench.m.state["pim.crf"][0] = word
    assert says in refused(ILLEGAL, bench, "pim.rd.pim", parity=0, column=0)


def test_a_write_command_reads_no_bank_and_a_closed_row_none():
    bench = Blocks("mac grf_b[0], grf_a[0], even_bank; exit")
    assert "reads even_bank, and this is a write command to even_bank" in refused(ILLEGAL, bench, "pim.wr.pim", parity=0, column=0)
    assert refused(ILLEGAL, bench, "pim.rd.pim", parity=0, column=32) == "column 32; hbm2-pim has columns 0..31"
    bench.run("pim.pre.hab", parity=0)
    assert "bank 0 of channel 0 has no open row; pim.rd.pim needs one" in refused(ILLEGAL, bench, "pim.rd.pim", parity=0, column=0)


def test_channels_run_their_own_programs_and_trap_together():
    bench = Blocks("nop 0; mov grf_a[0], grf_b[0]; exit", channels=2)
    bench.m.state["pim.crf"][32:34] = words("mov grf_a[1], grf_b[1]; exit")
    bench.step(0)
    assert (bench.pc(0), bench.pc(1)) == (1, 1)
    assert np.array_equal(bench.registers("grf_a", 1)[:, 1].view("u2"), bench.registers("grf_b", 1)[:, 1].view("u2"))
    says = refused(ILLEGAL, bench, "pim.rd.pim", parity=0, column=0)
    assert "CRF[1] of channel 1, 0xf0000000: the micro-program has ended" in says


# ------------------------------------------------------------------------------------------------ events


@pytest.mark.parametrize(("text", "write", "events"), [
    ("mac grf_b[0], grf_a[0], even_bank", False, {"macs": 256, "columns_read": 16, "bytes_stayed": 512}),
    ("mac grf_b[0], even_bank, even_bank", False, {"macs": 256, "columns_read": 16, "bytes_stayed": 512}),
    ("mad grf_b[0], grf_a[0], grf_a[1], grf_a[1]", False, {"macs": 256}),
    ("add grf_b[0], grf_a[0], even_bank", False, {"elements": 256, "columns_read": 16, "bytes_stayed": 512}),
    ("mov grf_b[0], grf_a[0]", True, {"elements": 256}),
    ("mov even_bank, grf_a[0]", True, {"elements": 256, "columns_written": 16, "bytes_stayed": 512}),
    ("nop 0", True, {"elements": 256, "columns_written": 16, "bytes_stayed": 512}),
    ("nop 0", False, {}),
])
def test_events_of_a_step_in_two_channels(text, write, events):
    bench = Blocks(text, channels=2)
    assert bench.step(3, write=write) == {
        "core.instructions": 1, "pim.ops": 1, "pim.row_hits": 16, "pim.compute_commands": 2, "pim.slots": 1, "pim.crf_steps": 2,
        } | {f"pim.{name}": count for name, count in events.items()}


def test_a_block_for_each_bank():
    bench = Blocks("mac grf_b[0], grf_a[0], even_bank", machine="gddr6-aim")
    with np.errstate(all="ignore"):
        w, a, b = bench.fill(0, 40), bench.registers("grf_a").copy(), bench.registers("grf_b").copy()
        assert len(w) == 16
        bench.step(40)
        equal(bench.registers("grf_b")[:, 0], b[:, 0] + a[:, 0] * w)
