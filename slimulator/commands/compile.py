"""compile: a checkpoint to a program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from slimulator.commands.shared import BINARY, FILE, TOKENIZER, compiler_options, progress, say, say_notes


@click.command("compile", short_help="Compile a model's checkpoint to a program.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=BINARY, metavar="FILE.elf",
              help="The program file; by default MODEL.elf in the current folder.")
@compiler_options
@click.option("--sequences", type=int, metavar="N",
              help="A program for up to N texts side by side, 2 to 64, as generate --batch runs it; by default one text. Weights "
                   "are read once for a token of each.")
@TOKENIZER
@click.option("-S", "source", is_flag=True,
              help="Write assembly instead: FILE.s, and the files FILE.weights and FILE.meta that it includes.")
def compile_program(model: Path, output: Path | None, settings: Any, sequences: int | None, tokenizer: Path | None,
                    source: bool) -> None:
    """Compile MODEL to a program that generates text.

    MODEL is a Hugging Face directory, a .gguf file or a llama2.c .bin. The program contains the whole token loop, the weights and
    the tokenizer. Its memory map is printed on stderr. Or MODEL is an int8 network, a network.json or a TFLite file: then infer
    runs the program.
    """
    from compiler.networks.reading import is_network
    from isa.files import check_directory
    output = output or Path(f"{model.resolve().stem if model.is_file() else model.resolve().name}.{'s' if source else 'elf'}")
    check_directory(output)
    if source and output.suffix in ("", ".elf", ".weights", ".banks", ".meta"):
        raise click.UsageError(f"-S writes assembly: expected a name like {output.with_suffix('.s')}, got {output}")
    if model.exists() and output.exists() and model.samefile(output):
        raise click.UsageError(f"{output} is the model: it would be overwritten")
    if is_network(model):
        if source or sequences or tokenizer or any(option != "--machine" for option in settings.given):
            raise click.UsageError(f"{model} is an int8 network: of the options -o and --machine are for it")
        _compile_network(model, output, settings.machine)
        return
    opened = settings.load(model, tokenizer)
    say_notes(opened)
    compiled = replace(settings, sequences=sequences).check().compile(opened, progress("calibrating"))
    (compiled.save_source if source else compiled.save)(output, progress("writing weights"))
    say(f"{output}: {compiled.model.config.architecture} for machine {compiled.machine.name}")
    say(compiled.summary())


def _compile_network(path: Path, output: Path, machine: str | None) -> None:
    """compile for an int8 network."""
    from compiler.networks.program import MACHINE, compile_network
    from compiler.networks.reading import TENSORS, read_network
    from compiler.networks.saved import save
    from slimulator.commands import shared
    from slimulator.commands.infer import say_memory
    network = read_network(path)
    shared.distinct([output], network.path, network.path.with_name(TENSORS))
    compiled = compile_network(network, machine or MACHINE)
    save(compiled, output)
    say(f"{output}: a network for machine {compiled.machine.name}")
    say_memory(compiled)
