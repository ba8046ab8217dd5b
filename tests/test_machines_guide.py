"""docs/machines.md: its commands are run in order and print what it shows, and it names all that a preset may say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from children import LIMIT

from isa.preset import REGIONS, PresetFile, RegionTable, UnitTable
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
    keys = {*PresetFile.model_fields, *RegionTable.model_fields, *UnitTable.model_fields, *REGIONS}
    assert {key for key in keys if not re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`", GUIDE)} == set()
    for unit in UNITS.values():
        names = [parameter.name.removeprefix(f"{unit.name}.") for parameter in unit.parameters]
        row = f"| [`{unit.name}`](isa/{unit.name}.md) | {', '.join(f'`{name}`' for name in names)} |\n"
        assert (row in GUIDE) == bool(names), unit.name
