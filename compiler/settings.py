"""How a checkpoint is compiled: the options of a command as one value, for the compiler and for the cache.

    compiled = Settings(weights="t2", kv="i8").compile(load(path))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from compiler.compile import Calibrated, check_sequences, compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError, one_of
from compiler.formats.layouts import check_layout
from compiler.formats.recipe import Recipe, read_recipe
from compiler.frontends import load, need_tokenizer
from compiler.frontends.adapter import with_adapter
from compiler.model.model import Model
from compiler.passes.calibrate import LEVELS
from compiler.passes.pack import parse_pack
from compiler.passes.project import parse_project, project
from compiler.passes.prune import parse_prune, prune
from compiler.passes.prune_tokens import parse_prune_tokens
from compiler.passes.reuse import check_columns
from compiler.passes.select import Caches, parse_select
from compiler.placing.near_caches import parse_near
from compiler.placing.objects import IN_PAGE, POWER
from isa.files import text_of
from isa.preset import Preset

MOST_TEXT = 50_000              # characters of a text for calibration that are read


@dataclass(frozen=True)
class Settings:
    """Options of the compiler. An option that was not given is None, or has its first value.

    machine    a preset's name, a .toml file or a Preset; None: slim
    weights    a format or a .toml recipe; None: as the checkpoint has them
    sparse     the sparse layout of the matrices of layers, "auto" or "off"; None: auto, or what a recipe says
    chunk      tokens of a prompt that go through a layer together; None: as many as there is room for
    sequences  how many run side by side; None: one
    activations  of integer weights: i8 (as None), i8x4, i16x4 or f32
    sparsity   "exact", or the share of neurons to leave alone by thresholds from the text `calibrate`
    predictor  the format of a predictor of these neurons; None: there is none
    in_page    how many of them share a page, one of placing/objects.py; None: a power of two
    adapter    a LoRA adapter that is merged into the checkpoint
    project    what the matrices of layers become, as passes/project.py reads it
    reuse      columns of a piece, where binary and ternary matrices of layers become centres and differences; None: they do not
    kv_select_from  the first layer that chooses; None: as the method has it
    kv_select  what of keys and values each token looks at, as passes/select.py reads it; None: all
    pack       how many weights are in a chunk of matrices that are packed, passes/pack.py reads it; None: none are
    dataflow   the order in which a chunk goes through attention, one of passes/dataflow.py; None: token by token
    prune_tokens  where tokens of a prompt are left out, as passes/prune_tokens.py reads it
    kv_near    bytes of the scratchpad for keys and values, as placing/near_caches.py reads it; None: none are set apart
    prune      how layers are pruned, as passes/prune.py reads it; on the text `calibrate` unless it is by magnitude
    """

    machine: Preset | str | None = None
    weights: str | None = None
    context: int | None = None
    kv: str = "f32"
    sparse: str | None = None
    chunk: int | None = None
    sequences: int | None = None
    activations: str | None = None
    sparsity: float | str | None = None
    calibrate: Path | None = None
    predictor: str | None = None
    in_page: str | None = None
    prune: str | None = None
    adapter: Path | None = None
    project: str | None = None
    reuse: int | None = None
    kv_select: str | None = None
    kv_select_from: int | None = None
    pack: str | None = None
    dataflow: str | None = None
    prune_tokens: str | None = None
    kv_near: str | None = None

    @property
    def given(self) -> list[str]:
        """The options that were given and that cannot be changed in a compiled program."""
        named = {"weights": "--weights", "sparse": "--sparse", "context": "--context", "kv": "--kv", "chunk": "--chunk",
                 "sequences": "--sequences", "activations": "--activations", "sparsity": "--ffn-sparsity",
                 "predictor": "--predict", "in_page": "--in-page", "prune": "--prune", "project": "--project",
                 "adapter": "--adapter", "reuse": "--reuse", "kv_select": "--kv-select", "kv_select_from": "--kv-select-from",
                 "pack": "--pack", "dataflow": "--dataflow", "prune_tokens": "--prune-tokens", "kv_near": "--kv-near"}
        return [named[field.name] for field in fields(self) if field.name in named and getattr(self, field.name) != field.default]

    def check(self) -> Settings:
        """These settings. Raises ModelError for what is wrong whatever the model is, OSError."""
        if self.context is not None and self.context < 1:
            raise ModelError("", "--context", got=str(self.context), expected="1 or more positions")
        if self.chunk is not None and self.chunk < 1:
            raise ModelError("", "--chunk", got=str(self.chunk), expected="1 or more tokens")
        check_sequences(self.sequences)
        share = self.sparsity
        if share not in (None, "exact") and not (isinstance(share, int | float) and 0 <= share <= LEVELS[-1]):
            raise ModelError("", "--ffn-sparsity", got=repr(share), expected=f"exact, or a number from 0 to {LEVELS[-1]}")
        self.recipe()
        if self.predictor and not isinstance(self.sparsity, float):
            raise ModelError("", "--predict", got=f"--ffn-sparsity {self.sparsity}" if self.sparsity else "no --ffn-sparsity",
                             expected="--ffn-sparsity with a number, the share of neurons to leave alone",
                             hint="--ffn-sparsity 0.5 --predict --calibrate TEXT")
        if self.in_page not in (None, *IN_PAGE):
            raise ModelError("", "--in-page", got=repr(self.in_page), expected=one_of(IN_PAGE))
        if self.in_page and not self.predictor:
            raise ModelError("", "--in-page", got="no --predict", expected="--predict, which makes objects of neurons")
        if self.prune:
            parse_prune(self.prune)
        if self.project:
            parse_project(self.project)
        if self.kv_select_from is not None and not self.kv_select:
            raise ModelError("", "--kv-select-from", got="no --kv-select", expected="--kv-select starc:BUDGET")
        _ = self.caches
        if self.reuse is not None:
            check_columns(self.reuse)
        if self.prune_tokens:
            parse_prune_tokens(self.prune_tokens)
        return self

    def recipe(self) -> Recipe | None:
        """The formats and layouts of weights. Raises ModelError, OSError."""
        recipe = read_recipe(self.weights) if self.weights else None
        if self.sparse is not None:
            recipe = replace(recipe or Recipe(), sparse=check_layout(self.sparse, "--sparse"))
        if self.pack is not None:
            recipe = replace(recipe or Recipe(), pack=parse_pack(self.pack))
        return replace(recipe or Recipe(), reuse=self.reuse) if self.reuse is not None else recipe

    @property
    def caches(self) -> Caches:
        """How keys and values are stored and looked at. Raises ModelError."""
        select = parse_select(self.kv_select, self.kv_select_from) if self.kv_select else None
        return Caches(self.kv, select, self.dataflow, parse_near(self.kv_near) if self.kv_near else None)

    @property
    def reads_text(self) -> bool:
        """Whether the compiler needs a text to calibrate on."""
        return isinstance(self.sparsity, float) or bool(self.prune and parse_prune(self.prune).reads_text)

    def dense(self) -> Settings:
        """The same without skipped neurons and with all tokens of a prompt, with attention to all keys and values."""
        other = replace(self, sparsity=None, predictor=None, in_page=None, kv_select=None, kv_select_from=None,
                        prune_tokens=None)
        return other if other.reads_text else replace(other, calibrate=None)

    def plain(self) -> Settings:
        """The same for one text, without any option that changes what is stored or computed: the checkpoint as it is."""
        return Settings(machine=self.machine, context=self.context, chunk=self.chunk, adapter=self.adapter)

    def load(self, path: Path, tokenizer: Path | None = None) -> Model:
        """The checkpoint at `path`, with the adapter merged into it. Raises ModelError."""
        model = load(path, tokenizer)
        if self.adapter is None:
            return model
        try:
            return with_adapter(model, self.adapter)
        except OSError as error:
            raise ModelError(error.filename or self.adapter, "", got=error.strerror or str(error)) from None

    def compile(self, model: Model, progress: Callable[[int, int], None] | None = None) -> Compiled:
        """The model as a program. `progress` is told about calibration. Raises ModelError, PresetError, OSError."""
        tokens = need_tokenizer(model).encode(read_text(self.calibrate)[:MOST_TEXT]) if self.calibrate else ()
        if self.project:
            model = project(model, parse_project(self.project), progress)
        if self.prune:
            model = prune(model, parse_prune(self.prune), tokens, progress)
        if self.prune_tokens:
            model = replace(model, prune_tokens=parse_prune_tokens(self.prune_tokens))
        sparsity: Calibrated | float | str | None = self.sparsity
        if self.calibrate and isinstance(sparsity, float):
            sparsity = Calibrated(sparsity, tokens, progress, self.predictor or "", self.in_page or POWER)
        recipe = self.recipe()
        return compile_model(model, machine=self.machine or "slim", recipe=replace(recipe, progress=progress) if recipe else None,
                             context=self.check().context, kv=self.caches, chunk=self.chunk, sequences=self.sequences,
                             activations=self.activations, sparsity=sparsity)

    def key(self) -> dict[str, object]:
        """What a program depends on besides checkpoint and compiler: the options, with the contents of files that they name."""
        def contents(value: str | None) -> str | None:
            return text_of(value) if value and value.endswith(".toml") else value

        machine = self.machine.contents if isinstance(self.machine, Preset) else contents(self.machine or "slim")
        return {"machine": machine, "weights": contents(self.weights), "sparse": self.sparse,
                "context": self.context, "kv": self.kv, "chunk": self.chunk, "sequences": self.sequences,
                "activations": self.activations, "sparsity": self.sparsity, "predictor": self.predictor, "in_page": self.in_page,
                "calibrate": read_text(self.calibrate) if self.calibrate else None, "prune": self.prune,
                "project": self.project, "reuse": self.reuse, "adapter": self.adapter is not None,
                "kv_select": self.kv_select, "kv_select_from": self.kv_select_from, "pack": self.pack, "dataflow": self.dataflow,
                "prune_tokens": self.prune_tokens, "kv_near": self.kv_near}


def read_text(path: Path) -> str:
    """A text file. Raises ModelError unless it is UTF-8, OSError."""
    try:
        return text_of(path)
    except UnicodeDecodeError as error:
        raise ModelError(path, f"byte {error.start}", got="not UTF-8", expected="a text file") from None
