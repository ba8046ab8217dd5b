"""docs/json.md: every JSON that the tool writes, key by key. Each table is compared both ways with what the commands write.

A key is written as a path: `trap.cause` is a member of `trap`, `lines[].file` a member of each object in `lines`. A part in
capitals stands for any name.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import small_machine
from elftools.elf.elffile import ELFFile
from random_models import SHAPES, random_model
from tiny_checkpoint import write_checkpoint, write_relu

import slimulator
from compiler.checking import against_transformers
from compiler.compile import compile_model
from compiler.compiled import CARD_SCHEMA
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.measuring import shapes
from compiler.model.carried_tokenizer import packed
from compiler.model.tokenizer import SentencePieceTokenizer
from compiler.passes.project import project
from compiler.passes.prune import parse_prune, prune
from compiler.passes.prune_tokens import parse_prune_tokens
from compiler.passes.select import Caches, parse_select
from isa import manual
from isa.caches import PROGRAMS
from isa.engine import snapshot
from isa.preset import load_preset
from isa.program_file import ISA_VERSION, META_SCHEMA
from slimulator.command_line import command
from slimulator.commands.shared import SCHEMA
from slimulator.validate import energy, systems
from slimulator.validate.checks import Check

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
Keys = dict[str, set[str]]              # types by path
SELECT = ("--kv-select", "think:0.5")
BY_HEAD = ("--dataflow", "tphs", "--machine", "slim-llama")


def tables() -> dict[str, Keys]:
    """By heading: the types of each key."""
    found: dict[str, Keys] = {}
    for part in re.split(r"^#+ ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        for keys, types in re.findall(r"^\| (`[^|]*`) \| ([a-z, ]+) \|.*\|$", text, re.MULTILINE):
            for key in re.findall(r"`([^`]+)`", keys):
                assert key not in found.setdefault(title, {}), f"{title}: {key} twice"
                found[title][key] = set(types.split(", "))
    return found


TABLES = tables()
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "text", type(None): "null", dict: "object"}


def kind_of(value: Any) -> str:
    """Its type as the page says it. An empty list is a list of nothing."""
    if not isinstance(value, list):
        return _TYPES[type(value)]
    kinds = {kind_of(element) for element in value}
    if kinds == {"integer", "number"}:
        kinds = {"number"}
    assert len(kinds) < 2, f"{value!r:.200} has elements of several types"
    return f"list of {''.join(kinds)}"


def fits(kind: str, types: set[str]) -> set[str]:
    """Those of a key's types that a value of this kind has."""
    wider = {kind.replace("integer", "number"), kind}
    return {each for each in types if each in wider or (kind == "list of " and each.startswith(kind))}


