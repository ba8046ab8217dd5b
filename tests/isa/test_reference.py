"""The reference engine: control flow, traps, CSRs, services, devices, and the rule that reads come before writes."""

import numpy as np
import pytest
from machine_files import without_unit

from isa.csrs import CSRS
from isa.instruction import TABLE
from isa.preset import PRESETS, load_preset
from isa.program import FileSlice, Line, Program, ProgramError, Section, Symbol
from isa.reference import ReferenceMachine, RunResult
from isa.services import Host
from isa.traps import Cause

TEXT, DATA, SRAM, MMIO, FLASH = 0x8000_0000, 0x8000_1000, 0x1000_0000, 0x0200_0000, 0x10_0000_0000
A0, A1, A2, A3, A7, T0, T1 = 10, 11, 12, 13, 17, 5, 6


def op(mnemonic: str, **values: int) -> int:
    return TABLE[mnemonic].encode(values)


def li(rd: int, value: int) -> list[int]:
    """`value` (up to 31 bits) into a register."""
    upper = (value + 0x800) >> 12
    return [op("lui", rd=rd, imm=upper), op("addiw", rd=rd, rs1=rd, imm=value - (upper << 12))]


def program(words: list[int], data: bytes = b"", **extra) -> Program:
    text = b"".join(word.to_bytes(4, "little") for word in words)
    sections = [Section(".text", "ax", TEXT, 4, [text])]
    if data:
        sections.append(Section(".data", "aw", DATA, 8, [data]))
    return Program(sections, [Symbol("_start", TEXT, 0, "func", "global", ".text")], [Line(TEXT, "t.s", 7)], TEXT, **extra)


def machine(words: list[int], data: bytes = b"", *, preset: str = "slim", host: Host | None = None) -> ReferenceMachine:
    m = ReferenceMachine(preset, host)
    m.load(program(words, data))
    return m


EXIT = [op("addi", rd=A7, rs1=0, imm=93), op("ecall")]


def test_run_exits_with_the_programs_code_and_counts_every_instruction():
    m = machine([op("addi", rd=A0, rs1=0, imm=300), *EXIT])
    result = m.run()
    assert (result.reason, result.exit_code, result.instructions) == ("exit", 300 & 0xFF, 3)
    assert m.counters["core.instructions"] == 3 and m.counters["core.services"] == 1


def test_only_a_program_that_has_exited_has_an_exit_code():
    m = machine([op("addi", rd=A0, rs1=0, imm=1), 0])
    assert [m.run(max_instructions=1), m.run()] == [RunResult("limit", None, 1), RunResult("trap", None, 1, m.run().trap)]
    m = machine([op("addi", rd=A0, rs1=0, imm=0), *EXIT])
    m.stop("interrupted")
    assert (m.run().exit_code, m.run().exit_code) == (None, 0)


def test_a_program_that_has_exited_stays_where_it_is_until_one_is_loaded():
    m = machine([*EXIT, op("addi", rd=A1, rs1=0, imm=1)])
    assert m.run() == m.run() and m.x[A1] == 0
    m.load(program([op("addi", rd=A0, rs1=0, imm=5), *EXIT]))
    assert m.run().exit_code == 5


@pytest.mark.parametrize(("words", "shown"), [
    ([op("addi", rd=A0, rs1=0, imm=1), 0], "pc 0x80000004 <_start+0x4> (t.s:7)\n"),
    ([op("addi", rd=A0, rs1=0, imm=1), 0], "0x00000000 is not an instruction of this machine; a program ends with a7 = 93"),
    ([op("jalr", rd=0, rs1=1, imm=0)], "at pc 0x0\n"),
    ([op("jalr", rd=0, rs1=1, imm=0)], "no executable memory at 0x0; a program ends with a7 = 93"),
    ([op("csrrw", rd=0, csr=CSRS["vec.macs"].address, rs1=A0)], "csr=vec.macs"),
    ([op("csrrw", rd=0, csr=0x123, rs1=A0)], "csr=0x123"),
])
def test_a_trap_report_reads_well(words: list[int], shown: str):
    assert shown in str(machine(words).run().trap)


