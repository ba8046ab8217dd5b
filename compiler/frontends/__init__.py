"""Files of models to a `Model`: a reader for each kind of file, `load` for all of them.

    llama2c.py          llama2.c .bin, versions 0 to 2, with its tokenizer file
    huggingface.py      directories: hf_config.py (config.json), hf_options.py (its options), shards.py (safetensors)
    gguf.py             GGUF: gguf_blocks.py (block formats), gguf_tokenizer.py (the tokenizer in it)
    stored/             how weights of directories are stored: quantised, sparse, masked
    adapter.py          LoRA adapters, merged into a model
    family.py           what a family of models is: its configuration, the names of its tensors; families/: one file each
    rope.py             rope as configurations describe it
    unsupported.py      other families, and why they are refused
    options.py          configurations, read by name and type

A reader opens and checks; it reads no weights. Nothing here knows the graph or the machine.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

from compiler.errors import ModelError
from compiler.model.model import Model
from compiler.model.tokenizer import JsonTokenizer, SentencePieceTokenizer, Tokenizer
from isa.files import opened

GGUF = b"GGUF"


def load(path: Path | str, tokenizer: Path | str | None = None) -> Model:
    """The model at `path`: a Hugging Face directory, a .gguf or a llama2.c .bin.

    `tokenizer` names a file to use instead of the one that lies with the model: a tokenizer.json, a tokenizer.model, a GGUF file,
    or llama2.c's. Raises ModelError with the file, the tensor or field, what was expected and what is there.
    """
    path = Path(path)
    own = Path(tokenizer) if tokenizer is not None else None
    try:
        notes: list[str] = []
        model = _load(path, own, notes)
        return replace(model, notes=(*model.notes, *(f"{own}: {note}" for note in notes)))
    except OSError as error:
        raise ModelError(error.filename or path, "", got=error.strerror or str(error)) from None


def _load(path: Path, tokenizer: Path | None, notes: list[str]) -> Model:
    """`notes` is for those of the tokenizer's own file."""
    if not path.exists():
        raise ModelError(path, "", got=os.strerror(errno.ENOENT), expected="a model")
    if path.is_dir():
        from compiler.frontends import huggingface

        return huggingface.load(path, load_tokenizer(tokenizer, notes=notes) if tokenizer else None)
    if path.suffix == ".safetensors" or path.name == "config.json":
        raise ModelError(path, "", got="a part of a model", expected="the directory that holds config.json and the weights",
                         hint=f"give {path.parent}")
    if path.suffix == ".tflite":
        raise ModelError(path, "", got="an int8 network", expected="a language model",
                         hint="slimulator infer runs it, and verify checks it")
    if _begins_with_gguf(path):
        from compiler.frontends import gguf

        return gguf.load(path, load_tokenizer(tokenizer, notes=notes) if tokenizer else None)
    from compiler.frontends import llama2c

    vocab = llama2c.vocabulary(path)
    found = tokenizer or llama2c.find_tokenizer(path, vocab)
    return llama2c.load(path, load_tokenizer(found, vocab, notes) if found else None)


def _begins_with_gguf(path: Path) -> bool:
    with opened(path) as stream:
        return stream.read(4) == GGUF


def load_tokenizer(path: Path, vocab: int | None = None, notes: list[str] | None = None) -> Tokenizer:
    """The tokenizer in a file. A file of llama2.c has no mark of its kind: it must have `vocab` pieces, if that is given.

    What was assumed, because the file does not say it, goes to `notes`.
    """
    if path.is_dir():
        raise ModelError(path, "tokenizer", got="a directory", expected="a tokenizer file", hint=f"{path / 'tokenizer.json'}?")
    opened(path).close()                                # an error for a pipe or a device
    if path.suffix == ".json":
        return JsonTokenizer.from_file(path, None)
    if path.suffix == ".model":
        return SentencePieceTokenizer(path)
    if _begins_with_gguf(path):
        from compiler.frontends import gguf

        return gguf.load_tokenizer(path, notes)
    from compiler.frontends import llama2c

    return llama2c.load_tokenizer(path, vocab)


def need_tokenizer(model: Model) -> Tokenizer:
    """The tokenizer of a model, or ModelError if it came without one."""
    if model.tokenizer is None:
        expected = ("tokenizer.json or tokenizer.model in this directory" if model.path.is_dir() else
                    "a GGUF file with a tokenizer in it" if _begins_with_gguf(model.path) else
                    f"tok{model.config.vocab}.bin or tokenizer.bin beside it")
        raise ModelError(model.path, "tokenizer", got="none", expected=expected, hint="name one: --tokenizer FILE")
    return model.tokenizer
