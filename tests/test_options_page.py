"""docs/options.md and docs/environment.md: every option with its default, and every environment variable, as the code has them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT

import slimulator
from compiler.checking import verify_chain
from compiler.compile import ACTIVATIONS, LONGEST_CONTEXT
from compiler.measuring import shapes
from compiler.running.generate import MOST_TOKENS, Sampling
from compiler.settings import Settings
from isa import caches
from slimulator import options_page
from slimulator.command_line import command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OPTIONS = (DOCS / "options.md").read_text(encoding="utf-8")
ENVIRONMENT = (DOCS / "environment.md").read_text(encoding="utf-8")
COMMANDS = command.commands
_NOTHING = {                # options without which nothing is done, written or limited
    "asm": "-I --include-only -D --listing --symbols --lines --json", "debug": "--script --gdb --prompt",
    "run": "--prompt --max-instructions --timeout --save-snapshot --restore --json --csv --commit-log --trace --what-if --by "
           "--report --timeline --timeline-from --timeline-for --trace-unit --trace-pc --trace-symbol --trace-registers "
           "--trace-writes --trace-limit --memory-trace",
    "compile": "--ffn-sparsity --kv-select --kv-near --adapter --pack --project --prune --prune-tokens --calibrate",
    "generate": "--batch --ffn-sparsity --kv-select --kv-near --adapter --pack --project --prune --prune-tokens --calibrate "
                "--what-if --by --report --json",
    "infer": "--what-if --by --json",
    "verify": "--ffn-sparsity --kv-select --kv-near --adapter --pack --project --prune --prune-tokens --calibrate --dump --json",
    "eval": "--ffn-sparsity --kv-select --kv-near --adapter --pack --project --prune --prune-tokens --calibrate --json",
    "bench": "--config --ffn-sparsity --kv-select --kv-near --pack --project --prune --prune-tokens --what-if --by --json",
    "validate": "--json", "compare": "--report",
    "sweep": " ".join(["--set --shape --config --prompt-file --text --scored --cluster --store --report --optimise", *(
        option.opts[0] for option in options_page.options(COMMANDS["compile"])
        if option.opts[0] not in ("-o", "--tokenizer", "-S", "--predict", "--reuse"))])}


def defaults(name: str) -> dict[str, str]:
    """The defaults that the page has for a command, by each name of the option."""
    part = re.split(r"^## ", OPTIONS, flags=re.MULTILINE)
    text = next(text for text in part if text.startswith(f"{name}\n"))
    return {option: row[1].strip() for row in re.findall(r"^\| (`.*?) \| (.*?) \| .* \|$", text, re.MULTILINE)
            for option in re.findall(r"`(-[\w-]+)", row[0])}


def test_the_page_is_what_make_docs_writes(tmp_path: Path) -> None:
    assert options_page.page() == OPTIONS, "run `make docs`"
    done = subprocess.run([sys.executable, "-m", "slimulator.options_page", str(tmp_path / "o.md")], cwd=ROOT, timeout=LIMIT)
    assert done.returncode == 0 and (tmp_path / "o.md").read_text(encoding="utf-8") == OPTIONS
    assert "-m slimulator.options_page docs/options.md" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_each_option_of_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert slimulator.invoke([name, "--help"]) == 0
    shown = re.findall(r"^  (-[\w-]+)(?:, (--[\w-]+))?", capsys.readouterr().out, re.MULTILINE)
    helped = {option for names in shown for option in names if option} - {"-h", "--help"}
    assert set(defaults(name)) == helped
    assert {option for option, value in defaults(name).items() if value == "none"} == set(_NOTHING.get(name, "").split())


@pytest.mark.parametrize(("name", "option", "constant"), [
    ("generate", "-n", MOST_TOKENS), ("generate", "--temperature", Sampling.temperature), ("generate", "--top-p", Sampling.top_p),
    ("generate", "--seed", Sampling.seed), ("verify", "--tokens", verify_chain.USUAL_COUNT), ("bench", "--context", shapes.CONTEXT),
    ("bench", "--weights", shapes.WEIGHTS["125m"]), ("bench", "--weights", f"15m {shapes.WEIGHTS['15m']}"),
    ("bench", "--shape", "125m"),
    *((name, option, value) for name in ("compile", "generate", "verify", "eval") for option, value in (
        ("--kv", Settings.kv), ("--context", LONGEST_CONTEXT), ("--activations", ACTIVATIONS[0]), ("--machine", "slim")))])
def test_a_default_is_that_of_the_code(name: str, option: str, constant: object) -> None:
    assert re.search(rf"\b{re.escape(str(constant))}\b", defaults(name)[option])


def test_no_guide_names_an_option_that_is_not_there() -> None:
    known = {name for each in COMMANDS.values() for option in options_page.options(each) for name in option.opts}
    others = {"--help", "--version", "--extra-index-url", "--no-index", "--find-links"}
    for page in (ROOT / "README.md", *DOCS.glob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            if re.search(r"\b(pip|gcc|clang|ld|gdb\w*|spike|make|python3?|git|apt\S*|objcopy|hf|dask)\b", line, re.IGNORECASE):
                continue                                                    # options of other programs
            unknown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", line)) - known - others
            assert not unknown, f"{page.name}: {unknown}"


# ------------------------------------------------------------------------------------------------ environment variables


def variables() -> dict[str, str]:
    """The page's variables with their defaults."""
    return dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", ENVIRONMENT, re.MULTILINE))


def sources() -> dict[str, str]:
    """Files that may look at the environment, by name."""
    folders = ("isa", "asm", "emulator", "compiler", "slimulator", "programs", "benchmarks", "tests")
    files = [ROOT / "Makefile", ROOT / ".ci" / "run", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def test_every_environment_variable_is_on_the_page() -> None:
    found = set()
    for text in sources().values():
        found |= set(re.findall(r"environ(?:\.get|\.setdefault|\.pop)?[(\[]\s*\"(\w+)\"", text))
        found |= set(re.findall(r"\b_?SLIMULATOR_[A-Z_]+\b", text)) | set(re.findall(r"\bTMPDIR\b", text))
    assert found == set(variables())


def test_a_default_of_a_variable_is_that_of_the_code() -> None:
    assert variables()["SLIMULATOR_CACHE_SIZE"] == caches.USUAL_SIZE
    code = {name: value for text in sources().values()
            for name, value in re.findall(r"environ\.(?:get|setdefault)\(\"(\w+)\", \"(\w+)\"\)", text)
            if name != "SLIMULATOR_FUZZ"}
    assert code == {name: variables()[name] for name in code} and {"SLIMULATOR_STOPS", "SLIMULATOR_FUZZ_SEED"} < set(code)
    usual = re.compile(r"environ\.get\(\"SLIMULATOR_FUZZ\", \"(\d+)\"\)|\bint\(LONG or (\d+)\)")
    own = {name: found[1] or found[2] for name, text in sources().items() if (found := usual.search(text))}
    assert own == dict(re.findall(r"^\| `(tests/\w+/\w+\.py)` \| (\d+) \|", ENVIRONMENT, re.MULTILINE))
    makefile = sources()["Makefile"]
    assert re.search(r"SLIMULATOR_FUZZ:-500000\b", makefile) and "make fuzz` sets 500,000" in ENVIRONMENT
    assert "SLIMULATOR_STOPS=200 " in makefile and "make fuzz` sets 200" in ENVIRONMENT
    assert set(re.findall(r"^(\w+) +\?= ", makefile, re.MULTILINE)) <= set(re.findall(r"`(\w+)`", ENVIRONMENT))
