"""The commands about models: generate, verify. Their options and their output; the work is done in compiler/.

The command compile is in compile.py, eval in evaluate.py, bench in bench.py.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from slimulator.commands import shared
from slimulator.commands.shared import BY, ENGINE, FILE, NO_TIME, THREADS, TOKENIZER, WHAT_IF, Printer, compiler_options, say

_json = click.option("--json", "json_file", type=FILE, metavar="F", help="Write the result as JSON; '-' means stdout.")


@click.command("generate", short_help="Generate text on the emulated machine.")
@click.argument("model", required=False)
@click.argument("prompt", required=False)
@click.option("--batch", type=FILE, metavar="FILE",
              help="Generate a text for each line of FILE, a prompt, instead of PROMPT. All run side by side: weights are read "
                   "once for a token of each. At most 64.")
@click.option("-n", "--tokens", "max_tokens", type=int, metavar="N",
              help="Generate at most N tokens; by default 256, or as many as fit the context.")
@click.option("--temperature", type=float, default=0.0, show_default=True, metavar="T",
              help="0: always the most likely token; otherwise 0.001 to 1000.")
@click.option("--top-p", type=float, default=1.0, show_default=True, metavar="P",
              help="Draw from the fewest most likely tokens whose probabilities add up to P.")
@click.option("--seed", type=int, default=1, show_default=True, metavar="S", help="Seed of the random numbers.")
@partial(compiler_options, programs=True)
@TOKENIZER
@THREADS
@ENGINE
@NO_TIME
@WHAT_IF
@BY
@shared.REPORT
@_json
@click.option("--quiet", is_flag=True, help="Print only the text.")
def generate(model: str | None, prompt: str | None, batch: Path | None, settings: Any, tokenizer: Path | None, threads: int,
             engine: str, json_file: Path | None, quiet: bool, **said: Any) -> int:
    """Generate text from a prompt, or with --batch from several. The text goes to stdout; counters, time and energy of the machine
    go to stderr.

    MODEL is a Hugging Face directory, a GGUF file, a llama2.c .bin or a compiled program. A single argument is the PROMPT, for the
    shipped demo model. A checkpoint is compiled once and kept in ~/.cache/slimulator/programs.
    """
    from compiler.running.generate import Generation, Sampling, find_program, is_program, open_program
    from emulator.observe.breakdown import Breakdown
    from emulator.observe.cost import Cost
    from isa.shipped import DEMO
    from isa.text import counted
    from slimulator.report.watched import Watched
    model, prompts = (model, _lines(batch, prompt)) if batch else _model_and_prompt(model, prompt)
    no_time, what_if, by, report_file = (said.pop(name) for name in ("no_time", "what_if", "by", "report"))
    sampling = Sampling(**said, sparsity=None if settings.calibrate or settings.sparsity == "exact" else settings.sparsity).check()
    if no_time and (what_if or report_file):
        raise click.UsageError("--no-time cannot be combined with --what-if or --report, which need the clock")
    shared.distinct([json_file, report_file], Path(model) if model else None, tokenizer, batch)
    make = shared.machine_maker(engine, threads, quiet, time=not no_time)
    if batch and not (model and is_program(Path(model))):
        settings = replace(settings, sequences=max(2, len(prompts)))
    path = find_program(Path(model) if model is not None else None, settings, tokenizer=tokenizer,
                        **{} if quiet else {"progress": shared.progress("compiling the model"), "opened": shared.say_notes,
                                            "waiting": shared.waiting})
    notes: list[str] = []
    program, words = open_program(path, tokenizer, Path(model) if model is not None else DEMO, notes)
    if path.samefile(model or DEMO) and not quiet:          # of a checkpoint they were said when it was compiled
        for note in notes:
            say(f"{tokenizer}: note: {note}")
    preset = shared.preset_for(program, settings.machine)
    generation = Generation(program, words, prompts, sampling, make, preset)
    clocks = shared.add_clocks(generation.machine, what_if)
    breakdown = Breakdown(generation.machine, by) if by else None
    watched = click.get_current_context().with_resource(Watched(generation.machine, report_file)) if report_file else None
    text = _Text(generation, str(json_file) == "-")
    report = generation.run(text, _told(generation) if batch and not quiet else lambda _tokens: None)
    if breakdown:
        breakdown.finish()
    if batch:
        text("\n\n".join(each.text for each in report.texts))
    text("\n")
    cost = Cost.of(generation.machine, clocks)
    shared.write_json(json_file, {"model": model, "program": str(path), "machine": preset.name, "engine": engine,
                                  "threads": threads, **report.as_json(), **cost.as_json(),
                                  "by": {by: breakdown.as_json()} if breakdown else None})
    if watched:
        watched.write(f"{preset.name} generates text", f"{report.weights}; {counted(report.count, 'token')} after a prompt of "
                      f"{len(report.prompt)}", cost, "\n\n".join(each.text for each in report.texts))
    failed = report.result.reason not in ("exit", "interrupted") or bool(report.result.exit_code)
    if not quiet:
        _summary(report, preset.name, engine, threads)
        for line in (*(() if no_time else cost.lines()), *(breakdown.table() if breakdown else ())):
            say(line)
    if text.error:
        raise text.error
    if failed:
        say(f"{path}: error: {report.ended}")
    return 130 if report.result.reason == "interrupted" else int(failed)


def _model_and_prompt(model: str | None, prompt: str | None) -> tuple[str | None, str]:
    """The two arguments of generate; a single one is a prompt. Raises UsageError, ModelError for one that looks like a model."""
    from compiler.errors import ModelError
    from isa.shipped import DEMO
    if prompt is None:
        model, prompt = None, model
    if prompt is None or (model is None and prompt and _is_there(prompt)):
        raise click.UsageError("Missing argument 'PROMPT'" + (f": {prompt} was taken as the MODEL." if prompt else "."))
    if model is None and re.search(r"\.(bin|gguf|elf|safetensors)$|^\S+/\S*$", prompt):
        raise ModelError(prompt, "", got=os.strerror(errno.ENOENT), expected="a model",
                         hint=f"if this is the prompt, name the model too: slimulator generate {DEMO} {shlex.quote(prompt)}")
    return model, prompt


def _lines(batch: Path, prompt: str | None) -> list[str]:
    """The prompts of a batch: the lines of a file. Raises UsageError, ModelError, OSError."""
    from compiler.compile import MOST_SEQUENCES
    from compiler.errors import ModelError
    from compiler.settings import read_text
    if prompt is not None:
        raise click.UsageError("PROMPT cannot be combined with --batch, which has the prompts")
    text = read_text(batch)
    if not text:
        raise ModelError(batch, "", got="an empty file", expected="a prompt a line")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")      # splitlines would also cut at rarer characters
    if len(lines) > MOST_SEQUENCES:
        raise ModelError(batch, "", got=f"{len(lines)} prompts", expected=f"at most {MOST_SEQUENCES}, which run side by side")
    return lines


def _told(generation: Any) -> Any:
    """Progress of a batch, as `run` takes it: of the tokens that may come."""
    show, most = shared.progress("generating"), sum(generation.limits)
    return lambda tokens: show(tokens, most)


def _is_there(name: str) -> bool:
    """Whether there is a file of this name. A text that no file can have as its name, such as a very long one, names none."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


