"""The tokenizer in a GGUF file: pieces with scores ("llama"), or byte-level BPE ("gpt2"), which the library tokenizers runs.

How "gpt2" splits a text before it merges, the file says only by a name (tokenizer.ggml.pre). PRE says what the names mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from compiler.errors import one_of
from compiler.frontends.options import Options
from compiler.model.tokenizer import SPACE, JsonTokenizer, PieceKind, PieceTokenizer, Tokenizer
from isa.hints import nearest


@dataclass(frozen=True)
class Pre:
    """How a text is split. `pattern`: the parts, None for GPT-2's; `digits`: each digit by itself first.

    ignore_merges  a part that is a token is taken whole, whatever the merges say
    bos            BOS is put before a text unless the file says otherwise
    """

    pattern: str | None = None
    digits: bool = False
    ignore_merges: bool = False
    bos: bool = False


_LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

PRE: dict[str, Pre] = {
    "gpt-2":     Pre(),
    "smollm":    Pre(digits=True),
    "llama-bpe": Pre(_LLAMA3, ignore_merges=True, bos=True),
    "llama3":    Pre(_LLAMA3, ignore_merges=True, bos=True),
    "llama-v3":  Pre(_LLAMA3, ignore_merges=True, bos=True),
    "qwen2":     Pre(_QWEN2),
    "deepseek-r1-qwen": Pre(_QWEN2),
}
"""Source: llama.cpp, llama-vocab.cpp, and the tokenizer.json of GPT-2, SmolLM, Llama 3 and Qwen2."""

LLAMA3 = frozenset(("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"))
"""A vocabulary with these tokens is Llama 3's."""


def read_tokenizer(file: Path, values: dict[str, Any], notes: list[str] | None = None) -> Tokenizer | None:
    """The tokenizer in the metadata of a file, keys without "tokenizer.ggml."; None if it has no tokenizer.

    `notes` gets what was assumed.
    """
    if "model" not in values:
        return None
    options = Options(file, values, "tokenizer.ggml.")
    make = options.choice("model", {"llama": _pieces, "gpt2": _byte_level})
    tokens = _list(options, "tokens", str)
    if make is _byte_level and "pre" not in values and set(tokens) >= LLAMA3:       # Microsoft's converter writes none
        options.values = {**values, "pre": "llama-bpe"}
        (notes if notes is not None else []).append("tokenizer.ggml.pre is missing; the vocabulary is Llama 3's: "
                                                    "texts are split as for llama-bpe")
    kinds = [_piece(options, kind) for kind in _list(options, "token_type", int)] if "token_type" in values else None
    if kinds is not None and len(kinds) != len(tokens):
        raise options.error("token_type", got=f"{len(kinds)} entries", expected=f"one for each of {len(tokens)} tokens")
    bos = options.whole("bos_token_id")
    if bos is not None and not 0 <= bos < len(tokens):
        raise options.error("bos_token_id", expected=f"one of {len(tokens)} tokens")
    return make(options, tokens, kinds or [PieceKind.NORMAL] * len(tokens), bos)


def _list(options: Options, key: str, kind: type) -> list[Any]:
    values, kinds = options.values.get(key), (int, float) if kind is float else kind
    if not isinstance(values, list) or not all(isinstance(value, kinds) for value in values):
        raise options.error(key, got="missing or of another type", expected=f"a list of {kind.__name__}")
    return values


def _piece(options: Options, kind: int) -> PieceKind:
    try:
        return PieceKind(kind)
    except ValueError:
        raise options.error("token_type", got=str(kind), expected="1 to 6") from None


def _pieces(options: Options, tokens: list[str], kinds: list[PieceKind], bos: int | None) -> Tokenizer:
    scores = [float(score) for score in _list(options, "scores", float)]
    if len(scores) != len(tokens):
        raise options.error("scores", got=f"{len(scores)} entries", expected=f"one for each of {len(tokens)} tokens")
    pieces = [token.replace(SPACE, " ").encode() for token in tokens]
    before = bos if options.flag("add_bos_token", True) else None
    return PieceTokenizer(options.file, pieces, scores, kinds, before, prefix=options.flag("add_space_prefix", True))


def _byte_level(options: Options, tokens: list[str], kinds: list[PieceKind], bos: int | None) -> Tokenizer:
    name = options.values.get("pre")
    if name not in PRE:
        raise options.error("pre", expected=one_of(PRE), hint=nearest(str(name), PRE) or "a tokenizer.json can be named instead")
    pre = PRE[name]
    merges = [tuple(merge.split(" ")) for merge in _list(options, "merges", str)]
    wrong = next((merge for merge in merges if len(merge) != 2), None)
    if wrong is not None:
        raise options.error("merges", got=repr(" ".join(wrong)), expected="two tokens with a space between")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise options.error("tokens", got="a duplicate token", expected="different tokens")
    try:
        library = Library(models.BPE(vocabulary, merges, ignore_merges=pre.ignore_merges))
    except Exception as error:      # the library raises Exception itself
        raise options.error("merges", got=str(error), expected="pairs of tokens whose union is a token") from None
    whole = pre.pattern is None
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if pre.digits else []
    if pre.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(pre.pattern), "isolated"))
    library.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=whole)])
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                for token, kind in zip(tokens, kinds, strict=True) if kind is PieceKind.CONTROL])
    library.add_tokens([AddedToken(token, special=False, normalized=False)
                        for token, kind in zip(tokens, kinds, strict=True) if kind is PieceKind.USER_DEFINED])
    before = [bos] if bos is not None and options.flag("add_bos_token", pre.bos) else []
    return JsonTokenizer(options.file, library, bos, before)
