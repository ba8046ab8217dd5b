"""Text to tokens and back: one face for every kind of tokenizer file.

    PieceTokenizer          pieces with scores, merged by score: llama2.c's files and GGUF's "llama" type
    JsonTokenizer           tokenizer.json, or what GGUF's "gpt2" type says, by the library tokenizers
    SentencePieceTokenizer  tokenizer.model, by the library sentencepiece

`encode` adds what the tokenizer puts around a text, such as a first token BOS. `stream` gives text as tokens come.
"""

from __future__ import annotations

import heapq
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import ModelError
from compiler.model.text_stream import ByteStream, Stream, WindowStream

if TYPE_CHECKING:
    import tokenizers

SPACE = "▁"            # U+2581, which SentencePiece writes for a space
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Tokenizer(ABC):
    """Tokens are 0 to `size` - 1. `bos` is the token that begins a text, where there is one."""

    file: Path
    size: int
    bos: int | None

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Tokens of a text. Raises ModelError for a character that has none."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, without control tokens; bytes that are not UTF-8 become U+FFFD."""

    @abstractmethod
    def stream(self) -> Stream:
        """A new one, for the tokens of one text."""

    def _unencodable(self, text: str, at: int) -> ModelError:
        return ModelError(self.file, "prompt", got=f"{text[at]!r} (U+{ord(text[at]):04X}, character {at + 1}) has no token",
                          expected="characters of the model's vocabulary", hint="leave it out, or use a model that knows it")


# ------------------------------------------------------------------------------------------------ pieces with scores


