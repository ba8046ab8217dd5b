"""The command bench: what the tokens of a model with random weights take, on this host and on the machine.

The host's figures are measured without a clock. The machine's come from a run of their own, the same on every host.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from slimulator.commands import shared
from slimulator.commands.shared import BY, DATAFLOW, FILE, KV_NEAR, NO_TIME, THREADS, WHAT_IF, Printer

_HOST = ("prompt_tokens_per_second", "tokens_per_second", "best_tokens_per_second", "tokens_per_cpu_second", "tokens",
         "seconds_to_first_token", "weight_bytes_per_second", "bandwidth", "share_of_bandwidth", "resident_bytes",
         "resident_beyond_weights", "units", "operations")
"""Figures of the host, which a program with fewer layers than its model says nothing of."""


@click.command("bench", short_help="Measure tokens per second, of this host and of the machine.")
@click.argument("names", nargs=-1)
@click.option("--shape", "shapes", multiple=True, metavar="S",
              help="Measure a model of this size with random weights: 15m, 125m, 730m or 3b; by default 125m.")
@click.option("--config", "configs", multiple=True, type=FILE, metavar="F",
              help="Measure the model that a Hugging Face config.json describes, with random weights.")
@click.option("--layers", type=click.IntRange(min=1), metavar="N",
              help="Execute only the first N layers, at least 3, and let the others take as much as these. By default all; of a "
                   "--config whose weights take more than 1 GiB 3, or 10 if matrices are in banks.")
@click.option("--weights", metavar="FMT|RECIPE.toml",
              help="Weight format of the linear layers, or a recipe; by default t2, for 15m i8.")
@click.option("--context", type=int, metavar="N", help="Compile for N positions; by default 1024.")
@click.option("--kv", type=click.Choice(["f32", "f16", "i8"]), default="f32", show_default=True, help="Format of keys and values.")
@click.option("--kv-select", metavar="METHOD", help="What of keys and values each token looks at: starc:1024, think:0.4.")
@click.option("--kv-select-from", type=click.IntRange(min=0), metavar="LAYER",
              help="With --kv-select starc: layers below this one look at all positions; by default 2.")
@KV_NEAR
@click.option("--prune-tokens", metavar="L:BUDGET,...",
              help="Leave out tokens of the prompt: before layer L at most BUDGET tokens go on. All layers are executed.")
@click.option("--pack", type=click.Choice(["auto", "4", "8"]),
              help="Store integer matrices as packed chunks of 4 or 8 weights, or of the length that takes fewer bytes.")
@click.option("--chunk", type=click.IntRange(min=1), metavar="N",
              help="Tokens of a prompt that go through a layer together; by default as many as there is room for, at most 64.")
@DATAFLOW
@click.option("--ffn-sparsity", "sparsity", type=click.FloatRange(0, 0.95), metavar="S",
              help="Skip this share of the feed-forward neurons.")
@click.option("--predict", is_flag=True, help="With --ffn-sparsity: predict these neurons, by random weights in int8.")
@click.option("--project", metavar="monarch:B", help="Replace random matrices by the nearest block-diagonal ones, blocks of B x B.")
@click.option("--prune", metavar="METHOD", help="Prune the random weights: magnitude:0.5, magnitude:2:4.")
@click.option("--machine", metavar="M", default="slim", show_default=True, help="Preset name or .toml file to compile for.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=4.0, show_default=True, metavar="S",
              help="How long to measure the host.")
@click.option("--prompt", type=click.IntRange(min=1), metavar="N",
              help="Measure a prompt of N tokens too; by default as many as --depth, or 1 that is not measured on the host.")
@click.option("--depth", type=click.IntRange(min=1), metavar="D",
              help="Positions before the tokens whose decoding is measured; by default those of the prompt.")
@click.option("--tokens", type=click.IntRange(min=1), metavar="N",
              help="For the machine's time: tokens to generate; by default 128, or as many as fit the context.")
@THREADS
@NO_TIME
@WHAT_IF
@BY
@click.option("--json", "json_file", type=FILE, metavar="F", help="Write the result as JSON; '-' means stdout.")
def bench(names: tuple[str, ...], shapes: tuple[str, ...], configs: tuple[Path, ...], threads: int, json_file: Path | None,
          **said: Any) -> int:
    """Measure prompts and greedy decoding with all counters.

    Of this host: seconds to compile and to the first token, tokens/s, memory, time by operation. Of the machine: time to the first
    token, tokens/s, energy and bottleneck of a short run, which is the same on every host.

    NAMES are benchmarks of a checkout (python -m benchmarks). Without --shape, --config and NAMES, the 125m shape is measured.
    """
    from isa.preset import load_preset
    from isa.timing.what_if import what_if
    if said["no_time"] and said["what_if"]:
        raise click.UsageError("--no-time cannot be combined with --what-if, which needs the clock")
    shared.distinct([json_file], *configs)
    preset, say = load_preset(said["machine"]), Printer(json_file)
    for text in said["what_if"]:
        what_if(preset, text)                           # a mistake in it is said before anything is measured
    status = _benchmarks(names) if names else 0
    subjects: list[tuple[str, Path | None]] = [*((name, None) for name in shapes), *((str(file), file) for file in configs)]
    figures = {name: _measure(say, name, config, preset, threads, **said)
               for name, config in subjects or ([] if names else [("125m", None)])}
    shared.write_json(json_file, {"shapes": figures})
    say.end()
    return status


def _measure(say: Printer, name: str, config: Path | None, preset: Any, threads: int, **said: Any) -> dict[str, Any]:
    """Compile, measure and print one model. Returns its figures as JSON has them."""
    from compiler.measuring.measure import measure
    from compiler.measuring.on_machine import Stretch, take
    from compiler.measuring.shapes import compile_random
    from compiler.settings import Settings
    from emulator.observe.breakdown import DECODE, PREFILL
    from emulator.observe.cost import quantity
    from isa.program import Program
    from isa.text import counted
    settings = Settings(**{key: said[key] for key in (
        "machine", "weights", "context", "kv", "chunk", "sparsity", "project", "prune", "kv_select", "kv_select_from",
        "kv_near", "prune_tokens", "pack", "dataflow")},
        predictor="i8" if said["predict"] else None)
    made = compile_random(name, settings, config=config, layers=said["layers"], progress=shared.progress(f"compiling {name}"),
                          waiting=shared.waiting, opened=shared.say_notes)
    part = made.executed < made.layers
    if part and said["by"] == "layer":
        raise click.UsageError(f"{name}: --by layer needs all layers to be executed: --layers {made.layers}")
    program, make = Program.load(made.path), partial(shared.machine_maker, "fast", threads)
    prompt = said["prompt"] or said["depth"] or 1
    depth = said["depth"] or prompt
    stretch = Stretch(preset, depth, said["tokens"], made.layers, partial(shared.add_clocks, what_if=said["what_if"]), said["by"],
                      "--depth" if said["depth"] else "--prompt").within(program)
    alone = Stretch(preset, prompt, 1, made.layers).within(program)                 # the prompt, where decode is at another depth
    # the host comes first, so that nothing of the other run is in memory
    host = dict.fromkeys(_HOST) if part else measure(
        program, make(), said["seconds"], threads, preset, prompt=prompt if said["prompt"] or said["depth"] else None, depth=depth)
    timed = make(time=not said["no_time"])
    taken = take(program, timed, stretch)
    of_prompt = taken if prompt == depth else take(program, timed, alone)
    prefill, decode = of_prompt.phase(PREFILL), taken.phase(DECODE)
    behind = decode if decode["positions"] else prefill
    figures = {
        "weights": program.meta["model"]["weights"], "kv": said["kv"], "machine": said["machine"], "threads": threads,
        "layers": made.layers, "layers_executed": made.executed, "compile_seconds": made.seconds,
        **{key: said[key] for key in ("dataflow", "sparsity", "project", "prune", "kv_select", "kv_select_from", "kv_near",
                                      "prune_tokens", "pack") if said[key] is not None},
        **({"predictor": "i8"} if said["predict"] else {}),
        "weight_bytes": made.weight_bytes, "bank_bytes": made.bank_bytes, "cache_bytes": made.cache_bytes,
        "instructions_per_token": behind["counters"]["core.instructions"] // behind["positions"],
        "prompt_tokens": prompt, "depth": depth, **host, **taken.as_json(), "phases": {PREFILL: prefill, DECODE: decode}}
    (_part_of_host if part else _host_table)(say, name, figures)
    if not said["no_time"]:
        tokens = f"a prompt of {taken.prompt}, then {counted(len(taken.tokens), 'token')}"
        rest = f"; the {made.layers - made.executed} layers that are not executed take as much as those that are" * part
        for line in (f"{name} on the machine, {tokens}: the same on every host{rest}", *taken.cost.lines()):
            say(line)
        if prompt > 1 and (time := prefill["time"]):
            joules = f"; {quantity(prefill['energy']['joules'], 'J')}" if prefill["energy"] else ""
            rate = f"{quantity(time['seconds'], 's')}, {time['tokens_per_second']:,.1f} tokens/s"
            say(f"a prompt of {prompt} on {preset.name}: {rate}{joules}")
    for line in taken.breakdown.table() if taken.breakdown else ():
        say(line)
    return figures


def _benchmarks(names: tuple[str, ...]) -> int:
    """Run benchmarks of a checkout of the project. Returns the exit status."""
    from isa.hints import nearest
    from isa.shipped import ROOT
    if not (ROOT / "benchmarks").is_dir():
        raise click.UsageError(f"benchmarks by name ({', '.join(names)}) need a checkout of the project; --shape works without")
    known = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))
    for name in names:
        if name not in known:
            hint = nearest(name, known) or "to measure a model of some size, use --shape 125m"
            raise click.UsageError(f"no benchmark {name!r}; expected one of {', '.join(known)}\nhint: {hint}")
    return subprocess.run([sys.executable, "-m", "benchmarks", *names], cwd=ROOT).returncode


def _title(name: str, f: dict[str, Any]) -> str:
    said = "".join(f", {key.replace('_', ' ')} {f[key]}" for key in ("kv_select", "kv_near", "prune_tokens") if key in f)
    return (f"{name} {f['weights']}{'' if f['kv'] == 'f32' else ', kv ' + f['kv']}{said}"
            f"{'' if f['machine'] == 'slim' else ' on ' + f['machine']}")


def _weights(f: dict[str, Any]) -> str:
    return f"  weights {f['weight_bytes'] / 1e6:,.1f} MB{' (with the padding of the banks)' if f['bank_bytes'] else ''}"


def _compiling(f: dict[str, Any]) -> str:
    return f"  compiling {'not needed (kept)' if f['compile_seconds'] is None else format(f['compile_seconds'], '.1f') + ' s'}"


def _part_of_host(say: Printer, name: str, f: dict[str, Any]) -> None:
    say(f"{_title(name, f)}: {f['layers_executed']} of {f['layers']} layers executed")
    say(f"{_weights(f)} in all layers; keys and values take up to {f['cache_bytes'] / 1e6:,.0f} MB")
    say(f"{_compiling(f)}, {f['instructions_per_token']:,} instructions per token")
    say(f"  this host: not measured, that needs all layers (--layers {f['layers']})")


def _host_table(say: Printer, name: str, f: dict[str, Any]) -> None:
    from compiler.measuring.measure import STRETCH
    from isa.text import counted
    threads = counted(f["threads"], "thread")
    behind = f" behind {f['depth']:,} positions" * (f["depth"] > 1)
    if f["tokens"]:
        say(f"{_title(name, f)}, {threads}: {f['tokens_per_second']:,.1f} tokens/s on this host over {STRETCH} tokens at a time"
            f"{behind} (best tenth {f['best_tokens_per_second']:,.1f}; per second of CPU time {f['tokens_per_cpu_second']:,.1f})")
        say(f"{_weights(f)} at {f['weight_bytes_per_second'] / 1e9:.1f} GB/s, "
            f"{100 * f['share_of_bandwidth']:.0f} % of the {f['bandwidth'] / 1e9:.1f} GB/s that NumPy reads with {threads}")
    else:
        say(f"{_title(name, f)}, {threads}: too few tokens for a rate on this host{behind}: more need a larger --context")
        say(_weights(f))
    say(f"{_compiling(f)}, first token after {f['seconds_to_first_token']:.2f} s, "
        f"{f['instructions_per_token']:,} instructions per token")
    say(f"  {f['resident_bytes'] / 1e6:,.0f} MB resident memory: the weights and {f['resident_beyond_weights'] / 1e6:,.0f} MB; "
        f"keys and values take up to {f['cache_bytes'] / 1e6:,.0f} MB of it")
    if left := f.get("neurons"):
        share = left["skipped"] / max(1, left["active"] + left["skipped"])
        predicted = ", predicted" * ("predictor" in f)
        say(f"  ffn sparsity {f['sparsity']:g}{predicted}: {100 * share:.1f} % of the neurons skipped, "
            f"{left['bytes_left'] / 1e6:,.1f} MB of weights not fetched, {left['bytes_fetched'] / 1e6:,.1f} MB fetched")
    if f["prompt_tokens_per_second"]:
        say(f"  a prompt of {counted(f['prompt_tokens'], 'token')}: {f['prompt_tokens_per_second']:,.1f} tokens/s")
    if not f["units"]:
        return
    say("  time by unit  " + ", ".join(f"{unit} {100 * share:.1f} %" for unit, share in f["units"].items()))
    say(f"  {'share':>7}  {'each time':>12}  {'per token':>9}  operation, by its label in the program")
    for operation, cost in list(f["operations"].items())[:8]:
        say(f"  {100 * cost['share']:5.1f} %  {cost['microseconds']:9,.1f} us  x {cost['per_token']:7g}  {operation}")
