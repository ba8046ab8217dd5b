"""docs/assembly.md names every directive, and what it shows assembles."""

import re
from pathlib import Path

import pytest

import asm
from asm.directives import DIRECTIVES, IGNORED
from asm.macros import BODIES, ENDS
from asm.preprocess import CONDITIONALS

GUIDE = (Path(__file__).parents[2] / "docs" / "assembly.md").read_text(encoding="utf-8")
PREPROCESSING = {".include", ".exitm", ".purgem", ".end", *BODIES, *ENDS, *CONDITIONALS}
BLOCKS = re.findall(r"^```asm\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_every_directive_is_named():
    named = set(re.findall(r"\.\w+", GUIDE))
    assert {d for d in {*DIRECTIVES, *PREPROCESSING} - set(IGNORED.split()) if d.startswith(".")} - named == set()


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_assemble(block):
    assert asm.assemble(block).section(".text").size > 0