class PieceKind(Enum):
    """What a piece is: SentencePiece's types."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class PieceTokenizer(Tokenizer):
    """Byte-pair encoding by scores, as SentencePiece does it.

    The text, with a space before it, is split into characters; then the two neighbours whose union is a piece of the highest
    score are merged (the first such pair of a tie), until none is left. A character without a piece becomes its bytes. Pieces
    that the user of SentencePiece has defined are found first, the longest at each place, and merge with nothing. U+2581 is a
    space.
    Source: Kudo and Richardson, "SentencePiece", arXiv:1808.06226; Sennrich et al., arXiv:1508.07909.
    """

    def __init__(self, file: Path, pieces: Sequence[bytes], scores: Sequence[float], kinds: Sequence[PieceKind], bos: int | None, *,
                 prefix: bool = True) -> None:
        """`pieces` with plain spaces. `prefix`: a space is put before the text, and taken away again in decoding."""
        self.file, self.size, self.bos, self.prefix = file, len(pieces), bos, prefix
        self.pieces, self.scores, self.kinds = pieces, scores, kinds
        self._text = [self._decoded(token, piece, kind) for token, (piece, kind) in enumerate(zip(pieces, kinds, strict=True))]
        self._ids = {piece: token for token, (piece, kind) in reversed(list(enumerate(zip(pieces, kinds, strict=True))))
                     if kind in (PieceKind.NORMAL, PieceKind.USER_DEFINED)}
        self._bytes = {self._text[token]: token for token, kind in enumerate(kinds) if kind is PieceKind.BYTE}
        defined = sorted((self._plain(token) for token, kind in enumerate(kinds) if kind is PieceKind.USER_DEFINED), key=len)
        self._part = re.compile("|".join([*(re.escape(text) for text in reversed(defined) if text), "."]), re.DOTALL)
        self._defined = frozenset(text.encode("utf-8", "surrogatepass") for text in defined)

    def _plain(self, token: int) -> str:
        """A piece as it stands in a text; "" for bytes that stand in none."""
        try:
            return self.pieces[token].decode()
        except UnicodeDecodeError:
            return ""

    def _decoded(self, token: int, piece: bytes, kind: PieceKind) -> bytes:
        match kind:
            case PieceKind.NORMAL | PieceKind.USER_DEFINED: return piece
            case PieceKind.UNKNOWN: return "\ufffd".encode()
            case PieceKind.CONTROL | PieceKind.UNUSED: return b""
        byte = BYTE.fullmatch(piece.decode("utf-8", "replace"))
        if byte is None:
            raise ModelError(self.file, f"piece {token}", got=f"{piece!r} is marked as a byte", expected="<0x00> to <0xFF>")
        return bytes([int(byte[1], 16)])

    def encode(self, text: str) -> list[int]:
        tokens = [] if self.bos is None else [self.bos]
        if not text:
            return tokens
        plain = text.replace(SPACE, " ")
        parts = self._part.findall(" " + plain if self.prefix else plain)
        for piece in self._merged([part.encode("utf-8", "surrogatepass") for part in parts]):
            if piece in self._ids:
                tokens.append(self._ids[piece])
            elif all(bytes([byte]) in self._bytes for byte in piece):
                tokens += [self._bytes[bytes([byte])] for byte in piece]
            else:
                raise self._unencodable(text, max(0, plain.find(piece.decode("utf-8", "surrogatepass"))))
        return tokens

    def _merged(self, parts: list[bytes]) -> list[bytes]:
        """Parts after all merges. A heap holds the pairs that may be merged: (-score, left, its text, right, its text)."""
        following = [*range(1, len(parts)), -1]
        preceding = [*range(-1, len(parts) - 1)]
        heap: list[tuple[float, int, bytes, int, bytes]] = []

        def offer(left: int, right: int) -> None:
            whole = left < 0 or right < 0 or parts[left] in self._defined or parts[right] in self._defined
            token = None if whole else self._ids.get(parts[left] + parts[right])
            if token is not None:
                heapq.heappush(heap, (-self.scores[token], left, parts[left], right, parts[right]))

        for left in range(len(parts) - 1):
            offer(left, left + 1)
        while heap:
            _, left, left_text, right, right_text = heapq.heappop(heap)
            if parts[left] != left_text or parts[right] != right_text or not left_text or not right_text:
                continue                                    # one of the two was merged meanwhile
            parts[left], parts[right] = left_text + right_text, b""
            following[left] = following[right]
            if following[right] >= 0:
                preceding[following[right]] = left
            offer(preceding[left], left)
            offer(left, following[left])
        return [part for part in parts if part]

    def decode(self, tokens: Sequence[int]) -> str:
        text = b"".join(map(self._bytes_of, tokens))
        if tokens and self._strips(tokens[0]):
            text = text.removeprefix(b" ")
        return text.decode("utf-8", "replace")

    def stream(self) -> Stream:
        return ByteStream(self._bytes_of, self._strips)

    def _bytes_of(self, token: int) -> bytes:
        return self._text[token] if token < self.size else b""

    def _strips(self, first: int) -> bool:
        """Whether a text that begins with this token loses the space at its beginning."""
        return self.prefix and (self.bos is None or first == self.bos)


# ------------------------------------------------------------------------------------------------ by libraries


def _byte_letters() -> dict[str, int]:
    """The letter of byte-level BPE for each byte: itself where it is printable, else the next from U+0100 on.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), the published encoder.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + number): byte for number, byte in enumerate(others)}