def test_run_stops_at_the_limit_and_can_go_on():
    m = machine([op("addi", rd=A0, rs1=A0, imm=1), op("jal", rd=0, imm=-4)])
    assert m.run(max_instructions=5).reason == "limit"
    assert m.x[A0] == 3
    m.run(max_instructions=2)
    assert m.x[A0] == 4 and m.counters["core.instructions"] == 7


def test_a_handler_that_traps_itself_comes_to_an_end_at_the_limit():
    m = machine([op("csrrwi", rd=0, csr=0x305, zimm=8), op("ebreak")])       # the handler is at 8, where there is no memory
    assert m.run(max_instructions=10).reason == "limit"
    assert (m.counters["core.instructions"], m.counters["core.traps"]) == (1, 9)


def test_x0_stays_zero_and_results_are_taken_modulo_2_64():
    m = machine([op("addi", rd=0, rs1=0, imm=5), op("addi", rd=A0, rs1=0, imm=-1), op("add", rd=A1, rs1=A0, rs2=A0)])
    m.run(max_instructions=3)
    assert m.x[0] == 0 and m.x[A0] == 2**64 - 1 and m.x[A1] == 2**64 - 2


def test_branches_are_counted_and_links_point_behind_the_jump():
    m = machine([op("beq", rs1=0, rs2=0, imm=8), op("ebreak"), op("bne", rs1=0, rs2=0, imm=8), op("jal", rd=1, imm=8),
                 op("ebreak"), *EXIT])
    assert m.run().reason == "exit"
    assert m.x[1] == TEXT + 16
    assert (m.counters["core.branches"], m.counters["core.branches_taken"]) == (2, 1)


def test_a_trap_without_handler_reports_place_symbol_instruction_and_reason():
    m = machine([op("ld", rd=A0, rs1=0, imm=16)])
    report = m.run().trap
    assert report is not None
    assert (report.cause, report.value, report.pc, report.symbol, report.place) == (Cause.LOAD_ACCESS, 16, TEXT, "_start", "t.s:7")
    assert "ld rd=a0=0x0, imm=16, rs1=zero=0x0" in str(report) and "do not lie in one region" in str(report)


def test_a_trap_leaves_registers_memory_and_counters_as_they_were():
    """vec.add reads its second operand outside memory: nothing but core.traps may change."""
    words = [*li(A0, SRAM), *li(A3, 4), op("vec.add.f32", dst=A0, a=A0, b=0, n=A3)]
    m = machine(words)
    m.run(max_instructions=4)
    before = (list(m.x), m.counters, bytes(m.peek(SRAM, 64)))
    assert m.step().cause == Cause.LOAD_ACCESS
    assert list(m.x) == before[0] and bytes(m.peek(SRAM, 64)) == before[2] and m.pc == TEXT + 16
    assert m.counters == before[1] | {"core.traps": 1}


@pytest.mark.parametrize(("word", "cause", "value"), [
    (0, Cause.ILLEGAL_INSTRUCTION, 0),
    (0xFFFF_FFFF, Cause.ILLEGAL_INSTRUCTION, 0xFFFF_FFFF),
    (op("ebreak"), Cause.BREAKPOINT, TEXT),
    (op("jal", rd=0, imm=2), Cause.FETCH_MISALIGNED, TEXT + 2),
    # mtval of an illegal instruction is its bits or 0, nothing else: Volume II, "Machine Trap Value Register"
    (op("csrrw", rd=0, csr=0xC00, rs1=0), Cause.ILLEGAL_INSTRUCTION, 0xC000_1073),      # read-only
    (op("csrrs", rd=0, csr=0x180, rs1=0), Cause.ILLEGAL_INSTRUCTION, 0x1800_2073),      # satp: no supervisor mode
    (op("sd", rs2=0, rs1=0, imm=8), Cause.STORE_ACCESS, 8),
    (op("ecall"), Cause.ENVIRONMENT_CALL, 0),
])
def test_standard_causes(word, cause, value):
    report = machine([word]).step()
    assert (report.cause, report.value) == (cause, value)


