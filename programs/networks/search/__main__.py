"""Find a network for a microcontroller, train it, and write it in the format of docs/tinyformer.md.

    python -m programs.networks.search programs/networks/digits/recipe.json --out out/search

The run is a function of its recipe alone (recipe.py; on one kind of processor with one version of torch). Stopped at any time, the
same command goes on. In the end OUT has network/ (network.json, model.npz), figures.json and pareto.svg. docs/search.md tells more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

from isa.files import replacing
from programs.networks.search.recipe import RecipeError, as_json, read_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description="Find, train and export a small int8 network.")
    parser.add_argument("recipe", type=Path, help="JSON, see recipe.py; {} takes all defaults")
    parser.add_argument("--out", type=Path, default=Path("out/search"), help="folder of the run (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        run(arguments.recipe, arguments.out)
    except RecipeError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")


def run(path: Path, out: Path) -> None:
    """Raises RecipeError, OSError."""
    recipe = read_recipe(path)
    try:
        import torch
    except ImportError:
        raise RecipeError("search", "without the package torch", "pip install 'slimulator[train]'") from None
    from programs.networks.search.costs import check_machine
    from programs.networks.search.images import load
    from programs.networks.search.picture import pareto
    from programs.networks.search.stages import KINDS, Run
    torch.set_num_threads(1)
    check_machine(recipe)
    images = load(recipe)
    _same_recipe(out / "recipe.json", as_json(recipe))
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {text}", flush=True)

    figures = Run(recipe, out, images, say).all()
    chosen = f"{KINDS[0] if recipe.longer == 1 else 'longer'}-{figures['chosen']}"
    shutil.copytree(out / chosen, out / "network", dirs_exist_ok=True)
    for name, text in (("figures.json", json.dumps(figures, indent=1) + "\n"), ("pareto.svg", pareto(figures))):
        with replacing(out / name) as stream:
            stream.write(text.encode())
    for kind, one in figures["compared"].items():
        more = f"; search has {one['search_has_more']:+.2%} (standard error {one['error']:.2%})" if "error" in one else ""
        say(f"{kind}: {one['accuracy_held_out']:.2%} of held-out images right, mean of {one['networks']}{more}")
    say(f"{out / 'network'}: {chosen}")


def _same_recipe(path: Path, recipe: dict[str, object]) -> None:
    """Keep a recipe beside what is made by it. Raises RecipeError where another one has begun."""
    if path.exists():
        try:
            kept = json.loads(path.read_text("utf-8"))
        except ValueError:
            kept = None
        if kept != recipe:
            raise RecipeError(str(path), "another recipe", "the one that this folder was begun with, or another --out")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write((json.dumps(recipe, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
