"""The README shows real output: every console block and the Python block are run again and compared."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
OOPS = "_start: lut.mac.t3  a0, a1, a2\n        addi        a0, a0, 5000\n        csrw        vec.colls, a0\n"


def slimulator(*arguments: str, cwd: Path = ROOT) -> str:
    """Output and errors of a command, as a terminal shows them in the end. Without the counters behind what a program prints."""
    done = subprocess.run([sys.executable, "-m", "slimulator", *arguments], cwd=cwd, capture_output=True, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": ""}, timeout=LIMIT)
    said = re.sub(r"^\w[^\n]* \.\.\.\n", "", done.stderr, flags=re.MULTILINE)       # of what takes long: on a busy host, a cold one
    return done.stdout + ("" if arguments[0] == "run" else said)


def blocks(kind: str) -> list[str]:
    return [text for found, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if found == kind]


@pytest.mark.parametrize("block", [b for b in blocks("console") if b.startswith("$ slimulator") and "verify" not in b])
def test_console_blocks(block: str, tmp_path: Path) -> None:
    (tmp_path / "oops.s").write_text(OOPS)
    (tmp_path / "programs").symlink_to(ROOT / "programs")
    prompt, _, shown = block.partition("\n")
    output = "".join(slimulator(*shlex.split(part)[1:], cwd=tmp_path) for part in prompt.removeprefix("$ ").split(" && "))
    assert output == shown


def test_the_demo_ends_with_what_the_readme_shows() -> None:
    """All but the seconds of this host: the story, and every counter."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = shlex.split(makefile.partition("$(BIN)/slimulator generate")[2].splitlines()[0])
    shown = next(b for b in blocks("") if b.startswith("Once upon a time"))
    output = slimulator("generate", *(word.replace("$(PROMPT)", "Once upon a time") for word in command))
    assert _without_seconds(output) == _without_seconds(shown)


def _without_seconds(text: str) -> list[str]:
    return [line for line in text.strip().splitlines() if not line.startswith("  this host")]


def test_verify_passes_as_the_readme_shows() -> None:
    """Line by line; the first compares with transformers, where that is installed."""
    block = next(b for b in blocks("console") if "verify" in b)
    prompt, *shown = block.splitlines()
    lines = slimulator(*shlex.split(prompt)[2:]).splitlines()
    assert len(lines) == 4 and lines[1:] == shown[1:]
    assert lines[0].partition(" differ by ")[0] == shown[0].partition(" differ by ")[0] or (
        lines[0].startswith("not checked  float graph = transformers"))


def test_the_python_block_prints_what_its_comment_says() -> None:
    code, = blocks("python")
    expected = re.search(r"# (.+)$", code, re.MULTILINE)
    assert expected
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout.strip() == expected[1], done.stderr


def test_assembly_in_the_readme_stands_in_a_program() -> None:
    block, = blocks("asm")
    assert block in (ROOT / "programs" / "ternary_gemv.s").read_text(encoding="utf-8")
