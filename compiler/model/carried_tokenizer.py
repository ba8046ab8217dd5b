"""A tokenizer as JSON, so that a program file carries the one of its model and needs no checkpoint to read or write text.

    program.meta["tokenizer"] = packed(tokenizer);  unpacked(program.meta["tokenizer"], file) -> Tokenizer
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from compiler.errors import ModelError
from compiler.model.tokenizer import JsonTokenizer, PieceKind, PieceTokenizer, SentencePieceTokenizer, Tokenizer


def packed(tokenizer: Tokenizer) -> dict[str, Any]:
    """All that the tokenizer is made from. Bytes of pieces stand as characters of the same numbers."""
    match tokenizer:
        case PieceTokenizer():
            return {"kind": "pieces", "pieces": [piece.decode("latin-1") for piece in tokenizer.pieces],
                    "scores": [float(score) for score in tokenizer.scores], "kinds": [kind.value for kind in tokenizer.kinds],
                    "bos": tokenizer.bos, "prefix": tokenizer.prefix}
        case JsonTokenizer():
            return {"kind": "json", "text": tokenizer.text, "bos": tokenizer.bos, "before": tokenizer.before}
        case SentencePieceTokenizer():
            return {"kind": "sentencepiece", "bytes": base64.b64encode(tokenizer.data).decode(),
                    "add_bos": tokenizer.add_bos}
    raise TypeError(f"{type(tokenizer).__name__} is none of the tokenizers that can be carried")


def unpacked(data: Any, file: Path) -> Tokenizer:
    """The tokenizer again. `file`, the program's, stands in messages. Raises ModelError for what `packed` has not made."""
    try:
        return _unpacked(data, file)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(file, "tokenizer", got=f"damaged: {error!r}", expected="a tokenizer as slimulator compile writes it",
                         hint="name a tokenizer file: --tokenizer FILE") from None


def _unpacked(data: dict[str, Any], file: Path) -> Tokenizer:
    match data["kind"]:
        case "pieces":
            return PieceTokenizer(file, [piece.encode("latin-1") for piece in data["pieces"]], data["scores"],
                                  [PieceKind(kind) for kind in data["kinds"]], data["bos"], prefix=data["prefix"])
        case "json":
            import tokenizers

            try:
                library = tokenizers.Tokenizer.from_str(data["text"])
            except Exception as error:      # the library raises Exception itself
                raise ValueError(str(error)) from None
            return JsonTokenizer(file, library, data["bos"], data["before"])
        case "sentencepiece":
            return SentencePieceTokenizer(file, base64.b64decode(data["bytes"], validate=True), add_bos=data["add_bos"])
    raise ValueError(f"kind {data['kind']!r}")
