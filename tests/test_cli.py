"""The `slimulator` command: output, files, exit status, and no traceback for any mistake of a user."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT, SLIMULATOR, Child

import slimulator
from isa.counters import COUNTERS
from isa.instruction import TABLE
from isa.preset import preset_names

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "programs"

EXIT = "li a7, 93\necall\n"


# ------------------------------------------------------------------------------------------------ asm, disasm


def test_asm_writes_program_listing_symbols_and_json(command, tmp_path: Path) -> None:
    elf, listing, symbols, data = (tmp_path / name for name in ("h.elf", "h.lst", "h.sym", "h.json"))
    status, out, err = command("asm", PROGRAMS / "hello.s", "-o", elf, "--listing", listing, "--symbols", symbols, "--json", data)
    assert (status, out, err) == (0, "", "")
    assert elf.read_bytes()[:4] == b"\x7fELF"
    assert "la      a1, message" in listing.read_text(encoding="utf-8")
    assert "_start" in symbols.read_text(encoding="utf-8")
    assert {"_start", "message"} <= {symbol["name"] for symbol in json.loads(data.read_text(encoding="utf-8"))["symbols"]}


def test_asm_names_the_program_after_its_source(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.s").write_text("nop\n", encoding="utf-8")
    assert command("asm", "a.s")[0] == 0
    assert Path("a.elf").exists()


def test_asm_reports_every_error_and_leaves_the_old_program(command, tmp_path: Path) -> None:
    source, elf, listing = tmp_path / "bad.s", tmp_path / "bad.elf", tmp_path / "bad.lst"
    elf.write_bytes(b"old")
    source.write_text("addi a0, a0, 5000\nvec.ad.f32 a0, a1, a2, a3\n", encoding="utf-8")
    status, out, err = command("asm", source, "-o", elf, "--listing", listing)
    assert (status, out) == (1, "")
    assert f"{source}:1:14: error: " in err
    assert "^^^^" in err
    assert f"{source}:2:1: error: " in err
    assert "vec.add.f32" in err
    assert elf.read_bytes() == b"old"
    assert "addi a0, a0, 5000" in listing.read_text(encoding="utf-8")


def test_asm_does_not_overwrite_its_source_or_a_device(command, tmp_path: Path) -> None:
    source = tmp_path / "a.s"
    source.write_text("nop\n", encoding="utf-8")
    for option in ("-o", "--listing", "--symbols", "--lines", "--json"):
        status, _, err = command("asm", source, option, source)
        assert status == 2
        assert "is a file that is read" in err
    assert source.read_text(encoding="utf-8") == "nop\n"
    both = tmp_path / "both"
    status, _, err = command("asm", source, "-o", both, "--listing", both)
    assert (status, both.exists()) == (2, False)
    assert "two outputs" in err
    assert command("asm", source, "-o", "/dev/null", "--listing", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


def test_asm_writes_text_to_stdout(command, tmp_path: Path) -> None:
    (tmp_path / "a.s").write_text("_start: nop\n", encoding="utf-8")
    arguments = "asm", tmp_path / "a.s", "-o", tmp_path / "a.elf"
    assert "_start: nop" in command(*arguments, "--listing", "-")[1]
    assert "_start" in command(*arguments, "--symbols", "-")[1]
    assert f"{tmp_path / 'a.s'}:1" in command(*arguments, "--lines", "-")[1]
    assert json.loads(command(*arguments, "--json", "-")[1])["ok"] is True


def test_asm_include_directories_and_definitions(command, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "exit.s").write_text(EXIT, encoding="utf-8")
    (tmp_path / "m.s").write_text(".globl _start\n_start: li a0, CODE\n.include \"exit.s\"\n", encoding="utf-8")
    elf = tmp_path / "m.elf"
    assert command("asm", tmp_path / "m.s", "-o", elf)[0] == 1
    assert command("asm", tmp_path / "m.s", "-o", elf, "-I", tmp_path / "lib", "-D", "CODE=0x2A")[0] == 0
    assert command("run", elf)[0] == 42


@pytest.mark.parametrize("definition", ["CODE", "=1", "CODE=x", "1A=2"])
def test_asm_refuses_a_definition_that_is_none(command, tmp_path: Path, definition: str) -> None:
    (tmp_path / "m.s").write_text("nop\n", encoding="utf-8")
    status, _, err = command("asm", tmp_path / "m.s", "-o", tmp_path / "m.elf", "-D", definition)
    assert status == 2
    assert "NAME=VALUE" in err


def test_asm_names_the_machine_in_the_program(command, assembled) -> None:
    elf = assembled(".globl _start\n_start: li a0, 0\n" + EXIT, "--machine", "slim-llama")
    status, _, err = command("run", elf)
    assert status == 0
    assert "on slim-llama" in err
    assert "on slim (" in command("run", elf, "--machine", "slim")[2]


@pytest.mark.parametrize("name", ["mine", "slim"])
def test_a_program_runs_on_the_machine_that_it_carries(command, assembled, tmp_path: Path, name: str) -> None:
    """Without its file, also if it has the name of a preset: at the rates that it was built with, unless --machine names others."""
    preset = (ROOT / "isa" / "machines" / "slim.toml").read_text(encoding="utf-8").replace('name = "slim"', f'name = "{name}"', 1)
    (tmp_path / "m.toml").write_text(preset.replace("clock_hz = { value = 1_000_000_000", "clock_hz = { value = 500_000_000", 1))
    elf = assembled("_start: li a0, 0\n" + EXIT, "--machine", tmp_path / "m.toml")
    assert command("run", elf, "--machine", tmp_path / "m.toml")[0] == 0
    (tmp_path / "m.toml").unlink()
    for engine in ("fast", "reference"):
        status, _, err = command("run", elf, "--engine", engine)
        assert status == 0 and f"time on {name}: " in err and " at 500 MHz = " in err, err
    assert " at 1 GHz = " in command("run", elf, "--machine", "slim")[2]
    (tmp_path / "script").write_text("continue\n")
    assert command("debug", elf, "--script", tmp_path / "script")[0] == 0


def test_all_that_differs_on_another_machine_is_named(command, assembled, tmp_path: Path) -> None:
    text = (ROOT / "isa" / "machines" / "slim-llama.toml").read_text(encoding="utf-8")

    def other(*changes: tuple[str, str]) -> Path:
        changed = text.replace('name = "slim-llama"', 'name = "other"')
        for old, new in changes:
            assert changed.count(old) == 1, old
            changed = changed.replace(old, new)
        (tmp_path / "other.toml").write_text(changed, encoding="utf-8")
        return tmp_path / "other.toml"

    source = ".globl _start\n_start: j end\n lut.build.i8 a0, a0, a0\nend: li a0, 0\n" + EXIT + " .sram\n .word 1\n"
    elf = assembled(source, "--machine", "slim-llama")
    time = ("clock_hz = { value = 200_000_000", "clock_hz = { value = 100_000_000")
    size, larger = ("{ value = 512_000", "{ value = 65_536"), ("{ value = 512_000", "{ value = 1_048_576")
    base = ("0x1000_0000", "0x1800_0000")
    ports = ('["core", "vec", "lut", "thr", "fetch"]', '["core", "vec", "thr", "fetch"]')
    table = ("{ value = 8192", "{ value = 4096")
    for changes, differs in (
            ([time, larger], None), ([size], "sram.size is 65,536 instead of 512,000"),
            ([base], "sram.base is 0x18000000 instead of 0x10000000"),
            ([time, ports], "sram.ports is core fetch thr vec instead of core fetch lut thr vec"),
            ([table, size], "lut.activations is 4096 instead of 8192, sram.size is 65,536 instead of 512,000")):
        status, _, err = command("run", elf, "--machine", other(*changes))
        if differs is None:
            assert status == 0 and " at 100 MHz = " in err
        else:
            assert status == 1 and err.startswith(
                f"{elf}: error: the program was built for machine slim-llama, and this other differs: {differs}\nhint: "), err
            used = "its sections end 4 bytes into sram; what its code uses behind them is not known: assemble"
            assert (used in err) == (size in changes)
    scalar = assembled(".globl _start\n_start: li a0, 0\n" + EXIT, "--machine", "slim-llama")      # needs neither lut nor sram
    assert command("run", scalar, "--machine", other(size, base, table))[0] == 0
    assert command("run", scalar, "--machine", "slim")[0] == 0


def test_asm_says_when_the_source_overrules_the_machine_option(command, tmp_path: Path) -> None:
    (tmp_path / "m.s").write_text(".machine slim\nnop\n", encoding="utf-8")
    arguments = "asm", tmp_path / "m.s", "-o", tmp_path / "m.elf"
    assert command(*arguments) == command(*arguments, "--machine", "slim") == (0, "", "")
    status, _, err = command(*arguments, "--machine", "slim-llama")
    assert status == 0
    assert "warning: built for slim" in err


def test_disasm_prints_text_that_assembles_to_the_same_program(command, assembled, tmp_path: Path) -> None:
    elf = assembled(".globl _start\n_start: lut.mac.t2 a0, a1, a2\nbeqz a0, _start\n" + EXIT)
    status, out, err = command("disasm", elf)
    assert (status, err) == (0, "")
    assert "<_start>:" in out
    assert "lut.mac.t2" in out
    assert command("disasm", elf, "--section", ".text")[1] == out
    status, _, err = command("disasm", elf, "--section", ".txt")
    assert status == 1
    assert ".text" in err


def test_disasm_aliases(command, assembled) -> None:
    elf = assembled("_start: ret\n")
    assert "jalr" in command("disasm", elf)[1]
    assert "ret" in command("disasm", elf, "--aliases")[1]


# ------------------------------------------------------------------------------------------------ run


def test_run_prints_the_programs_output_and_counters(command, tmp_path: Path) -> None:
    elf, data = tmp_path / "h.elf", tmp_path / "h.json"
    assert command("asm", PROGRAMS / "hello.s", "-o", elf)[0] == 0
    status, out, err = command("run", elf, "--json", data)
    assert (status, out) == (0, "Hello from the Slim machine!\n")
    assert "core.services" in err
    result = json.loads(data.read_text(encoding="utf-8"))
    assert result["output"] == out
    assert (result["reason"], result["exit_code"], result["machine"], result["engine"]) == ("exit", 0, "slim", "fast")
    assert result["instructions"] == result["counters"]["core.instructions"] > 0
    assert set(result["counters"]) == set(COUNTERS)
    assert result["trap"] is None


def test_run_json_to_stdout_is_json_alone(command, tmp_path: Path) -> None:
    assert command("asm", PROGRAMS / "hello.s", "-o", tmp_path / "h.elf")[0] == 0
    out = command("run", tmp_path / "h.elf", "--json", "-")[1]
    assert json.loads(out)["output"] == "Hello from the Slim machine!\n"


ECHO = """
.globl _start
_start: li a7, 0x5110       # read a prompt token
        ecall
        bltz a0, 1f
        addi a0, a0, 1
        li a7, 0x5111       # emit it plus one
        ecall
        j _start