def paths(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, type) of every member of every object in a document. Names in a path are separated by NUL: some have points."""
    if isinstance(data, dict):
        for key, value in data.items():
            name = f"{path}\0{key}" if path else key
            yield name, kind_of(value)
            yield from paths(value, name)
    for value in data if isinstance(data, list) else ():
        yield from paths(value, f"{path}[]")


def pattern(key: str) -> re.Pattern[str]:
    """What a key of the page stands for: a part in capitals for any name."""
    parts = [re.sub(r"[A-Z]{2,}", "[^\\\\x00]*", re.escape(part)) for part in key.split(".")]
    return re.compile("\0".join(parts))


def compare(title: str, documents: Iterable[Any]) -> None:
    """Each key of the documents is in the page's table, with its type. Each key of the table is in a document, with each of its
    types; null need not come."""
    keys, seen = {key: pattern(key) for key in TABLES[title]}, defaultdict[str, set[str]](set)
    for document in documents:
        for path, kind in paths(document):
            found = [key for key, form in keys.items() if form.fullmatch(path)]
            assert len(found) == 1, f"{title}: {path!r} is described by {found}"
            key, = found
            types = fits(kind, TABLES[title][key])
            assert types, f"{title}: {path!r} is {kind}, not {TABLES[title][key]}"
            seen[key] |= types
    assert {key: types - seen[key] for key, types in TABLES[title].items() if types - seen[key] - {"null"}} == {}, title


def test_the_numbers_of_schemas_are_those_of_the_code() -> None:
    said = dict(re.findall(r"^\| ([a-z][^|`]*) \| (\d+) \|$", PAGE, re.MULTILINE))
    assert said == {"what a command writes": str(SCHEMA), "a program's metadata": str(META_SCHEMA),
                    "the model card and the tokenizer": str(CARD_SCHEMA), "a snapshot's header": str(snapshot.SCHEMA)}
    assert f"the version of the instruction set, now {ISA_VERSION}." in " ".join(PAGE.split())


WRITERS = {             # files that make JSON: of a command, of a file that is read again, a text that is only compared, a timeline
    "slimulator/commands/shared.py", "compiler/compiled.py", "isa/elf/writer.py", "isa/engine/snapshot.py",
    "compiler/running/cache.py", "compiler/checking/verify_chain.py", "asm/directives.py", "emulator/observe/timeline.py",
    "slimulator/explore/plan.py", "slimulator/explore/records.py"}


def test_no_json_is_left_out() -> None:
    commands = {name for name, of in command.commands.items() if any("--json" in option.opts for option in of.params)}
    assert commands == {title for title in TABLES if title in command.commands}
    sources = [path for folder in ("isa", "asm", "emulator", "compiler", "slimulator") for path in (ROOT / folder).rglob("*.py")]
    made = {str(path.relative_to(ROOT)) for path in sources if re.search(r"\bjson\.dumps?\(|_dump_json\(", path.read_text())}
    assert made == WRITERS


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command with `--json -` and gives what it wrote. Files are in the current folder."""
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Any:
        option = ["--json"] if words[0] in ("isa", "machines", "cache") else ["--json", "-"]
        slimulator.invoke([*map(str, words), *option])
        out, err = capfd.readouterr()
        assert out.startswith("{"), err
        document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert document.pop("schema") == SCHEMA == 1
        return document
    return run


def test_asm(written: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "good.s").write_text(".macro twice\n nop\n nop\n.endm\n_start: twice\nend: nop\n.equ five, 5\n.bss\n.zero 8\n")
    (tmp_path / "bad.s").write_text("_start: ad a0, a0, a0\n.macro wrong\n nopp\n.endm\n wrong\n .warning \"so\"\n")
    compare("asm", [written("asm", "good.s"), written("asm", "bad.s")])


HAZARD = """\
_start: la a0, cell
        li a1, 4
        vec.relu.f32 a0, a0, a1
        lw a2, 0(a0)
        li a7, 93
        ecall
        .data
cell:   .word 1, 2, 3, 4
"""


def test_run(written: Callable[..., Any], tmp_path: Path) -> None:
    for name, text in (("hazard", HAZARD), ("trap", "_start: li a7, 0x5111\n ecall\n ld a0, 8(zero)\n")):
        (tmp_path / f"{name}.s").write_text(text)
        assert slimulator.invoke(["asm", f"{name}.s"]) == 0
    (tmp_path / "tokens.s").write_text("_start: li a7, 0x5111\n ecall\n ecall\n li a0, 1\n vec.argmax.f32 t1, sp, a0\n"
                                       " li a7, 93\n ecall\n")
    assert slimulator.invoke(["asm", "tokens.s"]) == 0
    (tmp_path / "attacc.s").write_text(".machine attacc\n_start: li a7, 93\n ecall\n")
    assert slimulator.invoke(["asm", "attacc.s"]) == 0
    compare("run", [written("run", "hazard.elf", "--all-hazards", "--mix"), written("run", "trap.elf", "--quiet"),
                    written("run", "tokens.elf", "--what-if", "vec=2", "--by", "operation"),
                    written("run", "tokens.elf", "--no-time"), written("run", "attacc.elf")])


