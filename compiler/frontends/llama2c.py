"""llama2.c checkpoints (.bin) of versions 0, 1 and 2, and its tokenizer files.

    version 0   dim, hidden, layers, heads, kv heads, vocabulary (negative: the head is its own matrix), context: int32 each;
                then fp32: embedding, attention norms, q, k, v, o, ffn norms, w1, w2, w3, final norm, rope tables (unused), head
    version 1   "ak42" as uint32, version, the seven numbers, uint8 "the head is the embedding", zeros to byte 256;
                then fp32: attention norms, ffn norms, final norm, embedding, q, k, v, o, w1, w2, w3, head
    version 2   as 1, with int32 group after the uint8; norms fp32, every matrix as int8 codes, then a fp32 scale per group,
                which may continue in the next row: export.py asks for whole groups in a matrix, not in a row

The file names neither its family nor its tensors: it is always a Llama, and its tensors have this order. Each kind of tensor stands
there for all layers, one after the other. w1 is the gate, w2 down, w3 up.
    tokenizer   int32 longest piece; then for each piece float32 score, int32 length, bytes; "<0x0A>" is a byte

Source: llama2.c, export.py, run.c and runq.c.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compiler.errors import ModelError
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import Config, Model, Rope, check_config, check_head_dim, check_vocabulary, layer_roles, roles
from compiler.model.tensors import FileRange, FloatTensor, GroupTensor, Tensor
from compiler.model.tokenizer import BYTE, PieceKind, PieceTokenizer, Tokenizer

MAGIC = 0x616B_3432
HEADER = 256                # bytes of the header of versions 1 and 2
THETA, EPS = 10000.0, 1e-5  # fixed in run.c
BOS, EOS = 1, 2
NAMES = {"dim": "dim", "hidden": "hidden_dim", "layers": "n_layers", "heads": "n_heads", "kv_heads": "n_kv_heads",
         "vocab": "vocab_size", "context": "seq_len", "head_dim": "dim / n_heads"}

_MATRICES = ("q", "k", "v", "o", "gate", "down", "up")
_V0: tuple[str, ...] = ("embedding", "attention_norm", "q", "k", "v", "o", "ffn_norm", "gate", "down", "up", "final_norm", "rope",
                        "head")
_V1 = ("attention_norm", "ffn_norm", "final_norm", "embedding", *_MATRICES, "head")


@dataclass(frozen=True)
class Header:
    """The seven numbers, and what depends on the version. `group` columns share a scale in version 2."""

    version: int
    numbers: tuple[int, ...]
    tied: bool
    group: int

    @property
    def size(self) -> int:
        return HEADER if self.version else 28


def load(path: Path, tokenizer: Tokenizer | None = None) -> Model:
    """A model from a .bin. Raises ModelError for a file that is none, or damaged."""
    header = _header(path)
    config = _config(path, header)
    if tokenizer is not None:
        check_vocabulary(config, tokenizer, tokenizer.file)
    return Model(path, config, dict(_tensors(path, config, header)), tokenizer)


def vocabulary(path: Path) -> int:
    """The size of the vocabulary, which its tokenizer file is read with."""
    return abs(_header(path).numbers[5])


def _header(path: Path) -> Header:
    with path.open("rb") as stream:
        data = stream.read(HEADER)
    if len(data) < 28:
        raise ModelError(path, "", got=f"{len(data)} bytes", expected="at least the 28 bytes of a llama2.c header")
    magic, version = struct.unpack_from("<Ii", data)
    if magic != MAGIC:
        numbers = struct.unpack_from("<7i", data)
        if not all(0 < abs(number) < 1 << 24 for number in numbers):
            raise ModelError(path, "", got=f"a file that begins {data[:8].hex(' ')}", expected="a llama2.c checkpoint",
                             hint="a GGUF file begins with the letters GGUF; a Hugging Face model is a directory")
        return Header(0, numbers, numbers[5] > 0, 0)
    if version not in (1, 2):
        raise ModelError(path, "version", got=str(version), expected="1 or 2 (version 0 has no such field)")
    if len(data) < HEADER:
        raise ModelError(path, "", got=f"{len(data)} bytes", expected=f"at least the {HEADER} bytes of its header")
    group, = struct.unpack_from("<i", data, 37) if version == 2 else (0,)
    if version == 2 and group <= 0:
        raise ModelError(path, "group_size", got=str(group), expected="a positive size")
    return Header(version, struct.unpack_from("<7i", data, 8), bool(data[36]), group)


def _config(path: Path, header: Header) -> Config:
    dim, hidden, layers, heads, kv_heads, vocab, context = header.numbers
    if heads <= 0 or dim % heads:
        raise ModelError(path, "n_heads", got=str(heads), expected=f"a divisor of dim, {dim}")
    head_dim = dim // heads
    check_head_dim(head_dim, path, NAMES["head_dim"])
    config = Config("llama2.c", abs(vocab), dim, layers, heads, kv_heads, head_dim, hidden, context, EPS,
                    rope=Rope.plain(head_dim, THETA, adjacent=True), tied=header.tied)
    check_config(config, path, NAMES)
    if config.vocab > EOS:          # run.c ends a text at BOS: it separates the stories of the training data
        config = replace(config, bos=BOS, stop=frozenset((BOS, EOS)))
    return config


def _tensors(path: Path, c: Config, header: Header) -> Iterator[tuple[str, Tensor]]:
    """(role, tensor) in the order of the file, whose size must be what they take."""
    in_layers = dict(layer_roles(c))
    shapes = {role: shape for role, shape in roles(replace(c, layers=1)) if not role.startswith("layers.")} | in_layers
    shapes["rope"] = (c.context * c.head_dim,)          # cosines and sines, which run.c computes itself
    kinds = [kind for kind in (_V1 if header.version else _V0) if kind in shapes]
    order = [(kind, shapes[kind], c.layers if kind in in_layers else 1) for kind in kinds]
    offset, size = header.size, path.stat().st_size
    expected = offset + sum(count * _bytes(path, kind, shape, header.group) for kind, shape, count in order)
    if size != expected:
        head = _bytes(path, "head", shapes["embedding"], header.group)      # a wrong header may leave it out, or promise it
        said = "vocab_size is negative" if header.version == 0 else "shared_classifier is 0"
        hints = {expected + head: f"is there a head of its own? Then {said}",
                 expected - head: f"is the head the embedding? {said} says that it is not"}
        raise ModelError(path, "", got=f"{size} bytes", expected=f"the {expected} bytes that its header describes", hint=hints.get(
            size, "the file is truncated" if size < expected else "is it a llama2.c checkpoint?"))
    for kind, shape, count in order:
        for layer in range(count):
            role = f"layers.{layer}.{kind}" if kind in in_layers else kind
            if kind != "rope":
                yield role, _tensor(path, role, shape, offset, header.group)
            offset += _bytes(path, kind, shape, header.group)


def _bytes(path: Path, kind: str, shape: tuple[int, ...], group: int) -> int:
    """Bytes of a tensor. Raises ModelError if it is not whole groups."""
    count = math.prod(shape)
    if not group or len(shape) == 1:
        return 4 * count
    if count % group:
        raise ModelError(path, "group_size", got=str(group), expected=f"a divisor of {count}, the elements of {kind}")
    return count + 4 * count // group


def _tensor(path: Path, role: str, shape: tuple[int, ...], offset: int, group: int) -> Tensor:
    count = math.prod(shape)
    if not group or len(shape) == 1:
        return FloatTensor(role, shape, WEIGHT_FORMATS["f32"], where=FileRange(path, offset, 4 * count))
    values, scales = FileRange(path, offset, count), FileRange(path, offset + count, 4 * count // group)
    return GroupTensor(role, shape, WEIGHT_FORMATS["i8"], math.gcd(shape[1], group), values=values, scales=scales, scaled=group)


# ------------------------------------------------------------------------------------------------ tokenizer


def load_tokenizer(path: Path, vocab: int | None = None) -> PieceTokenizer:
    """A tokenizer file, of `vocab` pieces if that is known. Raises ModelError for another number of them or a damaged file."""
    data = path.read_bytes()
    pieces: list[bytes] = []
    scores: list[float] = []
    at = 4
    while at < len(data):
        score, length = struct.unpack_from("<fi", data, at) if at + 8 <= len(data) else (0.0, -1)
        if not 0 <= length <= len(data) - at - 8:
            raise ModelError(path, f"piece {len(pieces)}", got="the file ends within it" if length >= 0 else "a bad length",
                             expected="score, length and bytes", hint="is this a tokenizer of llama2.c?")
        pieces.append(data[at + 8:at + 8 + length])
        scores.append(score)
        at += 8 + length
    if len(pieces) <= EOS or vocab not in (None, len(pieces)):
        raise ModelError(path, "tokenizer", got=f"{len(pieces)} pieces", hint="this tokenizer belongs to another model",
                         expected=f"the model's vocabulary of {vocab}" if vocab else "more than BOS and EOS")
    known = frozenset(pieces)
    kinds = [_kind(token, piece, known) for token, piece in enumerate(pieces)]
    return PieceTokenizer(path, pieces, scores, kinds, BOS)


def _kind(token: int, piece: bytes, known: Collection[bytes]) -> PieceKind:
    """The kind of a piece, which the file does not say.

    The first three are unknown, BOS and EOS. A piece that no merge makes is found whole in a text.
    """
    fixed: Mapping[int, PieceKind] = {0: PieceKind.UNKNOWN, BOS: PieceKind.CONTROL, EOS: PieceKind.CONTROL}
    text = piece.decode("utf-8", "replace")
    if token in fixed or BYTE.fullmatch(text):
        return fixed.get(token, PieceKind.BYTE)
    merged = len(text) < 2 or any(piece[:at] in known and piece[at:] in known for at in range(1, len(piece)))
    return PieceKind.NORMAL if merged else PieceKind.USER_DEFINED


def find_tokenizer(path: Path, vocab: int) -> Path | None:
    """The tokenizer file beside a checkpoint: tok512.bin for a vocabulary of 512, or tokenizer.bin."""
    return next((file for name in (f"tok{vocab}.bin", "tokenizer.bin") if (file := path.with_name(name)).is_file()), None)
