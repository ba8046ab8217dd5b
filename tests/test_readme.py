"""What README and the pages for newcomers say of other files is so. tests/test_docs.py executes their blocks."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from guides import blocks

from isa.preset import load_preset
from isa.traps import Cause
from isa.units import UNITS

ROOT = Path(__file__).parents[1]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_make_demo_prints_the_block_of_the_readme() -> None:
    """The block says which command prints it: that is the Makefile's, with its usual prompt."""
    makefile = _text("Makefile")
    prompt = re.search(r"^PROMPT \?= (.*)$", makefile, re.M)
    command = re.search(r"^demo: .*\n\t\$\(BIN\)/(slimulator generate .*)$", makefile, re.M)
    assert prompt and command
    shown = [block.marks["part of"] for block in blocks(ROOT / "README.md") if "part of" in block.marks]
    assert shown == [command[1].replace("$(PROMPT)", prompt[1])]


def test_the_picture_has_the_ports_of_the_machines() -> None:
    """docs/machine.svg: a dot for each port of slim, with a ring where slim-llama has the port too; each says unit and memory."""
    root = ET.parse(ROOT / "docs" / "machine.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"
    dots: dict[tuple[str, str], bool] = {}
    for dot in root.iter(f"{svg}circle"):
        title = dot.find(f"{svg}title")
        if title is not None and title.text:                        # the two dots of the legend say nothing
            unit, _, memory = title.text.partition(": ")
            dots[unit, memory] = "both" in dot.attrib["class"].split()
    ports = {name: {(unit, region.name) for region in load_preset(name).regions for unit in region.ports}
             for name in ("slim", "slim-llama")}
    assert dots.keys() == ports["slim"] and {port for port, both in dots.items() if both} == ports["slim-llama"]
    names = {"".join(text.itertext()) for text in root.iter(f"{svg}text") if text.get("class") == "name"}
    assert names == {"core", *(name for name, unit in UNITS.items() if unit.queue)}


def test_the_list_of_programs_names_all_with_their_units() -> None:
    rows = re.findall(r"^\| \[([\w.]+)\]\(\1\) \|[^|]*\| ?([\w, ]*?) ?\|$", _text("programs/README.md"), re.M)
    queues = [name for name, unit in UNITS.items() if unit.queue]
    for name, units in rows:
        text = _text(f"programs/{name}")
        text += "".join(_text(f"programs/{library}") for library in re.findall(r'^\s*\.include "(.*)"', text, re.M))
        used = set(re.findall(rf"^\s+(?:\d+:\s+)?({'|'.join(queues)})\.", text, re.M))
        assert units == ", ".join(unit for unit in queues if unit in used), name
    assert sorted(name for name, _ in rows) == sorted(path.name for path in (ROOT / "programs").glob("*.s"))


def test_the_glossary_is_in_order_and_is_used() -> None:
    terms = re.findall(r"^### (.*)$", _text("docs/glossary.md"), re.M)
    assert terms == sorted(terms, key=str.lower) and len(terms) == len(set(terms))
    assert {"LUT", "MAC", "Ternary", "Scale", "KV cache", "Position", "GQA", "Threshold", "Calibration", "Scratchpad", "DMA", "Tag",
            "Retire", "CSR", "Hart", "HTIF", "ELF", "picolibc", "Spike", "Bank", "Pseudo-channel", "HAB", "CRF", "Macro form",
            "AiM", "PIM", "Logits", "KL divergence", "Bits per byte", "RMSNorm", "RoPE", "SwiGLU"} <= set(terms)
    for page in ("README.md", "docs/concepts.md", "docs/tutorial.md", "docs/installing.md", "docs/troubleshooting.md"):
        assert "glossary.md" in _text(page), page


def test_figures_of_concepts_are_those_of_the_demo_model() -> None:
    """MACs and weights of a position, from the shapes in the page's table, and from the run that the README shows."""
    concepts, readme = _text("docs/concepts.md"), _text("README.md")
    rows = re.findall(r"^\| [\w, ]+ \| (\d+) x (\d+)(, two of them)? \| ([\d,]+) \|$", concepts, re.M)
    weights = [4 * int(height) * int(width) * (2 if twice else 1) for height, width, twice, _ in rows]
    assert len(rows) == 4 and weights == [int(said.replace(",", "")) for *_, said in rows]
    assert f"| together | | {sum(weights):,} |" in concepts and f"each token takes {sum(weights):,} MACs" in concepts
    positions = 5 + 75 - 1                                          # the last token that is generated is not read again
    macs = re.search(r"^  lut .* macs ([\d,]+), macs skipped", readme, re.M)
    assert macs and int(macs[1].replace(",", "")) == positions * sum(weights)


HARD = ("activation", "bank", "bits per byte", "checkpoint", "counter", "CSR", "DMA", "ELF", "engine", "FFN", "GEMV", "hazard",
        "HBM", "kernel", "KL divergence", "KV cache", "logits", "LUT", "MAC", "machine preset", "PIM", "port", "quantise", "queue",
        "RISC-V", "RMSNorm", "scratchpad", "Spike", "tag", "ternary", "threshold", "trap", "weight")


def test_hard_words_are_linked_where_they_come_first() -> None:
    for page in ("README.md", "docs/concepts.md", "docs/tutorial.md", "docs/installing.md", "docs/troubleshooting.md"):
        text = prose = _text(page)
        for other in (r"(?ms)^ *```.*?^ *```$", r"(?m)^#.*$", r"`[^`\n]*`", r"<!--.*?-->", r"\]\([^)]*\)", r"!\[[^]]*\]"):
            prose = re.sub(other, lambda found: re.sub(r"[^\n]", " ", found[0]), prose)
        links = [range(*link.span()) for link in re.finditer(r"\[[^]]+\]\([^)]+\)", text)]
        for word in HARD:
            first = re.search(r"(?i)(?<![\w-])" + word.replace(" ", r"\s+") + r"s?(?![\w-])", prose)
            assert first is None or any(first.start() in link for link in links), f"{page}: {word}"


def test_messages_of_troubleshooting_exist() -> None:
    """The messages in bold stand in a block that is executed, or piece by piece in the code or in the Makefile."""
    shown = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\*\*(`.*?)\*\*", _text("docs/troubleshooting.md"), re.M)))
    code = "\n".join(path.read_text(encoding="utf-8") for folder in ("slimulator", "asm", "isa", "emulator", "compiler")
                     for path in (ROOT / folder).rglob("*.py")) + _text("Makefile")
    causes = {f"trap {int(cause)} ({cause.name.lower().replace('_', ' ')})" for cause in Cause}
    executed = "".join(block.text for block in blocks(ROOT / "docs" / "troubleshooting.md"))
    assert len(shown) >= 10
    for message in set(shown) - causes - {"slimulator: command not found"}:        # the shell says this one
        if message in executed:
            continue
        for piece in re.split(r"\.\.\.|'", message.removeprefix("error: ").replace("SLIMULATOR_SIMD=", "")):
            assert piece.strip(" :=") in code, message