def test_jumping_away_from_memory_is_a_fetch_trap_at_the_target():
    m = machine([op("jalr", rd=0, rs1=0, imm=64)])
    assert m.step() is None
    report = m.step()
    assert (report.cause, report.pc, report.word) == (Cause.FETCH_ACCESS, 64, None)


def test_a_handler_receives_the_trap_and_mret_returns():
    handler = TEXT + 6 * 4
    words = [*li(A0, handler), op("csrrw", rd=0, csr=0x305, rs1=A0), op("csrrsi", rd=0, csr=0x300, zimm=8),
             op("ebreak"), op("jal", rd=0, imm=0),
             op("csrrs", rd=A1, csr=0x342, rs1=0), op("csrrs", rd=A2, csr=0x300, rs1=0), op("csrrs", rd=T0, csr=0x341, rs1=0),
             op("addi", rd=T0, rs1=T0, imm=4), op("csrrw", rd=0, csr=0x341, rs1=T0), op("mret")]
    words[0:2] = [op("auipc", rd=A0, imm=0), op("addi", rd=A0, rs1=A0, imm=6 * 4)]
    m = machine(words)
    assert m.run(max_instructions=11).reason == "limit"
    assert m.x[A1] == Cause.BREAKPOINT
    assert m.x[A2] & 0x88 == 0x80                       # in the handler: MIE off, MPIE holds the old MIE
    assert m.pc == TEXT + 20 and m.csr("mstatus") & 8    # behind the ebreak, interrupts enabled again
    assert m.counters["core.traps"] == 1


def test_with_a_handler_ecall_traps_instead_of_serving():
    m = machine([op("auipc", rd=A0, imm=0), op("csrrw", rd=0, csr=0x305, rs1=A0), *EXIT])
    assert m.run(max_instructions=3).reason == "limit"
    m.step()
    assert m.csr("mcause") == Cause.ENVIRONMENT_CALL and m.pc == TEXT


def test_csr_instructions_read_modify_and_leave_alone():
    scratch = CSRS["mscratch"].address
    m = machine([op("csrrwi", rd=A0, csr=scratch, zimm=5), op("csrrsi", rd=A1, csr=scratch, zimm=10),
                 op("csrrci", rd=A2, csr=scratch, zimm=1), op("csrrs", rd=A3, csr=scratch, rs1=0)])
    m.run(max_instructions=4)
    assert [m.x[r] for r in (A0, A1, A2, A3)] == [0, 5, 15, 14]


def test_unit_csrs_hold_64_bits_and_counters_can_be_read_by_the_program():
    m = machine([op("addi", rd=A0, rs1=0, imm=-1), op("csrrw", rd=0, csr=CSRS["vec.cols"].address, rs1=A0),
                 op("csrrs", rd=A1, csr=CSRS["core.instructions"].address, rs1=0),
                 op("csrrwi", rd=0, csr=CSRS["minstret"].address, zimm=0), op("csrrs", rd=A2, csr=CSRS["instret"].address, rs1=0)])
    m.run(max_instructions=5)
    assert m.csr("vec.cols") == 2**64 - 1
    assert m.x[A1] == 2 and m.x[A2] == 0


def test_services_write_and_refuse_other_files():
    host = Host()
    words = [*li(A1, DATA - TEXT), op("auipc", rd=T0, imm=0), op("add", rd=A1, rs1=A1, rs2=T0), op("addi", rd=A1, rs1=A1, imm=-8),
             op("addi", rd=A0, rs1=0, imm=1), op("addi", rd=A2, rs1=0, imm=5), op("addi", rd=A7, rs1=0, imm=64), op("ecall"),
             op("addi", rd=A3, rs1=A0, imm=0), op("addi", rd=A0, rs1=0, imm=7), op("ecall")]
    m = machine(words, b"hello, world", host=host)
    assert m.run(max_instructions=len(words)).reason == "limit"
    assert bytes(host.output) == b"hello" and m.x[A3] == 5 and m.x[A0] == 2**64 - 9
    assert m.counters["dram.bytes_read"] == 5