def test_generate_eval_verify(written: Callable[..., Any], tmp_path: Path) -> None:
    model, words = write_relu(tmp_path), tmp_path / "t.txt"
    words.write_text("a cat sat on a mat. a dog ran and ran.", encoding="utf-8")
    exact, share = ("--ffn-sparsity", "exact"), ("--ffn-sparsity", 0.5, "--calibrate", words)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 96}), encoding="utf-8")
    (batch := tmp_path / "prompts.txt").write_text("ab\nb\n", encoding="utf-8")
    long, cut = write_checkpoint(tmp_path / "long", context=200), ("--prune-tokens", "1:128")
    compare("generate", [written("generate", model, "ab", "-n", 2, "--what-if", "lut=2", "--by", "layer"),
                         written("generate", model, "--batch", batch, "-n", 2),
                         written("generate", long, "--batch", batch, "-n", 2, *cut),
                         written("generate", model, "ab", "-n", 2, *exact),
                         written("generate", long, "ab" * 70, "-n", 2, *cut, "--kv-near", "1M")])
    compare("eval", [written("eval", model, words, "--tokens", 8, *more) for more in (
        share, (*share, "--predict", "--in-page", "most"), exact, ("--weights", "i8", "--activations", "i8", "--pack", "auto"),
        ("--prune", "magnitude:0.5", "--machine", "slim-llama", *BY_HEAD), ("--project", "monarch:4"), SELECT,
        ("--weights", "t2", "--reuse", "--machine", "slim-llama"))]
            + [written("eval", long, words, "--tokens", 8, *more) for more in (
                (*cut, "--kv-near", "1M"), ("--kv-select", "starc:64", "--kv-select-from", 0))])


