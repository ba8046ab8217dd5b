"""Programs that talk through the host-target interface: built with GNU's tools from what stands in the folder htif."""

from __future__ import annotations

from pathlib import Path

import gnu

FOLDER = Path(__file__).parents[1] / "oracle" / "htif"
OF_C = ("htif.ld", "crt0.s", "device.s")        # what a C program is linked by and with


def source(name: str) -> str:
    """The text of htif/NAME.s."""
    return (FOLDER / f"{name}.s").read_text(encoding="utf-8")


def build(folder: Path, *sources: str) -> Path:
    """An executable file of assembly sources and the interface's registers, at addresses that Spike and the Slim machine have."""
    objects = [gnu.assemble(text, folder, f"part{number}") for number, text in enumerate((*sources, source("device")))]
    linked = folder / "program.elf"
    gnu.run("ld", "--no-relax", "--no-warn-rwx-segments", "-T", FOLDER / "htif.ld", "-o", linked, *objects)
    return linked
