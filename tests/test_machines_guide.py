"""docs/machines.md: its commands are run in order and print what it shows, and it names all that a preset may say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from children import LIMIT

from asm.assembler import assemble
from emulator.machine import Machine
from isa.preset import load_preset
from isa.preset_file import CoreTable, PresetFile, RegionTable, UnitTable
from isa.regions import REGIONS
from isa.timing.memories import MEMORIES
from isa.timing.rates import CORE_RATES
from isa.units import UNITS

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "machines.md").read_text(encoding="utf-8")


def test_the_commands_print_what_the_page_shows(tmp_path: Path) -> None:
    for name in ("isa", "programs"):
        (tmp_path / name).symlink_to(ROOT / name)
    for block in re.findall(r"^```console\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL):
        for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            line = re.sub(r"^slimulator", f"PYTHONPATH={ROOT} {sys.executable} -m slimulator", command)
            done = subprocess.run(line, shell=True, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=LIMIT)
            assert done.stdout == shown, command
    assert GUIDE.count("\n$ ") >= 6


def test_every_key_region_and_size_is_named() -> None:
    tables = PresetFile, CoreTable, RegionTable, UnitTable
    keys = {*REGIONS, *MEMORIES, *(key for table in tables for key in table.model_fields)}
    assert {key for key in keys if not re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`", GUIDE)} == set()
    for unit in UNITS.values():
        names = [parameter.name.removeprefix(f"{unit.name}.") for parameter in unit.parameters]
        row = f"| [`{unit.name}`](isa/{unit.name}.md) | {', '.join(f'`{name}`' for name in names)} |\n"
        assert (row in GUIDE) == bool(names), unit.name


def rates_of(section: str) -> list[str]:
    """The rates that the page's table names for a table of the file."""
    text = GUIDE[GUIDE.index("### Time"):]
    row, = re.findall(rf"^\| {re.escape(section)} \| (.*) \|$", text, re.MULTILINE)
    return re.findall(r"`(\w+)`", row)


def test_every_rate_is_named() -> None:
    common = rates_of("each unit below")
    assert rates_of("`[core]`") == [rate.name.removeprefix("core.") for rate in CORE_RATES]
    for unit in UNITS.values():
        if unit.rates:
            names = [rate.name.removeprefix(f"{unit.name}.") for rate in unit.rates]
            assert names == common + rates_of(f"`[unit.{unit.name}]`"), unit.name
        else:
            assert f"[unit.{unit.name}]" not in GUIDE or unit.name == "sync"


def test_figures_of_time_change_no_program_and_no_counter(tmp_path: Path) -> None:
    """The page's last table: other clocks and rates are another file, and nothing else."""
    figures = ("`clock_hz`, `latency_cycles`, `bytes_per_cycle`, `memory`, `channels`, `mapping` and `speed` of regions, `rates`, "
               "`[energy]`, `[power]`")
    assert f"| {figures} | time and energy |\n| `[facts]` | only what `slimulator machines` prints |\n" in GUIDE
    text = (ROOT / "isa" / "machines" / "slim.toml").read_text(encoding="utf-8")
    tables, energies = text.split("[energy]")
    tables = re.sub(r"((?:clock_hz|latency_cycles|bytes_per_cycle|rates\.\w+) *= \{ value = )[\d_.]+", r"\g<1>7", tables)
    energies = re.sub(r"(\{ value = )[\d_.]+", r"\g<1>7", energies)
    (tmp_path / "slim.toml").write_text(f"{tables}[energy]{energies}", encoding="utf-8")
    one, two = load_preset("slim"), load_preset(tmp_path / "slim.toml")
    assert two.clock_hz == 7 != one.clock_hz
    assert {*two.rates.values(), *two.energies.values(), *two.powers.values()} == {7}
    program = assemble(ROOT / "programs" / "sparse_ffn.s")
    results = []
    for preset in (one, two):
        machine = Machine(preset)
        machine.load(program)
        machine.run()
        results.append((bytes(machine.host.output), dict(machine.counters)))
    assert results[0] == results[1]


def test_the_page_of_flash_changes_a_counter(tmp_path: Path) -> None:
    text = (ROOT / "isa" / "machines" / "slim.toml").read_text(encoding="utf-8")
    other = re.sub(r"(page_bytes *= \{ value = )[\d_]+", r"\g<1>256", text)
    assert other != text
    (tmp_path / "slim.toml").write_text(other, encoding="utf-8")
    program, pages = assemble(ROOT / "programs" / "sparse_ffn.s"), []
    for preset in (load_preset("slim"), load_preset(tmp_path / "slim.toml")):
        machine = Machine(preset)
        machine.load(program)
        machine.run()
        pages.append(machine.counters["fetch.pages"])
    assert 0 < pages[0] < pages[1]