class _Text:
    """Prints text at once. A terminal gets control characters as escapes: a model may have learnt some that change the terminal.

    When stdout cannot be written any more, the run stops at that token.
    """

    def __init__(self, generation: Any, silent: bool) -> None:
        self._machine, self._silent = generation.machine, silent
        self._terminal = sys.stdout.isatty()
        self.error: OSError | None = None

    def __call__(self, text: str) -> None:
        from emulator.observe.report import UNWRITABLE
        from isa.text import printable
        if self._silent:
            return
        if not self.error:
            try:
                sys.stdout.write(printable(text, keep="\n\t") if self._terminal else text)
                sys.stdout.flush()
            except OSError as error:
                self.error = error
                shared.abandon(sys.stdout)
        if self.error:
            self._machine.stop(UNWRITABLE)


def _summary(report: Any, machine: str, engine: str, threads: int) -> None:
    """What a generation took, on stderr: exact events, and this host's time."""
    from emulator.observe.breakdown import PREFILL
    from isa.counters import COUNTERS

    def events(*prefixes: str) -> list[str]:
        return [f"{name.partition('.')[2].replace('_', ' ')} {count:,}" for name, count in report.counters.items()
                if count and name.startswith(prefixes)]

    count, result = report.count, report.result
    for number, text in enumerate(report.texts, 1):
        say(("" if number > 1 else "\n") + f"{f'{number}: ' if report.batch else ''}{len(text.tokens)} "
            f"token{'s' * (len(text.tokens) != 1)} after a prompt of {len(text.prompt)}: {text.ended}")
    speed = f", {report.tokens_per_second:,.1f} tokens/s after the first" if count > 1 else ""
    say(f"  this host     {report.seconds:.3f} s{speed} ({engine} engine, {threads} thread{'s' * (threads > 1)})")
    say(f"  machine       {machine}: {result.instructions:,} instructions"
        + (f", {result.instructions / report.positions:,.0f} per position" if count else ""))
    say(f"  weights       {report.weights}")
    for unit in dict.fromkeys(name.partition(".")[0] for name in COUNTERS):
        if unit not in ("core", "tokens") and (found := events(f"{unit}.")):
            say(f"  {unit:<13} {', '.join(found)}")
    if report.neurons:
        say(f"  neurons       {report.neurons}")
    for number, text in enumerate(report.texts, 1):
        if text.alive:
            say(f"  tokens alive  {f'{number}: ' if report.batch else ''}{text.alive}")
    if report.alive:
        say(f"  first token   {report.phases[PREFILL].macs:,} multiply-accumulates")
    if report.moved:
        say(f"  keys, values  {report.moved}")