def test_tokens_come_in_and_go_out():
    host = Host(prompt=[7, 9])
    read = [*li(A7, 0x5110), op("ecall")]
    emit = [*li(A7, 0x5111), op("ecall")]
    m = machine([*read, *emit, *read, *emit, *read], host=host)
    m.run(max_instructions=15)
    assert host.tokens == [7, 9] and m.x[A0] == 2**64 - 1
    assert (m.counters["tokens.read"], m.counters["tokens.emitted"]) == (2, 2)


def test_htif_exit_and_console_in_the_mmio_region():
    host = Host()
    words = [*li(T0, MMIO), op("addi", rd=A0, rs1=0, imm=ord("!")), op("sb", rs2=A0, rs1=T0, imm=16),
             op("addi", rd=A1, rs1=0, imm=0x101), op("slli", rd=A1, rs1=A1, shamt6=48), op("addi", rd=A1, rs1=A1, imm=ord("?")),
             op("sd", rs2=A1, rs1=T0, imm=0), op("ld", rd=A2, rs1=T0, imm=0),
             op("addi", rd=A0, rs1=0, imm=2 * 3 + 1), op("sd", rs2=A0, rs1=T0, imm=0)]
    m = machine(words, host=host)
    result = m.run()
    assert bytes(host.output) == b"!?" and m.x[A2] == 0
    assert (result.reason, result.exit_code) == ("exit", 3)


def test_htif_follows_the_programs_own_tohost_symbol():
    p = program([op("auipc", rd=T0, imm=1), op("addi", rd=A0, rs1=0, imm=1), op("sd", rs2=A0, rs1=T0, imm=0)], bytes(16))
    p.symbols.append(Symbol("tohost", DATA, 8, "object", "global", ".data"))
    m = ReferenceMachine("slim")
    m.load(p)
    assert (m.run().reason, m.pc) == ("exit", TEXT + 12)


@pytest.mark.parametrize(("request_", "block", "result"), [
    (SRAM, [64, 1, SRAM + 32, 3], 3),                               # write
    (SRAM, [64, 7, SRAM + 32, 3], -9),                              # to a file that is not open
    (SRAM, [64, 1, SRAM, 1 << 63], -14),                            # of memory that does not exist
    (SRAM, [1024, 0, 0, 0], -38),                                   # no such call
    (2, None, None), ((1 << 47) - 2, None, None),                   # a block in no region
    (FLASH, None, None),                                            # a block that cannot take a result
    (5 << 56, None, None),                                          # no such device
])
def test_htif_answers_whatever_the_program_asks(request_, block, result):
    host = Host()
    p = program([op("sd", rs2=A0, rs1=T0, imm=0)])
    p.sections.append(Section(".flash", "a", FLASH, 4096, [bytes(64)]))
    m = ReferenceMachine("slim", host)
    m.load(p)
    m.x[A0], m.x[T0] = request_, MMIO
    if block:
        m.peek(SRAM, 32).view("<u8")[:] = block
    m.peek(SRAM + 32, 3)[:] = list(b"abc")
    assert m.step() is None and m.exit_code is None
    assert m.peek(MMIO, 8).view("<u8")[0] == 0 and m.peek(MMIO + 8, 8).view("<u8")[0] & 1      # taken, answered
    if block:
        assert m.peek(SRAM, 8).view("<i8")[0] == result
    assert bytes(host.output) == (b"abc" if result == 3 else b"")


@pytest.mark.parametrize(("request_", "answer"), [(1 << 56, 0), (1 << 48 | 1, 1 << 48 | 1)])
def test_htif_neither_invents_input_nor_ends_at_another_command(request_, answer):
    """Device 1 command 0 reads a character, and its answer would be one; only command 0 of device 0 ends the run."""
    m = machine([op("sd", rs2=A0, rs1=T0, imm=0)])
    m.x[A0], m.x[T0] = request_, MMIO
    assert m.step() is None and m.exit_code is None
    assert m.peek(MMIO, 16).view("<u8").tolist() == [0, answer]


