"""Machine presets: what the shipped ones say, and what is refused in a preset file."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulator.machine import Machine
from isa.preset import PRESETS, PresetError, load_preset, preset_names
from isa.reference import ReferenceMachine
from isa.units import UNITS

SLIM = (PRESETS / "slim.toml").read_text(encoding="utf-8")


def test_shipped_presets_are_valid_and_named_like_their_files() -> None:
    assert {"slim", "slim-llama"} <= set(preset_names())
    for name in preset_names():
        machine = load_preset(name)
        assert machine.name == name
        assert all(unit in UNITS for unit in machine.units)
        assert [region.base for region in machine.regions] == sorted(region.base for region in machine.regions)


def test_slim_has_every_unit_and_every_region() -> None:
    machine = load_preset("slim")
    assert machine.units == tuple(UNITS)
    assert {region.name: region.base for region in machine.regions} == {
        "mmio": 0x0200_0000, "sram": 0x1000_0000, "dram": 0x8000_0000, "flash": 0x10_0000_0000, "hbm": 0x20_0000_0000}
    assert machine.page_bytes == 4096
    assert [region.name for region in machine.regions if not region.writable] == ["flash"]
    assert machine.parameter("lut.activations") >= 11_008       # the widest activation vector of a 7 B Llama


def test_slim_llama_says_what_the_paper_says() -> None:
    machine = load_preset("slim-llama")
    sram, dram = machine.region("sram"), machine.region("dram")
    assert machine.clock_hz == 200_000_000
    assert sram.size == 500 * 1024
    assert machine.file.region["dram"].bytes_per_cycle.value * machine.clock_hz == 1.6e9
    assert dram.ports == {"core", "fetch"}
    assert {"core", "lut", "vec", "thr", "fetch"} == sram.ports
    assert machine.file.facts["s_luts"].value == 8 * 8 * 8 * 8
    assert machine.page_bytes == 0
    with pytest.raises(PresetError, match="unknown region 'flash'; expected one of mmio, sram, dram"):
        machine.region("flash")


def test_parameter_of_an_absent_unit_or_of_no_unit() -> None:
    with pytest.raises(PresetError, match=r"did you mean 'lut\.activations'"):
        load_preset("slim").parameter("lut.activation")


def test_unknown_machine_names_the_nearest() -> None:
    with pytest.raises(PresetError, match="no machine preset 'slim-lama'") as caught:
        load_preset("slim-lama")
    assert "did you mean 'slim-llama'?" in str(caught.value)
    with pytest.raises(PresetError, match=r"no machine preset 'HBM2-PIM'; .*\nhint: did you mean 'hbm2-pim'\?"):
        load_preset("HBM2-PIM")


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
def test_a_machine_is_a_preset_a_name_or_a_path(engine: type[ReferenceMachine], tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text((PRESETS / "slim.toml").read_text(encoding="utf-8"), encoding="utf-8")
    for machine in ("slim", load_preset("slim"), tmp_path / "m.toml", str(tmp_path / "m.toml")):
        assert engine(machine).preset.name == "slim"
    for wrong in (5, None, b"slim", ["slim"]):
        with pytest.raises(TypeError, match=r"the machine is .*; expected a Preset, the name of one \(attacc, blockdiag, "):
            engine(wrong)  # type: ignore[arg-type]


def test_a_preset_file_is_loaded_by_path_and_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SLIM, encoding="utf-8")
    assert load_preset(path).clock_hz == 1_000_000_000
    path.write_text(SLIM.replace("1_000_000_000", "500_000_000", 1), encoding="utf-8")
    assert load_preset(str(path)).clock_hz == 500_000_000


@pytest.mark.parametrize("source", ["assumed: 256 KB", "assumed: x", "JESD238", "[7]", "p. 3"])
def test_a_short_source_is_one(tmp_path: Path, source: str) -> None:
    text = '"assumed: memory map of the Slim machine"'
    assert text in SLIM
    (tmp_path / "m.toml").write_text(SLIM.replace(text, f'"{source}"', 1), encoding="utf-8")
    assert source in load_preset(tmp_path / "m.toml").file.model_dump_json()


REFUSED = {
    "assumed without its colon": ('"assumed: memory map of the Slim machine"', '"assumed 256 KB"', "region.mmio.base.source",
                                  "reason"),
    "assumed with nothing behind it": ('"assumed: memory map of the Slim machine"', '"assumed: "', "region.mmio.base.source",
                                       "reason"),
    "unknown key": ("size  ", "sise  ", "region.mmio.sise", "did you mean 'size'?"),
    "unknown table": ("[unit.vec]", "[units.vec]", "units", "did you mean 'unit'?"),
    "number without source": ("clock_hz = {", "clock_hz = 5 # {", "clock_hz", '{ value = ..., source = "..." }'),
    "missing figure": ("clock_hz = {", "#", "clock_hz: missing", 'expected clock_hz = { value = ..., source = "..." }'),
    "missing text": ("title = ", "#", "title: missing", "expected title = ..."),
    "missing source": ('source = "assumed: a round figure', 'sauce = "', "clock_hz.source", "missing"),
    "empty source": ('"PCI Express 4.0, four lanes of 16 GT/s with 128b/130b coding"', '" "',
                     "region.flash.bytes_per_cycle.source", "a citation"),
    "assumed without reason": ('"assumed: memory map of the Slim machine"', '"assumed"', "region.mmio.base.source", "reason"),
    "text for a number": ("value = 0x1_0000", 'value = "64K"', "region.mmio.size.value", "integer"),
    "float for an integer": ("value = 0x1_0000", "value = 65536.0", "region.mmio.size.value", "integer"),
    "devices without room": ("value = 0x1_0000", "value = 16", "region.mmio.size.value", "24 or more: tohost, fromhost, console"),
    "negative size": ("value = 0x1_0000", "value = -4096", "region.mmio.size.value", "greater than 0"),
    "unknown unit": ("[unit.sync]", "[unit.synk]", "unit.synk", "did you mean 'sync'?"),
    "base unit": ("[unit.sync]", "[unit.rv64i]", "unit.rv64i", "one of vec"),
    "unknown region": ("[region.hbm]", "[region.hmb]", "region.hmb", "did you mean 'hbm'?"),
    "unknown port": ('["core"]', '["core", "vek"]', "region.mmio.ports.value", "did you mean 'vec'?"),
    "core without port": ('["core"]', '["vec"]', "region.mmio.ports.value", '"core" among them'),
    "unknown parameter": ("parameters.activations", "parameters.activation", "unit.lut.parameters", "mean 'activations'?"),
    "missing parameter": ("parameters.activations", "#", "unit.lut.parameters.activations", "missing"),
    "overlap": ("0x20_0000_0000", "0x10_0001_0000", "region.hbm.base.value", "0x2000000000 or above"),
    "unaligned base": ("0x20_0000_0000", "0x20_0000_0800", "region.hbm.base.value", "a multiple of 4096"),
    "flash without pages": ("page_bytes", "#", "region.flash.page_bytes", "missing"),
    "pages outside flash": ("[region.hbm]", '[region.hbm]\npage_bytes = { value = 4096, source = "assumed: for a test" }',
                            "region.hbm.page_bytes", "present"),
    "no dram": ("[region.dram]", "[region.sram.x]", "region.sram.x", "unknown key"),
    "text for a size": ("parameters.banks       = { value = 16,", 'parameters.banks = { value = "16",',
                        "unit.pim.parameters.banks.value", "an integer"),
    "number for a text": ('value = "row bank channel column"', "value = 4", "unit.pim.parameters.mapping.value", "a text"),
    "no parameter at all": ("value = 65_536", "value = 0.5", "unit.lut.parameters.activations.value", "an integer from 0 on"),
    "banks beyond the region": ("value = 32_768", "value = 32_767", "region.hbm.size.value",
                                "34_358_689_792: unit.pim has 64 channels * 16 banks * 32767 rows * 32 columns of 32 bytes"),
    "a column of no address": ('"row bank channel column"', '"row bank column"', "unit.pim.parameters", "without an address"),
    "banks without a region": ("[region.hbm]", "[region.hbm2]", "region.hbm2", "unknown region"),
    "not TOML": ("[unit.vec]", "[unit.vec", "at line", "TOML"),
}


@pytest.mark.parametrize(("old", "new", "key", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_preset_is_refused_with_file_key_and_expectation(
        tmp_path: Path, old: str, new: str, key: str, says: str) -> None:
    assert old in SLIM
    path = tmp_path / "wrong.toml"
    path.write_text(SLIM.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PresetError) as caught:
        load_preset(path)
    assert str(path) in str(caught.value)
    assert key in str(caught.value)
    assert says in str(caught.value)


def test_every_problem_of_a_preset_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    wrong = SLIM.replace("[unit.vec]", "[unit.vex]", 1).replace("0x20_0000_0000", "0x20_0000_0001", 1)
    path.write_text(wrong, encoding="utf-8")
    with pytest.raises(PresetError) as caught:
        load_preset(path)
    assert {problem.key for problem in caught.value.problems} >= {"unit.vex", "region.hbm.base.value"}


def test_a_region_that_every_machine_needs_is_missed(tmp_path: Path) -> None:
    start, end = SLIM.index("[region.dram]"), SLIM.index("[region.flash]")
    path = tmp_path / "wrong.toml"
    path.write_text(SLIM[:start] + SLIM[end:], encoding="utf-8")
    with pytest.raises(PresetError, match=r"region\.dram: missing"):
        load_preset(path)


def test_a_preset_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none\.toml"):
        load_preset(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PresetError, match="UTF-8"):
        load_preset(path)


def test_banks_need_the_region_and_a_port_to_it(tmp_path: Path) -> None:
    start, end = SLIM.index("[region.hbm]"), SLIM.index("[unit.vec]")
    path = tmp_path / "wrong.toml"
    path.write_text(SLIM[:start] + SLIM[end:], encoding="utf-8")
    with pytest.raises(PresetError, match=r'region\.hbm: missing; expected a region whose ports have "pim"'):
        load_preset(path)
    path.write_text(SLIM[:start] + SLIM[start:end].replace(', "pim"', "", 1) + SLIM[end:], encoding="utf-8")
    with pytest.raises(PresetError, match=r'region\.hbm: without a port for "pim"'):
        load_preset(path)