# ------------------------------------------------------------------------------------------------ verify


@click.command("verify", short_help="Check a model's program, stage by stage.")
@click.argument("model", type=FILE)
@partial(compiler_options, programs=True)
@click.option("--program", "program_file", type=FILE, metavar="FILE.elf",
              help="Check this program; by default the one that the compiler makes of MODEL now.")
@click.option("--tokens", "count", type=click.IntRange(min=2), metavar="N",
              help="Compare over N tokens; by default 16, or the context if that is shorter.")
@click.option("--prompt", default="Once upon a time", show_default=True, metavar="TEXT",
              help="The text at the start of the compared tokens; the float graph continues it.")
@TOKENIZER
@click.option("--dump", type=FILE, metavar="DIR", help="Write every value as .npy, named by token, layer and operation.")
@THREADS
@ENGINE
@_json
def verify(model: Path, settings: Any, dump: Path | None, threads: int, engine: str, json_file: Path | None, **subject: Any) -> int:
    """Compare each stage with the previous one, from transformers' logits to the program's bits, and print a table.

    The status is 1 if a check fails. MODEL is a checkpoint. It may also be a compiled program; then only the two engines are
    compared. Or a network.json, its directory or a TFLite file: then each operation is compared with NumPy, on images of random
    bytes. --engine chooses the engine that is compared with the graph, operation by operation. The fast and the reference engine
    are always compared with each other.
    """
    from compiler.checking import verify_chain as chain
    from compiler.networks.reading import is_network
    from compiler.running.generate import is_program
    if is_network(model):
        return _verify_network(model, settings, dump, threads, engine, json_file, subject)
    if is_program(model) and (subject["program_file"] or dump or settings.given):
        raise click.UsageError(f"{model} is a program: --program, --dump and compiler options need the checkpoint")
    shared.distinct([json_file], model, subject["program_file"], subject["tokenizer"])
    checks, say = [], Printer(json_file)
    make, fast = shared.machine_maker(engine, threads), shared.machine_maker("fast", threads)
    for check in chain.checks(chain.Subject(model, settings, **subject), dump=dump, make=make, fast=fast,
                              progress=shared.progress("checking"), opened=shared.say_notes):
        checks.append(check)
        _say_check(say, check)
    return _checked(checks, json_file, say)


def _say_check(say: Printer, check: Any) -> None:
    first, *more = check.text.splitlines()
    say(f"{check.verdict:<12} {check.name:<30} {first}")
    for line in more:
        say(f"{'':<44}{line}")


def _checked(checks: list[Any], json_file: Path | None, say: Printer) -> int:
    """Write the checks as JSON. The exit status."""
    shared.write_json(json_file, {"checks": [
        {"check": check.name, "verdict": check.verdict, "text": check.text, **check.figures} for check in checks]})
    say.end()
    return int(any(check.verdict == "FAIL" for check in checks))


def _verify_network(path: Path, settings: Any, dump: Path | None, threads: int, engine: str, json_file: Path | None,
                    subject: dict[str, Any]) -> int:
    """verify for an int8 network: on two images of random bytes."""
    import numpy as np

    from compiler.networks.checking import checks as checks_of
    from compiler.networks.program import MACHINE, compile_network
    from compiler.networks.reading import read_network
    if subject["program_file"] or subject["tokenizer"] or dump or any(option != "--machine" for option in settings.given):
        raise click.UsageError(f"{path} is an int8 network: of the options --machine, --engine and --json are for it")
    shared.distinct([json_file], path)
    network = read_network(path)
    compiled = compile_network(network, settings.machine or MACHINE)
    images = np.random.default_rng(1).integers(-128, 128, (2, int(np.prod(network.image)))).astype(np.int8)
    say, checks = Printer(json_file), []
    makers = [shared.machine_maker(name, threads if name == "fast" else 1) for name in (engine, "fast", "reference")]
    for check in checks_of(compiled, images, *makers):
        checks.append(check)
        _say_check(say, check)
    return _checked(checks, json_file, say)


COMMANDS = [generate, verify]
