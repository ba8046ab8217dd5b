"""The command infer: images through an int8 network on the emulated machine. The work is done in compiler/networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from slimulator.commands import shared
from slimulator.commands.shared import ENGINE, FILE, NO_TIME, WHAT_IF, Printer, say


@click.command("infer", short_help="Classify images with an int8 network on the emulated machine.")
@click.argument("network", type=FILE)
@click.argument("inputs", type=FILE)
@click.option("--machine", metavar="M", default="stm32f746", show_default=True, help="Preset name or .toml file to compile for.")
@click.option("--dense", is_flag=True, help="Store and multiply all weights as dense ones, to see what zeros save.")
@ENGINE
@NO_TIME
@WHAT_IF
@click.option("--by", type=click.Choice(["operation"]), help="Also split counters, time and energy by operation.")
@click.option("--json", "json_file", type=FILE, metavar="F", help="Write the result as JSON; '-' means stdout.")
@click.option("--quiet", is_flag=True, help="Print only the classes.")
def infer(network: Path, inputs: Path, machine: str, dense: bool, engine: str, by: str | None, json_file: Path | None, quiet: bool,
          **clock: Any) -> int:
    """Print the class and the logits of each image. Memory, counters, time and energy of the machine go to stderr.

    NETWORK is a network.json, or its directory; the tensors are in model.npz beside it. Or a TFLite file, or a program that
    `slimulator compile` made of one of them. INPUTS is an .npz file with an array `images`, an .npy file, or a picture.
    """
    import time

    from compiler.networks.program import CompiledNetwork, compile_network
    from compiler.networks.reading import read_network
    from compiler.networks.running import Inference, read_images
    from compiler.networks.saved import SavedNetwork, load_saved
    from compiler.running.generate import is_program
    from emulator.observe.breakdown import Breakdown
    from emulator.observe.cost import Cost
    no_time, what_if = clock["no_time"], clock["what_if"]
    if no_time and what_if:
        raise click.UsageError("--no-time cannot be combined with --what-if, which needs the clock")
    shared.distinct([json_file], network, inputs)
    compiled: CompiledNetwork | SavedNetwork
    if is_program(network):
        if dense or click.get_current_context().get_parameter_source("machine") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{network} is a program: --machine and --dense are for what is compiled")
        compiled = load_saved(network)
        images = read_images(inputs, compiled)
    else:
        read = read_network(network)
        images = read_images(inputs, read)
        compiled = compile_network(read, machine, dense)
    run = Inference(compiled, images, shared.machine_maker(engine, 1, quiet, time=not no_time))
    clocks = shared.add_clocks(run.machine, what_if)
    breakdown = Breakdown(run.machine, by) if by else None
    started = time.perf_counter()
    result = run.run()
    seconds = time.perf_counter() - started
    if breakdown:
        breakdown.finish()
    cost, out = Cost.of(run.machine, clocks), Printer(json_file)
    for number, (answer, logits) in enumerate(zip(run.classes, run.logits, strict=True)):
        out(str(answer) if quiet else f"image {number}: class {answer}, logits {' '.join(map(str, logits))}")
    shared.write_json(json_file, {
        "network": str(network), "inputs": str(inputs), "machine": compiled.machine.name, "engine": engine, "dense": dense,
        "images": len(run.classes), "classes": run.classes, "logits": run.logits, "memory": compiled.as_json(),
        "reason": result.reason, "instructions": result.instructions, "seconds": seconds, "counters": run.machine.counters,
        **cost.as_json(), "by": {by: breakdown.as_json()} if breakdown else None})
    if not quiet:
        _summary(run, compiled, result, seconds, engine)
        for line in (*(() if no_time else cost.lines()), *(breakdown.table() if breakdown else ())):
            say(line)
    out.end()
    if result.reason not in ("exit", "interrupted"):
        say(f"{network}: error: the program ended early: {result.reason}" + (f"\n{result.trap}" if result.trap else ""))
    return 130 if result.reason == "interrupted" else int(result.reason != "exit")


def say_memory(compiled: Any) -> None:
    """What a network takes of flash and RAM, on stderr."""
    memory = compiled.as_json()
    flash, ram = compiled.machine.region("flash").size, compiled.machine.region("sram").size + memory["stack_bytes"]
    say(f"flash         {memory['flash_bytes']:,} of {flash:,} bytes: code {memory['program_bytes']:,}, constants "
        f"{memory['constant_bytes']:,}")
    say(f"ram           {memory['ram_bytes']:,} of {ram:,} bytes: values {memory['value_bytes']:,}, most at {memory['busiest']}; "
        f"stack {memory['stack_bytes']:,}")


def _summary(run: Any, compiled: Any, result: Any, seconds: float, engine: str) -> None:
    """What the images took, on stderr."""
    counters, images = run.machine.counters, max(len(run.classes), 1)
    say_memory(compiled)
    dense, sparse, skipped = (counters[name] // images for name in ("vec.macs", "sp.macs", "sp.macs_skipped"))
    say(f"products      {dense + sparse + skipped:,} an image; {sparse + skipped:,} of them with weights that have zeros, of which "
        f"{sparse:,} are done")
    say(f"this host     {seconds:.3f} s, {len(run.classes) / seconds:,.1f} images/s ({engine} engine); {result.instructions:,} "
        "instructions")