1:      li a0, 0
""" + EXIT


def test_run_passes_prompt_tokens_and_shows_emitted_ones(command, assembled, tmp_path: Path) -> None:
    elf = assembled(ECHO)
    status, _, err = command("run", elf, "--prompt", "1, 41 7", "--json", tmp_path / "r.json")
    assert status == 0
    assert "tokens: 2 42 8" in err
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["tokens"] == [2, 42, 8]
    status, _, err = command("run", elf, "--prompt", "one")
    assert status == 2
    assert "--prompt" in err


def test_run_reports_a_trap_with_its_place(command, assembled, tmp_path: Path) -> None:
    elf = assembled(".globl _start\n_start: li a1, 8\n        ld a0, 0(a1)\n")
    status, out, err = command("run", elf, "--json", tmp_path / "r.json")
    assert (status, out) == (1, "")
    assert "trap 5" in err
    assert "program.s:3" in err
    assert "<_start" in err
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    trap = result["trap"]
    assert result["exit_code"] is None
    assert (trap["name"], trap["value"]) == ("LOAD_ACCESS", 8)


def test_a_program_of_another_machine_is_named_as_the_user_did(command, assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    elf = assembled(".globl _start\n_start: lut.build.i8 a0, a0, a0\n")
    monkeypatch.chdir(elf.parent)
    for name in ("run", "debug"):
        assert command(name, elf.name, "--machine", "hpim")[2].startswith(f"{elf.name}: error: the program needs unit lut, which ")
    flash = assembled(".globl _start\n_start: ret\n .flash\n .word 1\n")
    assert command("run", flash.name, "--machine", "hpim")[2].startswith(
        f"{flash.name}: error: the program was built for machine slim, and this hpim differs: dram.size is 1,073,741,824 instead "
        "of 17,179,869,184, flash is absent instead of 0x1000000000..0x2000000000\n")


def test_run_stops_at_its_limit(command, assembled) -> None:
    status, _, err = command("run", assembled(".globl _start\n_start: j _start\n"), "--max-instructions", 1000)
    assert status == 1
    assert "after 1,000 instructions" in err
    assert "--max-instructions 1000 at pc 0x80000000 <_start> (" in err
    assert "program.s:2)" in err
    assert command("run", "x.elf", "--max-instructions", 0)[0] == 2


def test_run_with_threads_counts_the_same(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emulator.threads.workers.cores", lambda: 2)
    command("asm", PROGRAMS / "ternary_gemv.s", "-o", tmp_path / "t.elf")
    runs = [command("run", tmp_path / "t.elf", "--threads", threads) for threads in (1, 2)]
    assert runs[0] == runs[1] and runs[0][0] == 0
    status, out, err = command("run", tmp_path / "t.elf", "--threads", 3)
    assert (status, out) == runs[0][:2] and err == "--threads 3: reduced to 2, the number of cores of this host\n" + runs[0][2]
    for wrong in (("--threads", 0), ("--threads", "two"), ("--threads", 2, "--engine", "reference")):
        status, out, err = command("run", tmp_path / "t.elf", *wrong)
        assert (status, out) == (2, "") and "--threads" in err


# ------------------------------------------------------------------------------------------------ isa, machines


def test_isa_at_the_prompt(command) -> None:
    assert "lut.mac.{b1,t2" in command("isa")[1]
    assert command("isa", "lut.mac.t2")[1].startswith("lut.mac.t2\n=====")
    status, out, err = command("isa", "lut.mak")
    assert (status, out) == (1, "")
    assert "did you mean" in err
    for name in ("lut.mac.t2", "traps", "csrs", "vec"):
        assert command("isa", name.upper()) == command("isa", name)


def test_isa_searches_for_words(command) -> None:
    status, out, err = command("isa", "sparse")
    assert (status, err) == (0, "") and "fetch" in out and "with 'sparse'" in out and "`slimulator isa ENTRY` prints one" in out
    found = json.loads(command("isa", "sparse", "--json")[1])["answer"]
    assert all({"name", "kind", "text"} == set(entry) for entry in found)
    for entry in found:                             # every entry can be looked up, or names a unit that can
        name = entry["name"] if entry["kind"].partition(" ")[0] not in ("size", "state") else entry["kind"].rpartition(" ")[2]
        assert command("isa", name)[0] == 0, entry


@pytest.mark.parametrize(("words", "first", "also"), [
    ("sparse", "sp", "sp.mac"), ("sigmoid", "vec.sigmoid.f32", "vec.sigmoid.f32"), ("pages", "fetch.pages", "flash"),
    ("row index", None, "fetch.rows_left"), ("ternary", "t2", "lut"), ("misaligned", "FETCH_MISALIGNED", "MISALIGNED_OPERAND"),
    ("GELU", "vec.gelu.f32", "vec.gelu.f32"), ("jalr", "jalr", "jalr"), ("auipc", "auipc", "auipc"), ("symbol jalr", None, "call")])
def test_a_search_ranks_names_before_texts(command, words: str, first: str | None, also: str) -> None:
    status, out, err = command("isa", *words.split(), "--json")
    assert status == 0, err
    found = json.loads(out)["answer"]
    if isinstance(found, dict):                     # an instruction by its name: no search
        assert found["mnemonic"] == also
        return
    names = [entry["name"] for entry in found]
    assert names[0] == (first or names[0]) and also in names, names


def test_a_search_that_finds_nothing_says_so(command) -> None:
    status, out, err = command("isa", "no", "such", "words")
    assert (status, out) == (1, "") and err.startswith("error: the manual has no entry 'no such words'\nhint: ")
    assert command("isa", "zebra")[0] == command("isa", "narrow-gauge")[0] == 1


@pytest.mark.parametrize(("name", "shown"), [("t5", "lut.macT.t5"), ("sram", "on-chip scratchpad"), ("R4", "rs3 31:27"),
                                             ("a7", "x17"), ("csrs", "lut.mode"), ("csrs", "csrrs x0, csr, rs1")])
def test_isa_finds_formats_regions_registers_and_both_meanings_of_csrs(command, name: str, shown: str) -> None:
    status, out, _ = command("isa", name)
    assert status == 0
    assert shown in out


def test_isa_json_holds_every_row(command) -> None:
    rows = json.loads(command("isa", "--json")[1])["answer"]
    assert [row["mnemonic"] for row in rows] == list(TABLE)
    assert json.loads(command("isa", "add", "--json")[1])["answer"]["match"] == 0x33


def test_machines_at_the_prompt(command) -> None:
    out = command("machines")[1]
    assert all(name in out for name in preset_names())
    assert "ISSCC 2025 paper 23.9" in command("machines", "slim-llama")[1]
    assert json.loads(command("machines", "slim-llama", "--json")[1])["machines"][0]["clock_hz"]["value"] == 200_000_000
    status, _, err = command("machines", "slim-lama")
    assert status == 1
    assert "did you mean 'slim-llama'?" in err


# ------------------------------------------------------------------------------------------------ mistakes and the process


@pytest.mark.parametrize("arguments", [
    ["asm", "none.s", "-o", "x.elf"], ["disasm", "none.elf"], ["run", "none.elf"], ["machines", "none.toml"],
    ["run", str(PROGRAMS / "hello.s")], ["disasm", str(PROGRAMS / "hello.s")], ["run", str(ROOT)], ["isa", "no.such"],
    ["asm", str(PROGRAMS / "hello.s"), "-o", "none/x.elf"], ["asm", str(PROGRAMS / "hello.s"), "-o", "x.elf", "--machine", "none"],
    ["asm", str(ROOT), "-o", "x.elf"], ["asm", "."], ["asm", "/"], ["asm", str(PROGRAMS / "hello.s"), "-o", "."],
    ["compile", str(PROGRAMS / "demo" / "model"), "-o", "."], ["compile", str(PROGRAMS / "demo" / "model"), "-S", "-o", "."],
])
def test_a_mistake_is_one_message_and_status_1(command, arguments: list[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*arguments)
    assert (status, out) == (1, "")
    assert "error: " in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["run", "--engine", "warp", "x.elf"], ["isa", "--yaml"], ["asm"],
                                       ["asm", "x.s", "-o", "-"], ["compile", "model", "-o", "-"],
                                       ["asm", "x.s", "--listing", "-", "--json", "-"]])
def test_wrong_usage_is_status_2(command, arguments: list[str]) -> None:
    assert command(*arguments)[0] == 2


def test_an_unknown_command_is_answered_with_those_there_are(command) -> None:
    err = command("disassemble", "x.elf")[2]
    assert ("expected one of asm, disasm, run, debug, compile, generate, verify, eval, infer, bench, sweep, compare, isa, machines"
            in err), err
    assert "Did you mean 'disasm'?" in err


def test_a_file_that_cannot_be_written_is_named(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.s").write_text("nop\n", encoding="utf-8")
    elf, none = tmp_path / "a.elf", tmp_path / "none" / "a.elf"
    assert command("asm", tmp_path / "a.s", "-o", none)[2] == f"{none}: error: the directory to write it to does not exist\n"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("os.replace", full)
    assert command("asm", tmp_path / "a.s", "-o", elf)[2] == f"{elf}: error: No space left on device\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.s"]


def test_running_out_of_memory_is_a_message(command, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(query: str, more: object) -> None:
        raise MemoryError
    monkeypatch.setattr("isa.manual.look_up", greedy)
    status, _, err = command("isa")
    assert status == 1
    assert "out of memory" in err


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(query: str, more: object) -> None:
        raise RuntimeError("a bug")
    monkeypatch.setattr("isa.manual.look_up", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        slimulator.invoke(["isa"])


READY_THEN_ENDLESS = """
    .globl _start