@pytest.mark.parametrize("name", ["tohost", "fromhost"])
@pytest.mark.parametrize("address", [0, FLASH, SRAM + 16_777_216 - 4])
def test_a_tohost_that_cannot_be_written_is_refused(name, address):
    p = program([op("ecall")])
    p.sections.append(Section(".flash", "a", FLASH, 4096, [bytes(64)]))
    p.symbols.append(Symbol(name, address))
    with pytest.raises(ProgramError, match=f"the symbol {name} is {address:#x}, where machine slim has no 8 bytes to write"):
        ReferenceMachine("slim").load(p)


def test_an_operation_reads_all_operands_before_it_writes():
    """dst overlaps x by one element: every element must be scaled from its old value."""
    m = machine([op("vec.scale.f32", dst=A0, x=A1, s=A2, n=A3)])
    m.peek(SRAM, 20).view("<f4")[:] = [1, 2, 3, 4, 5]
    m.x[A0], m.x[A1], m.x[A2], m.x[A3] = SRAM + 4, SRAM, 0x4000_0000, 4      # 2.0f
    m.step()
    assert list(m.peek(SRAM, 20).view("<f4")) == [1, 2, 4, 6, 8]
    assert (m.counters["sram.bytes_read"], m.counters["sram.bytes_written"]) == (16, 16)


def test_stored_instructions_are_executed():
    m = machine([op("auipc", rd=T0, imm=0), op("sw", rs2=A0, rs1=T0, imm=12), op("fence.i"), op("ebreak")])
    m.x[A0] = op("addi", rd=A1, rs1=0, imm=42)
    assert m.run(max_instructions=4).reason == "limit"
    assert m.x[A1] == 42


def test_a_pointer_given_as_a_length_is_refused_before_anything_is_read():
    m = machine([op("vec.relu.f32", dst=A0, x=A0, n=A0)])
    m.x[A0] = TEXT
    report = m.step()
    assert (report.cause, report.value) == (Cause.CAPACITY, TEXT) and "n is 0x80000000" in report.detail


def test_token_services_work_beside_a_trap_handler():
    host = Host(prompt=[5])
    m = machine([op("auipc", rd=A0, imm=0), op("csrrw", rd=0, csr=0x305, rs1=A0), *li(A7, 0x5110), op("ecall")], host=host)
    m.run(max_instructions=5)
    assert m.x[A0] == 5 and m.counters["core.traps"] == 0


def test_devices_listen_to_the_core_alone():
    """A unit that writes over the program's own tohost moves bytes and nothing else."""
    p = program([op("vec.fill.32", dst=A0, value=A1, n=A1)], bytes(16))
    p.symbols.append(Symbol("tohost", DATA, 8, "object", "global", ".data"))
    m = ReferenceMachine("slim")
    m.load(p)
    m.x[A0], m.x[A1] = DATA, 1
    assert m.step() is None and m.exit_code is None and m.peek(DATA, 4).view("<u4")[0] == 1


def test_ports_and_region_ends_are_checked():
    m = machine([op("vec.relu.f32", dst=A0, x=A1, n=A2)], preset="slim-llama")
    sram = m.preset.region("sram")
    m.x[A0], m.x[A1], m.x[A2] = SRAM, TEXT, 1
    report = m.step()
    assert report.cause == Cause.PORT and "vec has no port to dram; it reaches sram" in report.detail
    m.x[A1] = sram.base + sram.size - 4
    assert m.step() is None
    m.pc, m.x[A2] = TEXT, 2
    assert m.step().cause == Cause.LOAD_ACCESS
    m.pc, m.x[A1] = TEXT, SRAM + 2
    assert m.step().cause == Cause.MISALIGNED_OPERAND


def test_nan_results_are_canonical():
    m = machine([op("vec.add.f32", dst=A0, a=A1, b=A1, n=A2)])
    m.peek(SRAM, 4).view("<u4")[0] = 0xFFC1_2345
    m.x[A0], m.x[A1], m.x[A2] = SRAM + 16, SRAM, 1
    m.step()
    assert m.peek(SRAM + 16, 4).view("<u4")[0] == 0x7FC0_0000


