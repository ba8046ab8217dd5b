"""compile: a checkpoint to a program."""

from __future__ import annotations

from pathlib import Path

import click

from commands.shared import FILE, progress


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


@click.command("compile", short_help="Compile a model's checkpoint to a program.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE.elf", help="The program file; by default MODEL.elf here.")
@click.option("--machine", metavar="M", default="slim", show_default=True, help="Preset name or .toml file to compile for.")
@click.option("--weights", metavar="FMT|RECIPE.toml",
              help="Format of the layers' matrices: f32 f16 bf16 i8 i4 i3 i2 t2 t5 b1, of integers with the columns that share a "
                   "scale (i4:32, t2:row); or a recipe that names matrices. By default as the checkpoint has them.")
@click.option("--context", type=click.IntRange(min=1), metavar="N", help="Most positions; by default the model's, at most 2048.")
@click.option("--tokenizer", type=FILE, metavar="F", help="Tokenizer file; by default the one beside the model.")
@click.option("--ffn-sparsity", metavar="exact|S", callback=_sparsity,
              help="exact: read only rows of neurons that are not zero, in models with relu or relu2. A number, 0.5: leave this "
                   "share alone, by thresholds from the text of --calibrate; the result changes.")
@click.option("--calibrate", type=FILE, metavar="TEXT", help="A text in UTF-8 to find thresholds on.")
@click.option("-S", "source", is_flag=True, help="Write assembly instead, FILE.s, and FILE.weights beside it.")
def compile_program(model: Path, output: Path | None, machine: str, weights: str | None, context: int | None,
                    tokenizer: Path | None, ffn_sparsity: float | str | None, calibrate: Path | None,
                    source: bool) -> None:
    """Compile MODEL to a program that generates text.

    MODEL is a Hugging Face directory, a .gguf file or a llama2.c .bin. The program holds the whole loop over tokens, the
    weights and the tokenizer. Its memory map goes to stderr.
    """
    from compiler.compile import compile_model
    from compiler.frontends import load, need_tokenizer
    from compiler.recipe import read_recipe
    output = output or Path(f"{model.resolve().stem if model.is_file() else model.resolve().name}.{'s' if source else 'elf'}")
    if source and output.suffix in ("", ".weights"):
        raise click.UsageError(f"-S writes assembly and its weights; expected a name like {output.with_suffix('.s')}, got {output}")
    if model.exists() and output.exists() and model.samefile(output):
        raise click.UsageError(f"{output} is the model: it would be overwritten")
    recipe = read_recipe(weights) if weights else None
    if isinstance(ffn_sparsity, float) != (calibrate is not None):
        raise click.UsageError("--ffn-sparsity with a number needs --calibrate TEXT, and --calibrate needs such a number")
    loaded = load(model, tokenizer)
    text = calibrate.read_text(encoding="utf-8", errors="replace")[:50_000] if calibrate else ""
    tokens = need_tokenizer(loaded).encode(text) if calibrate else ()
    compiled = compile_model(loaded, machine=machine, recipe=recipe, context=context, sparse=ffn_sparsity is not None,
                             sparsity=ffn_sparsity if isinstance(ffn_sparsity, float) else None, calibration=tokens,
                             progress=progress("calibrating"))
    (compiled.save_source if source else compiled.save)(output, progress("writing weights"))
    click.echo(f"{output}: {compiled.model.config.architecture} for machine {compiled.machine.name}", err=True)
    click.echo(compiled.summary(), err=True)
