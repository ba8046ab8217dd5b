"""What commands share: options, and how their output is written."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, reduce, wraps
from math import isfinite
from pathlib import Path
from typing import Any

import click

FIRST_RUN = "compiling kernels for this processor: the first run takes up to a minute"
PATIENT = 5.0           # seconds without a message
SCHEMA = 1              # of all JSON that commands write; rises when a key goes, is renamed or changes its meaning (docs/json.md)
KEPT = "\n\t"            # control characters that text for a terminal may have
FILE = click.Path(path_type=Path, readable=False)         # a file that cannot be read is an error of the input, not of the usage


class _Binary(click.Path):
    """A file to write that is not for a terminal, binary or a page: '-' for stdout is refused."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if str(value) == "-":
            self.fail("'-' means stdout; expected a file name", parameter, context)
        return super().convert(value, parameter, context)


BINARY = _Binary(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
ENGINE = click.option("--engine", type=click.Choice(["fast", "reference"]), default="fast", show_default=True,
                      help="fast: compiled kernels; reference: the NumPy meaning of each instruction. Same results.")
MACHINE = click.option("--machine", metavar="M",
                       help="Preset name or .toml file; by default the one that the program was built for.")


def _threads(_context: click.Context, _parameter: click.Parameter, wanted: int) -> int:
    """--threads, at most the number of the host's cores: more threads would only wait for each other."""
    if wanted == 1:
        return 1
    from emulator.threads.workers import cores
    if wanted > cores():
        click.echo(f"--threads {wanted}: reduced to {cores()}, the number of cores of this host", err=True)
    return min(wanted, cores())


THREADS = click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", callback=_threads,
                       help="Split large operations among N threads, at most one per core of the host. "
                            "Changes only the time.")
NO_TIME = click.option("--no-time", is_flag=True, help="Keep no clock: no time and no energy of the machine.")
WHAT_IF = click.option("--what-if", multiple=True, metavar="NAME=X,...",
                       help="Also say how long it takes, and what energy, where a unit or region is X times as fast (lut=2), a "
                            "rate is X, or a region is another memory (dram.memory=HBM2).")
BY = click.option("--by", type=click.Choice(["operation", "layer", "line", "phase"]),
                  help="Also split counters, time and energy by symbol, layer of a model or source line, or into prefill and "
                       "decode.")
REPORT = click.option("--report", type=BINARY, metavar="F.html",
                      help="Write a page with pictures: one file that needs no network. Slower: it looks at every operation.")
TOKENIZER = click.option("--tokenizer", type=FILE, metavar="F", help="Tokenizer file; by default the one with the model.")
PROMPT = click.option("--prompt", default="", metavar="TOKENS", help="Prompt tokens for the program to read, e.g. \"1 42 7\".")