def test_flash_is_mapped_read_only_and_empty_where_the_program_puts_nothing():
    p = program([op("lw", rd=A0, rs1=A1, imm=0), op("lw", rd=A0, rs1=A1, imm=4), op("sw", rs2=A0, rs1=A1, imm=0)])
    flash = ReferenceMachine("slim").preset.region("flash").base
    p.sections.append(Section(".flash", "a", flash, 4096, [b"\x01\x02\x03\x04"]))
    m = ReferenceMachine("slim")
    m.load(p)
    m.x[A1] = flash
    assert m.step() is None and m.x[A0] == 0x04030201
    assert "holds nothing" in m.step().detail
    m.pc += 4
    assert m.step().cause == Cause.STORE_ACCESS


def test_flash_without_contents_cannot_be_executed():
    m = machine([])
    m.pc = FLASH
    assert m.step().cause == Cause.FETCH_ACCESS


def test_a_matrix_over_two_sections_of_flash_is_refused_at_its_first_byte():
    """Whole and at once, as for the end of a region: not where some piece of the matrix happens to end."""
    words = [op("vec.gemv.f32", y=A0, W=A1, x=A0, rows=A2)]
    for stride in (0, 8192):
        p = program(words)
        p.sections += [Section(".first", "a", FLASH, 4096, [bytes(8192)]),
                       Section(".second", "a", FLASH + 8192, 4096, [bytes(4096)])]
        m = ReferenceMachine("slim")
        m.load(p)
        m.set_csr("vec.cols", 1024)
        m.set_csr("vec.row_stride", stride)
        m.x[A0], m.x[A1], m.x[A2] = SRAM, FLASH, 3 if not stride else 2
        report = m.step()
        assert (report.cause, report.value) == (Cause.LOAD_ACCESS, FLASH)


def test_flash_that_is_only_reserved_reads_as_zeros_and_a_shorter_file_is_refused(tmp_path):
    p = program([op("lw", rd=A0, rs1=A1, imm=0)])
    p.sections.append(Section(".flash", "a", FLASH, 4096, zero_size=60 << 30))
    m = ReferenceMachine("slim")
    m.load(p)
    m.x[A0], m.x[A1] = 7, FLASH + (59 << 30)
    assert m.step() is None and m.x[A0] == 0
    (tmp_path / "weights").write_bytes(bytes(100))
    p.sections[-1] = Section(".flash", "a", FLASH, 4096, [FileSlice(str(tmp_path / "weights"), 0, 101)])
    with pytest.raises(ProgramError, match="weights: file became shorter"):
        ReferenceMachine("slim").load(p)


def test_a_program_outside_the_machines_memory_is_refused():
    p = program([op("ecall")])
    p.sections[0].address = 0x5000_0000
    with pytest.raises(ProgramError, match=r"\.text at 0x50000000.* lies in no region of machine slim"):
        ReferenceMachine("slim").load(p)


def test_a_program_that_needs_what_the_machine_lacks_is_refused(tmp_path):
    text = (PRESETS / "slim.toml").read_text().replace('name = "slim"', 'name = "bare"', 1)
    (tmp_path / "bare.toml").write_text(without_unit(text, "lut"))
    p = program([op("ecall")])
    p.units = ("vec", "lut")
    with pytest.raises(ProgramError) as caught:
        ReferenceMachine(load_preset(tmp_path / "bare.toml")).load(p)
    assert str(caught.value) == ("the program needs unit lut, which machine bare does not have\n"
                                 "hint: machines that have it: slim, slim-llama, slim-nsp, slim-nsp-tlc")
    p.units = ("lut", "warp")
    with pytest.raises(ProgramError, match=r"needs units lut, warp, .*bare does not have\nhint: no machine preset here has it"):
        ReferenceMachine(load_preset(tmp_path / "bare.toml")).load(p)
    p.units = ("vec", "lut")
    ReferenceMachine("slim").load(p)


def test_counters_start_at_zero_and_are_all_named():
    m = ReferenceMachine("slim")
    assert set(m.counters.values()) == {0} and np.array_equal(m.counts, np.zeros(128, np.uint64))
