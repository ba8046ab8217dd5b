"""What a family of models is: a record that the readers of files ask. Each family has its file in families/.

    class_name, config       what huggingface.py asks: config.json to a Config
    architectures, gguf_config      what gguf.py asks: metadata to a Config
    hf, gguf                 what each of the two kinds of files calls tensors and options
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

from compiler.frontends.options import Options
from compiler.model.model import STAGES, Config
from compiler.model.tensors import Tensor


@dataclass(frozen=True)
class Names:
    """What one kind of file calls the tensors of a family, and the options of its configuration.

    layer   the beginning of the names of tensors in layer {}
    parts   the rest by role, without .weight or .bias at the end
    others  ends of names of tensors that have no role: they belong to the configuration, or follow from it
    keys    the options by field of Config, for messages
    """

    layer: str
    parts: Mapping[str, str]
    keys: Mapping[str, str]
    others: tuple[str, ...] = ()

    def of(self, role: str) -> str:
        """The name of a role: layers.3.q.bias is layers.3.self_attn.q_proj.bias in one file, blk.3.attn_q.bias in another."""
        base, _, part = role.rpartition(".")
        if part not in ("bias", *STAGES):
            base, part = role, "weight"
        if base.startswith("layers."):
            _, layer, kind = base.split(".")
            return f"{self.layer.format(layer)}{self.parts[kind]}.{part}"
        return f"{self.parts[base]}.{part}"

    def plus(self, **parts: str) -> Names:
        """These names, and more of tensors."""
        return replace(self, parts={**self.parts, **parts})


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """A family of models. A subclass reads the configurations of the kinds of files that its models come in."""

    class_name: str = ""                        # of transformers, as config.json names it; "": not read from there
    older_names: tuple[str, ...] = ()           # of the same class, in earlier versions of transformers
    hf: Names                                   # without "model." at the beginning
    architectures: tuple[str, ...] = ()         # general.architecture of GGUF files
    gguf: Names = Names("", {}, {})             # keys without the architecture at the beginning

    @abstractmethod
    def config(self, options: Options) -> Config:
        """The configuration in a config.json; defaults are those of transformers. Raises ModelError for what is not supported."""

    def gguf_config(self, name: str, options: Options, tensors: Mapping[str, Tensor]) -> Config:
        """The configuration in the metadata of a GGUF file: `options` are the keys of the architecture `name`.

        Some of it only the tensors say, such as which linears have a bias. Raises ModelError for what is not supported.
        A family that names `architectures` has it; others are never asked.
        """
        raise NotImplementedError(f"{type(self).__name__} names architectures of GGUF files and reads none")


def head_size(options: Options, heads: str, dim: str) -> int:
    """Elements of a head in a file that does not say it: dim / heads. Both are given by their keys.

    Raises ModelError if that is not a whole number.
    """
    if options.size(dim) % options.size(heads):
        raise options.error(heads, expected=f"a divisor of {dim}, {options.size(dim)}")
    return options.size(dim) // options.size(heads)