_start:
    li a0, 1
    la a1, mark
    li a2, 1
    li a7, 64
    ecall
1:  j 1b
mark: .ascii "!"
"""


def test_a_closed_pipe_and_an_interrupt_end_quietly(assembled) -> None:
    with Child(*SLIMULATOR, "isa", "--json") as listing:
        listing.close("out")
        assert (*listing.end(), listing.status) == ("", "", 1)
    with Child(*SLIMULATOR, "run", assembled(READY_THEN_ENDLESS)) as endless:
        endless.wait_for("!")
        endless.interrupt()
        _, err = endless.end()
        assert endless.status == 130
    assert "interrupted after " in err
    assert "(" in err and "program.s:" in err
    assert "Traceback" not in err


def test_help_imports_nothing_heavy() -> None:
    """`--help` answers in under 0.3 s because of this."""
    probe = ("import sys, slimulator\nslimulator.invoke(['--help'])\n"
             "print(*({'numpy', 'lark', 'numba', 'pydantic', 'elftools'} & set(sys.modules)), file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True, timeout=LIMIT)
    assert done.stderr == "\n"
    assert all(name in done.stdout for name in ("asm", "disasm", "run", "isa", "machines"))


def test_the_public_names_are_there() -> None:
    for name in slimulator.__all__:
        assert getattr(slimulator, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'asemble'"):
        slimulator.asemble  # noqa: B018


@pytest.mark.parametrize(("name", "shown"), [("call", "auipc x1, symbol; jalr x1, lo(x1)"), ("li", "depending on the value"),
                                             ("jalr", "x[rd] = pc + 4")])
def test_isa_explains_pseudo_instructions_but_shows_the_row_where_there_is_one(command, name: str, shown: str) -> None:
    assert shown in command("isa", name)[1]