class JsonTokenizer(Tokenizer):
    """A tokenizer of the library tokenizers. `before`: tokens that it does not put before a text by itself, but should."""

    def __init__(self, file: Path, tokenizer: tokenizers.Tokenizer, bos: int | None, before: Sequence[int] = ()) -> None:
        self.file, self.bos = file, bos
        tokenizer.no_truncation()               # what a file may ask for is meant for training: as in transformers, a text is whole
        tokenizer.no_padding()
        self._tokenizer, self.before = tokenizer, list(before)
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        self.size = max(vocabulary.values(), default=-1) + 1
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)
        self._unknown_text = unknown or ""

    @classmethod
    def from_file(cls, file: Path, bos: int | None) -> JsonTokenizer:
        """Raises ModelError for a file that is not a tokenizer.json."""
        import tokenizers

        data = file.read_bytes()                # read here: the library takes no name that is not UTF-8, and no byte order mark
        try:
            return cls(file, tokenizers.Tokenizer.from_str(data.decode("utf-8-sig")), bos)
        except Exception as error:      # the library raises Exception itself
            raise ModelError(file, "", got=f"not a tokenizer: {error}", expected="a tokenizer.json") from None

    @property
    def text(self) -> str:
        """The tokenizer as the text of a tokenizer.json."""
        text: str = self._tokenizer.to_str()
        return text

    def encode(self, text: str) -> list[int]:
        encoded = self._tokenizer.encode(_whole(self.file, text))
        if self._unknown is not None:
            for token, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
                if token == self._unknown and start < end and text[start:end] != self._unknown_text:
                    raise self._unencodable(text, start)
        return [*self.before, *encoded.ids]

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text

    def stream(self) -> Stream:
        import tokenizers

        if not isinstance(self._tokenizer.decoder, tokenizers.decoders.ByteLevel):
            return WindowStream(self.decode, cache(self._settled))
        letters = _byte_letters()
        special = {token for token, added in self._tokenizer.get_added_tokens_decoder().items() if added.special}

        def bytes_of(token: int) -> bytes:
            text = "" if token in special else self._tokenizer.id_to_token(token) or ""
            return bytes(map(letters.__getitem__, text)) if letters.keys() >= set(text) else text.encode()

        return ByteStream(cache(bytes_of))

    def _settled(self, token: int) -> bool:
        """Not for a byte, alone or as a part of a character, and for what is nothing by itself."""
        alone = self.decode([token])
        return bool(alone) and "\ufffd" not in alone and not BYTE.fullmatch(self._tokenizer.id_to_token(token) or "")


class SentencePieceTokenizer(Tokenizer):
    """A tokenizer.model, by the library sentencepiece, which is an extra."""

    def __init__(self, file: Path, data: bytes | None = None, *, add_bos: bool = True) -> None:
        """`data`: what the file holds, by default read now. Raises ModelError without the library, or for what is not
        SentencePiece's."""
        try:
            import sentencepiece
        except ImportError:
            raise ModelError(file, "", got="the library sentencepiece is not installed",
                             hint="pip install '.[sentencepiece]', or put a tokenizer.json next to it") from None
        self.file, self.data = file, file.read_bytes() if data is None else data
        try:
            self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=self.data)
        except (RuntimeError, OSError) as error:
            raise ModelError(file, "", got=f"not a SentencePiece model: {error}", expected="a tokenizer.model") from None
        self.size = self._processor.vocab_size()
        self.bos = self._processor.bos_id() if self._processor.bos_id() >= 0 else None
        self.add_bos = add_bos and self.bos is not None

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = self._processor.encode(_whole(self.file, text))
        if self._processor.unk_id() in tokens:
            at = next((at for at in range(len(text)) if self._processor.unk_id() in self._processor.encode(text[:at + 1])), 0)
            raise self._unencodable(text, at)
        return [self._processor.bos_id(), *tokens] if self.add_bos else tokens

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self._processor.decode([token for token in tokens if token < self.size])
        return text

    def stream(self) -> Stream:
        return WindowStream(self.decode, cache(self._settled))

    def _settled(self, token: int) -> bool:
        """Not for a byte, and for what is nothing by itself."""
        return token < self.size and not self._processor.is_byte(token) and bool(self.decode([token]))


def _whole(file: Path, text: str) -> str:
    """The text, or ModelError for half a surrogate pair, which no UTF-8 can hold and the libraries do not take."""
    at = next((at for at, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    if at is not None:
        raise ModelError(file, "prompt", got=f"character {at + 1} is half a surrogate pair, U+{ord(text[at]):04X}",
                         expected="Unicode text")
    return text