def test_verify(written: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One program is right, one has a wrong weight that is read in tiles, and one step is as with transformers."""
    monkeypatch.setattr(against_transformers, "compare", lambda model, tokens: against_transformers.Comparison(len(tokens)))
    model = write_relu(tmp_path)
    good = written("verify", model, "--prompt", "ab", "--tokens", 3)
    machine = small_machine(12288)                  # so small that nothing stays there
    compiled = compile_model(load(model), machine=machine, recipe=read_recipe("i8"))
    compiled.save(tmp_path / "p.elf")
    data = bytearray((tmp_path / "p.elf").read_bytes())
    weights = next(s for s in slimulator.Program.load(tmp_path / "p.elf").sections if s.name == ".rodata.weights")
    offset = getattr(weights.chunks[0], "offset", data.find(weights.bytes()))
    data[offset + compiled.layout.layers_at + compiled.layout.layer["o"].offset] ^= 0x55
    (tmp_path / "p.elf").write_bytes(data)
    wrong = written("verify", model, "--machine", machine, "--weights", "i8", "--prompt", "ab", "--tokens", 3,
                    "--program", tmp_path / "p.elf")
    compare("verify", [good, wrong])


def test_infer(written: Callable[..., Any]) -> None:
    tiny = ROOT / "programs/networks"
    compare("infer", [written("infer", tiny, tiny / "images.npz", "--by", "operation", "--what-if", "vec=2"),
                      written("infer", tiny, tiny / "images.npz", "--no-time", "--dense")])


def test_bench(written: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shapes.SHAPES, "1k", (2, 32, 48, 2, 60))
    compare("bench", [written("bench", "--shape", "1k", "--seconds", 0.2, "--what-if", "lut=2", "--by", "phase", *more)
                      for more in ((), ("--ffn-sparsity", 0.5), ("--ffn-sparsity", 0.5, "--predict"), ("--prompt", 4, "--depth", 5),
                                   ("--prune", "magnitude:0.5"), ("--project", "monarch:4"), SELECT, BY_HEAD,
                                   ("--kv-select", "starc:64", "--kv-select-from", 0), ("--prune-tokens", "1:128"),
                                   ("--pack", "4"), ("--kv-near", "2M"))])


def test_validate(written: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = "simulator,config,workload,p1_name,p1,p2_name,p2,p3_name,p3,p4_name,p4,cycles,energy_pJ\n"
    (tmp_path / "p.csv").write_text(names + "DRAMsim3,HBM2_8Gb_x128,stream read,bytes,65536,,,,,,,315,100.5\n"
                                    "PIMeval,x,gemv,inputs,4,,,,,,,,\n")
    spent = Check("a", "b", "mJ", 1, 2, 3, "", parts={"x": 1.0}, total=1.0)
    monkeypatch.setattr(systems, "checks", lambda: [replace(spent, ours=None, low=None, high=None), spent])
    monkeypatch.setattr(energy, "checks", lambda: [spent, replace(spent, parts={}, ours=None, low=None, high=None, total=None)])
    compare("validate", [written("validate", "p.csv"), written("validate", "--systems")])


def _named(folder: Path) -> Path:
    """A machine file with a named memory."""
    text = (ROOT / "isa" / "machines" / "slim.toml").read_text(encoding="utf-8")
    before, region = text.split("[region.dram]\n")
    region = re.sub(r"^latency_cycles .*\nbytes_per_cycle .*\n", 'memory = { value = "HBM3", source = "assumed: for a test" }\n'
                    'channels = { value = 8, source = "assumed: for a test" }\n'
                    'speed = { value = 2, source = "assumed: for a test" }\n'
                    'mapping = { value = "row bank rank group channel column", source = "assumed: for a test" }\n',
                    region, count=1, flags=re.MULTILINE)
    (folder / "named.toml").write_text(f"{before}[region.dram]\n{region}", encoding="utf-8")
    return folder / "named.toml"


def test_machines_and_cache(written: Callable[..., Any], tmp_path: Path) -> None:
    compare("machines", [written("machines"), written("machines", "hpim"), written("machines", _named(tmp_path))])
    compare("cache", [written("cache")])


QUERIES = {
    "isa: instructions": ("", "lut", "add", "lut.mac"), "isa: pseudo-instructions": ("call",), "isa: CSRs": ("csrs", "mepc"),
    "isa: counters": ("counters", "lut.macs"), "isa: traps": ("traps", "PORT"), "isa: number formats": ("numbers", "t2"),
    "isa: registers": ("registers", "a7"), "isa: instruction formats": ("formats", "R4"), "isa: memory": ("memory", "sram"),
    "isa: services": ("services",), "isa: arithmetic": ("arithmetic", "vocabulary"),
    "isa: encoding": ("encoding",),
    "isa: ordering": ("ordering",), "isa: timing": ("timing",), "isa: privileged": ("privileged",), "isa: reset": ("reset",),
    "isa: words of introductions": ("HAB",),
    "isa: a search": ("sparse rows",)}


@pytest.mark.parametrize("title", QUERIES)
def test_isa(written: Callable[..., Any], title: str) -> None:
    documents = [written("isa", *query.split()) for query in QUERIES[title]]
    assert [document["query"] for document in documents] == [*QUERIES[title]]
    answers = [document["answer"] for document in documents]
    compare(title, [entry for answer in answers for entry in (answer if isinstance(answer, list) else [answer])])


def test_isa_answers_in_one_form(written: Callable[..., Any]) -> None:
    for document in (written("isa", "add"), written("isa", "traps")):
        assert set(document) == {"query", "answer"} and isinstance(document["answer"], dict | list)
    assert set(TABLES["isa"]) == {"query", "answer"}


def test_every_topic_is_described() -> None:
    asked = {query for queries in QUERIES.values() for query in queries}
    assert {*manual.TOPICS} - {"machines"} <= asked                     # `isa machines` answers as `machines` does
    assert {title for title in TABLES if title.startswith("isa: ")} == set(QUERIES)


def metadata(path: Path) -> Any:
    """The JSON in a program file."""
    with open(path, "rb") as stream:
        return json.loads(ELFFile(stream).get_section_by_name(".slim.meta").data())


class OfALibrary(SentencePieceTokenizer):
    """As after reading a tokenizer.model, without the library."""

    def __init__(self) -> None:
        self.data, self.add_bos = b"a model", True


def test_program(tmp_path: Path) -> None:
    models = write_checkpoint(tmp_path), write_relu(tmp_path)
    found = []
    for number, (model, sparsity) in enumerate(zip(models, (None, "exact"), strict=True)):
        compiled = compile_model(load(model), recipe=read_recipe("i8"), sparsity=sparsity)
        compiled.save(tmp_path / f"{number}.elf")
        compiled.save_source(tmp_path / f"{number}.s")
        found.append(metadata(tmp_path / f"{number}.elf"))
        assert json.loads((tmp_path / f"{number}.meta").read_text()) == found[-1]["meta"]
        assert (found[-1]["schema"], found[-1]["meta"]["schema"]) == (META_SCHEMA, CARD_SCHEMA) == (3, 1)
    cards = [document.pop("meta") for document in found]
    cards.append(compile_model(load(models[0]), machine=small_machine(512_000, "thr")).meta)         # lacks something
    cards.append(compile_model(load(models[0]), machine=small_machine(12288)).meta)                  # attends tile by tile
    narrow = replace(SHAPES["gqa"], layers=2, widths=(16, SHAPES["gqa"].hidden), layer_heads=((4, 2), (2, 1)))
    cards.append(compile_model(random_model(narrow)).meta)
    cards.append(compile_model(prune(load(models[0]), parse_prune("magnitude:0.5"))).meta)
    cards.append(compile_model(project(load(models[0]), 4)).meta)
    cards.append(compile_model(random_model(replace(SHAPES["gqa"], context=96)), kv=Caches("f32", parse_select("think:0.5"))).meta)
    longer = random_model(replace(SHAPES["gqa"], context=200))
    cards += [compile_model(replace(longer, prune_tokens=parse_prune_tokens(text)), kv=Caches(near=near)).meta
              for text, near in (("1:128", None), ("1:128+4", 1 << 20))]
    cards.append(compile_model(load(models[0]), machine="slim-llama", kv=Caches(dataflow="tphs")).meta)
    slimulator.assemble("_start: lut.mac.t2 a0, a1, a2\n").save(tmp_path / "t.elf")
    slimulator.Program().save(tmp_path / "none.elf")
    found += [metadata(tmp_path / f"{name}.elf") for name in ("t", "none")]
    machines = [machine for document in found if (machine := document.pop("machine"))]
    compare("A program's metadata", [{**document, "meta": {}, "machine": machine} for document, machine in zip(
        found, ({}, {}, {}, None), strict=True)])
    assert machines == [load_preset("slim").contents] * 3
    compare("The model card and the tokenizer", [*cards, {**cards[0], "tokenizer": packed(OfALibrary())}])


def test_snapshot(tmp_path: Path) -> None:
    slimulator.assemble(".machine hpim\n_start: li a7, 0x5111\n ecall\n j _start\n").save(tmp_path / "p.elf")
    slimulator.assemble(".machine hpim\n_start: li a7, 93\n ecall\n").save(tmp_path / "q.elf")
    found = []
    for name, program in (("hpim", "p"), ("slim", "q")):
        machine = slimulator.Machine(name, slimulator.Host([1, 2]))
        machine.load(tmp_path / f"{program}.elf")
        machine.run(max_instructions=3)
        machine.save(tmp_path / name)
        with np.load(tmp_path / name) as archive:
            found.append(json.loads(archive["header"].tobytes()))
        assert found[-1]["schema"] == snapshot.SCHEMA == 5
    presets = [document.pop("preset") for document in found]
    compare("A snapshot's header", [{**document, "preset": {}} for document in found])
    others = [load_preset(name).file.model_dump() for name in ("slim-llama", "slim-nsp", _named(tmp_path))]
    compare("machines", [{"machines": [*presets, *others]}])
