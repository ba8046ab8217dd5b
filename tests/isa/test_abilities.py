"""The tables that compare machines, against the TOML files as they are written."""

import tomllib
from pathlib import Path

from isa.manual.abilities import abilities
from isa.manual.document import Table
from isa.preset import load_preset, preset_names

FILES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8"))
         for path in (Path(__file__).parents[2] / "isa" / "machines").glob("*.toml")}
TABLES = [{row[0]: dict(zip(block.header, row, strict=True)) for row in block.rows}
          for block in abilities([load_preset(name) for name in preset_names()]) if isinstance(block, Table)]


def test_units_are_those_of_the_files() -> None:
    units = TABLES[0]
    assert units.keys() == FILES.keys()
    for name, file in FILES.items():
        said = {unit for unit, there in units[name].items() if there == "yes"}
        assert said == file["unit"].keys()


def test_memories_and_ports() -> None:
    memories = TABLES[1]
    for name, file in FILES.items():
        assert {region for region, text in memories[name].items() if text != "-"} - {"machine"} == file["region"].keys() - {"mmio"}
        for region in file["region"].keys() - {"mmio"}:
            ports, said = set(file["region"][region]["ports"]["value"]) - {"core"}, memories[name][region].partition(": ")[2]
            every = file["unit"].keys() - {"sync"}                      # sync touches no memory
            assert ports == {"the core alone": set(), "all units": every}.get(said, set(said.split())), (name, region)
    assert memories["slim-llama"]["sram"] == "500 KiB: all units"
    assert memories["slim-llama"]["dram"] == "2 GiB: fetch" and memories["slim-llama"]["hbm"] == "-"


def test_formats_and_banks() -> None:
    formats, banks = TABLES[2:]
    assert formats["lut"]["machines"] == "slim, slim-llama, slim-nsp, slim-nsp-tlc"
    assert {"t2", "t5", "b1", "c4"} <= set(formats["lut"]["formats"].split())
    assert formats["vec"]["machines"] == (
        "blockdiag, flexcim, flexcim-2of4, gddr6-aim, hbm2-pim, hbm3-pim, hpim, slim, slim-llama, slim-nsp, "
        "slim-nsp-tlc, stm32f746")                                                                      # all but attacc
    assert banks.keys() == {name for name, file in FILES.items() if "pim" in file["unit"]}
    assert (banks["hpim"]["channels"], banks["hpim"]["rows"], banks["hpim"]["capacity"]) == ("64", "8,192", "32 GiB")