def options(*several: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several click options as one decorator."""
    return lambda function: reduce(lambda decorated, option: option(decorated), reversed(several), function)


def _sparsity(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | str | None:
    """--ffn-sparsity exact|S."""
    if text in (None, "exact"):
        return text
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if not 0 <= value <= 0.95:
        raise click.BadParameter(f"{text!r}; expected exact, or a number from 0 to 0.95")
    return value


DATAFLOW = click.option(
    "--dataflow", type=click.Choice(["token-by-token", "tphs"]),
    help="Order in which a chunk of a prompt goes through attention. token-by-token, the default: all heads of a token, then the "
         "next token. tphs: one head for all tokens, then the next head, so that keys and values are read less often; for machines "
         "that copy them to the scratchpad. The result is the same.")


KV_NEAR = click.option(
    "--kv-near", metavar="SIZE[:dram]",
    help="Bytes of the scratchpad for keys and values (65536, 64K, 1M): those of the first layers stay there, the others take "
         "turns and are fetched while the layer before attends. The result is the same.")


def compiler_options(command: Callable[..., Any], *, programs: bool = False) -> Callable[..., Any]:
    """The options of a command that compiles a checkpoint. It takes them as `settings`, a compiler.settings.Settings.

    programs    whether the command takes compiled programs too
    """
    @wraps(command)
    def run(*arguments: Any, sparsity: float | str | None, calibrate: Path | None, reuse: bool, reuse_columns: int | None,
            **others: Any) -> Any:
        from compiler.formats.reuse import COLUMNS
        from compiler.settings import Settings
        said = {name: others.pop(name) for name in (
            "machine", "weights", "sparse", "context", "kv", "chunk", "activations", "pack", "project", "prune", "prune_tokens",
            "adapter", "kv_select", "kv_select_from", "kv_near", "dataflow", "in_page")}
        predict, form = others.pop("predict"), others.pop("predictor")
        if form and not predict:
            raise click.UsageError("--predictor goes with --predict")
        said["predictor"] = (form or "i8") if predict else None
        if reuse_columns is not None and not reuse:
            raise click.UsageError("--reuse-columns goes with --reuse")
        columns = (COLUMNS if reuse_columns is None else reuse_columns) if reuse else None
        settings = Settings(**said, sparsity=sparsity, calibrate=calibrate, reuse=columns)
        if programs and calibrate is None and isinstance(sparsity, float) and _is_program(others["model"]):
            return command(*arguments, settings=settings, **others)         # it has its thresholds
        if settings.reads_text != (calibrate is not None):
            raise click.UsageError("--calibrate TEXT goes with --ffn-sparsity and a number, --prune wanda or --prune flow, and "
                                   "these need it")
        return command(*arguments, settings=settings, **others)

    decorated: Callable[..., Any] = options(
        click.option("--machine", metavar="M",
                     help="Preset name or .toml file to compile for, by default slim."
                          + programs * " For a compiled program: the machine to run it on."),
        click.option("--weights", metavar="FMT|RECIPE.toml",
                     help="Format of the layers' matrices: f32 f16 bf16 i8 i4 i3 i2 t2 t5 b1 c4 c3 c2 bp4 bp3 bp2. A colon says "
                          "how many columns share a scale (i4:32, t2:row). Or a recipe file. By default the format of the "
                          "checkpoint."),
        click.option("--sparse", metavar="auto|off|LAYOUT",
                     help="How matrices of layers with zeros are stored: auto, the default, takes what needs the fewest bytes, "
                          "where the machine has an sp unit or macros; off: dense; nm:N:M, bm, bm:B, bl:RxC or cs: all in this "
                          "layout."),
        click.option("--context", type=int, metavar="N", help="Number of positions; by default that of the model, at most 2048."),
        click.option("--kv", type=click.Choice(["f32", "f16", "i8"]), default="f32", show_default=True,
                     help="Format of keys and values; f16: rounded to fp16; i8: int8 with one scale per position and head."),
        click.option("--kv-select", metavar="starc:BUDGET|think:RATIO",
                     help="think:0.4: keys that leave the window of the last 32 positions lose this share of their channels, those "
                          "that matter least to queries (ThinK). They are chosen behind 64 positions; think:0.4:256: behind 256. "
                          "starc:256: each head looks at 256 positions, by clusters of keys (STARC). This changes the result."),
        click.option("--kv-select-from", type=click.IntRange(min=0), metavar="LAYER",
                     help="With --kv-select starc: layers below this one look at all positions; by default 2."),
        KV_NEAR,
        click.option("--chunk", type=int, metavar="N",
                     help="Tokens of the prompt that go through a layer together, so that its weights are read once for them; 1: "
                          "one after the other. By default as many as the scratchpad has room for, at most 64."),
        DATAFLOW,
        click.option("--activations", type=click.Choice(["i8", "i8x4", "i16x4", "f32"]),
                     help="Format of activations for integer weights. i8, the default: int8, one scale per vector. i8x4: the same "
                          "in two parts of four bits, as the tables of Slim-Llama hold them. i16x4: 16 bits in four such parts. "
                          "f32: weights are decoded and multiplied on the vector unit."),
        click.option("--ffn-sparsity", "sparsity", metavar="exact|S", callback=_sparsity,
                     help="exact: read only the rows of neurons that are not zero, in models with relu or relu2. A number such as "
                          "0.5: skip this share of the neurons, by thresholds from --calibrate. This changes the result."),
        click.option("--predict", is_flag=True,
                     help="With --ffn-sparsity S: a small product predicts which neurons to leave alone; no weight of theirs is "
                          "read. Gate, up and down of a neuron are stored side by side, in flash where the machine has it."),
        click.option("--predictor", type=click.Choice(["i8", "i4", "t2"]),
                     help="Format of the weights of --predict; by default i8."),
        click.option("--in-page", type=click.Choice(["power", "most", "one"]),
                     help="With --predict: how many neurons share a page of flash. power, the default: a power of two, so that the "
                          "number of a neuron says its place; most: as many as a page holds, by a table of places; one: each "
                          "begins with a page."),
        click.option("--adapter", type=FILE, metavar="DIR",
                     help="Merge a LoRA adapter (a PEFT directory) into the checkpoint first."),
        click.option("--reuse", is_flag=True,
                     help="Store binary and ternary matrices of layers as centres and differences, most of which are zero: sums of "
                          "centres serve many rows, as on Slim-Llama. The result is the same."),
        click.option("--reuse-columns", type=int, metavar="N",
                     help="Columns of a piece of a row, each of which belongs to a centre: 64 by default, a multiple of 8."),
        click.option("--pack", type=click.Choice(["auto", "4", "8"]),
                     help="Store integer matrices of layers as packed chunks of 4 or 8 weights, as MEADOW does: of each chunk its "
                          "number, with few bits for frequent ones; auto: of the length that takes fewer bytes. A matrix that "
                          "gains nothing stays as it is. The result is the same."),
        click.option("--project", metavar="monarch:B",
                     help="Replace the layers' matrices by the nearest block-diagonal ones (Monarch): blocks of B x B in squares "
                          "with sides of B * B. This changes the result."),
        click.option("--prune", metavar="METHOD",
                     help="Prune the layers' matrices: magnitude:0.5 or wanda:0.5 (the share of each row that becomes zero), "
                          "wanda:2:4 (of each 4 weights 2 stay), flow:0.6 (N:M for each layer by its outliers, with this mean). "
                          "Behind the first two @between leaves the first and the last layer dense; +lowrank:8 adds two thin "
                          "matrices of this rank, which repair. "
                          "wanda and flow need --calibrate. This changes the result."),
        click.option("--prune-tokens", metavar="L:BUDGET,...",
                     help="Leave out tokens of long prompts, as SlimInfer does: before layer L at most BUDGET tokens go on, the "
                          "blocks of 64 that score best (10:1024,20:512). sliminfer: before 5, 10 and 15 sixteenths of the "
                          "layers a fourth, an eighth and a sixteenth of the context. ends@ or random@ in front chooses blocks "
                          "without scores, to compare. +256 behind: at most 256 tokens come behind a prompt, so that caches need "
                          "less room. This changes the result."),
        click.option("--calibrate", type=FILE, metavar="TEXT",
                     help="A UTF-8 text on which thresholds of neurons are found, or weights to prune."))(run)
    return decorated


def _is_program(model: str | None) -> bool:
    """Whether an argument that may be a model names a compiled program."""
    from compiler.running.generate import is_program
    try:
        return model is not None and is_program(Path(model))
    except (OSError, ValueError):
        return False


def distinct(outputs: Iterable[Path | None], *inputs: Path | None) -> None:
    """Refuse outputs that would overwrite an input or each other, also through links, and two on stdout."""
    taken: set[str] = set()
    outputs, read = list(outputs), {os.path.realpath(path) for path in inputs if path}
    if [str(written) for written in outputs].count("-") > 1:
        raise click.UsageError("only one output may be stdout ('-')")
    for written in outputs:
        if written is None or str(written) == "-" or (written.exists() and not written.is_file()):
            continue
        path = os.path.realpath(written)
        if path in read:
            raise click.UsageError(f"{written} is a file that is read; expected another name for the output")
        if path in taken:
            raise click.UsageError(f"{written} is given for two outputs")
        taken.add(path)


def preset_for(program: Any, machine: str | None) -> Any:
    """The machine to run a program on: what --machine says, else the one that it was built for and carries."""
    from isa.preset import load_preset
    return load_preset(machine) if machine else program.machine


def engine_named(name: str, quiet: bool = False) -> Any:
    """The class of an engine. The first run on a host compiles the kernels of the fast one. On a terminal a message names each
    kernel; elsewhere there is one line, unless `quiet`.
    """
    if name == "reference":
        from isa.reference import ReferenceMachine
        return ReferenceMachine
    from emulator.machine import Machine
    from emulator.native.objects import on_compile
    if sys.stderr.isatty():
        on_compile(lambda what: click.echo(f"\r\x1b[K{what and f'compiling {what} ...'}", nl=False, err=True))
    else:
        on_compile(None if quiet else lambda _what: _say_once(FIRST_RUN))
    return Machine


_said: set[str] = set()                 # messages that this process has printed


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        click.echo(f"{text} ...", err=True)


def machine_maker(name: str, threads: int, quiet: bool = False, time: bool = False) -> Any:
    """A function that makes machines of an engine with a number of threads. `time`: they keep a clock."""
    return partial(engine_named(name, quiet), **thread_options(name, threads), time=time)


def add_clocks(machine: Any, what_if: Iterable[str]) -> list[tuple[str, Any]]:
    """Have a machine keep further clocks: (text, clock) for each change of its rates. Raises PresetError."""
    from isa.timing.clock import Clock
    from isa.timing.what_if import what_if as changed
    clocks = [(text, Clock(changed(machine.preset, text))) for text in what_if]
    machine.clocks += [clock for _, clock in clocks]
    return clocks


def thread_options(engine: str, threads: int) -> dict[str, int]:
    """The keyword arguments about threads for a machine of an engine."""
    if engine == "reference":
        if threads > 1:
            raise click.BadParameter("the reference engine has one thread", param_hint="--threads")
        return {}
    return {"threads": threads}


def token_list(text: str) -> list[int]:
    """The tokens of --prompt. A program reads them as signed registers, and a negative one would be the end of the prompt."""
    try:
        tokens = [int(item) for item in text.replace(",", " ").split()]
    except ValueError:
        tokens = [-1]
    if not all(0 <= token < 1 << 63 for token in tokens):
        raise click.BadParameter(f"{text!r} is not a list of token numbers, e.g. \"1 42 7\"", param_hint="--prompt")
    return tokens


def json_text(data: dict[str, Any]) -> str:
    """A document that a command writes, with the number of its schema. A figure that is not known (nan) is null."""
    return json.dumps({"schema": SCHEMA, **_known(data)}, indent=2, allow_nan=False)


def _known(data: Any) -> Any:
    match data:
        case dict():
            return {key: _known(value) for key, value in data.items()}
        case list() | tuple():
            return [_known(value) for value in data]
        case float():
            return data if isfinite(data) else None
    return data


def say(text: str) -> None:
    """Print a message to stderr, without control characters."""
    from isa.text import printable
    click.echo(printable(text, keep=KEPT), err=True)


def to_stdout(lines: Iterable[str]) -> None:
    """Print lines; for a terminal without control characters."""
    from isa.text import printable
    terminal = sys.stdout.isatty()
    sys.stdout.writelines(f"{printable(line, keep=KEPT) if terminal else line}\n" for line in lines)


@contextmanager
def writer(path: Path) -> Iterator[Callable[[Iterable[str]], None]]:
    """A function that writes lines. The file is there when the block has ended, complete or not at all; "-" is stdout."""
    from isa.files import replacing
    if str(path) == "-":
        yield to_stdout
        return
    with replacing(path) as stream:
        yield lambda lines: stream.writelines(f"{line}\n".encode() for line in lines)


def abandon(stream: Any) -> None:
    """Let what is written to stdout or stderr vanish: it failed, and Python's last flush must not report that again."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


class Printer:
    """Prints lines to stdout, or nothing when stdout is for the JSON (`--json -`).

    When a JSON file is still to be written, an error of stdout is raised in `end`, after that file.
    """

    def __init__(self, json_file: Path | None) -> None:
        self._silent = str(json_file) == "-"
        self._file = json_file is not None
        self._error: OSError | None = None

    def __call__(self, line: str) -> None:
        if self._silent or self._error:
            return
        try:
            to_stdout([line])
            sys.stdout.flush()
        except OSError as error:
            if not self._file:
                raise
            self._error = error
            abandon(sys.stdout)

    def end(self) -> None:
        """To be called after the JSON file is written. Raises OSError."""
        if self._error:
            raise self._error


def write(path: Path, lines: Iterable[str]) -> None:
    with writer(path) as write:
        write(lines)


def write_json(path: Path | None, data: dict[str, Any]) -> None:
    """Write data to a file as JSON, if one is named; "-" is stdout."""
    if path is not None:
        write(path, [json_text(data)])


def say_notes(model: Any) -> None:
    """Print to stderr what in a checkpoint's files was not used as it is."""
    from isa.text import printable
    for note in model.notes:
        click.echo(printable(f"{model.path}: note: {note}"), err=True)


def progress(what: str) -> Any:
    """A function of (done, all) that shows progress: on a terminal a percentage; elsewhere one line, after PATIENT seconds."""
    if sys.stderr.isatty():
        return lambda done, whole: click.echo(
            "\r\x1b[K" + (f"{what} {100 * done // whole} %" if done < whole else ""), nl=False, err=True)
    start = time.monotonic()

    def say(done: int, whole: int) -> None:
        if done < whole and time.monotonic() - start > PATIENT:
            _say_once(what)
    return say


def waiting() -> None:
    """Say that another process compiles the same program."""
    click.echo("waiting for another process that compiles the same program ...", err=True)
