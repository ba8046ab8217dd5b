"""One face for every kind of tokenizer: merging by score, text back from tokens, streams, and what cannot be encoded."""

from __future__ import annotations

import codecs
import os
import struct
import sys
import time
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from compiler.errors import ModelError
from compiler.frontends import llama2c
from compiler.frontends.gguf_tokenizer import read_tokenizer
from compiler.model.tokenizer import JsonTokenizer, PieceKind, PieceTokenizer, SentencePieceTokenizer, Tokenizer

HERE = Path("tokenizer")


def piece_tokenizer(words: dict[str, float], *, with_bytes: bool = True, bos: int | None = 1,
                    prefix: bool = True) -> PieceTokenizer:
    pieces = [(b"<unk>", 0.0, PieceKind.UNKNOWN), (b"<s>", 0.0, PieceKind.CONTROL), (b"</s>", 0.0, PieceKind.CONTROL)]
    pieces += [(f"<0x{byte:02X}>".encode(), 0.0, PieceKind.BYTE) for byte in range(256)] if with_bytes else []
    pieces += [(word.encode(), score, PieceKind.NORMAL) for word, score in words.items()]
    texts, scores, kinds = zip(*pieces, strict=True)
    return PieceTokenizer(HERE, texts, scores, kinds, bos, prefix=prefix)


WORDS = {" ": -9.0, "a": -8.0, "b": -8.0, "c": -8.0, "ab": -1.0, "bc": -0.5, "abc": -3.0, " a": -4.0, "aa": -2.0, "é": -8.0,
         "<": -8.0}


def texts(tokenizer: PieceTokenizer, text: str) -> list[str]:
    """The pieces that a text becomes, BOS left out."""
    return [tokenizer._text[token].decode() for token in tokenizer.encode(text)[1:]]


@pytest.mark.parametrize(("text", "expected"), [
    ("",      []),
    ("a",     [" a"]),
    ("abc",   [" ", "abc"]),             # bc has the best score, then a + bc beats " " + a
    ("ab",    [" ", "ab"]),              # ab before " a"
    ("aaa",   [" ", "aa", "a"]),         # of equal pairs the first
    ("aaaa",  [" ", "aa", "aa"]),
    ("cé",    [" ", "c", "é"]),
    ("<s>",   [" ", "<", "s", ">"]),     # a control token is not reached by its text; s and > are bytes
])
def test_merges_by_score(text: str, expected: list[str]) -> None:
    assert texts(piece_tokenizer(WORDS), text) == expected


def _slow(tokenizer: PieceTokenizer, text: str) -> list[int]:
    """The definition: look at all neighbours again for each merge, as llama2.c does."""
    tokens: list[Any] = [character.encode() for character in (" " + text if text else "")]
    while True:
        pairs = [(tokenizer.scores[tokenizer._ids[a + b]], -at) for at, (a, b) in enumerate(pairwise(tokens))
                 if a + b in tokenizer._ids]
        if not pairs:
            break
        at = -max(pairs)[1]
        tokens[at:at + 2] = [tokens[at] + tokens[at + 1]]
    ids: list[int] = []
    for piece in tokens:
        ids += [tokenizer._ids[piece]] if piece in tokenizer._ids else [3 + byte for byte in piece]
    return [1, *ids]


@given(st.text(alphabet="abc é<x", max_size=40))
def test_the_heap_merges_as_the_definition_does(text: str) -> None:
    tokenizer = piece_tokenizer(WORDS)
    assert tokenizer.encode(text) == _slow(tokenizer, text)


@given(st.text(max_size=30))
def test_bytes_carry_every_text(text: str) -> None:
    tokenizer = piece_tokenizer(WORDS)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_without_bytes_some_characters_have_no_token() -> None:
    tokenizer = piece_tokenizer(WORDS, with_bytes=False)
    with pytest.raises(ModelError, match=r"tokenizer: error: prompt: '✓' \(U\+2713, character 3\) has no token"):
        tokenizer.encode("ab✓")


def test_prefix_and_bos_can_be_off() -> None:
    tokenizer = piece_tokenizer(WORDS, bos=None, prefix=False)
    assert tokenizer.decode(tokenizer.encode(" ab")) == " ab"
    assert len(tokenizer.encode("ab")) == 1


# ------------------------------------------------------------------------------------------------ streams


def stream(tokenizer: Tokenizer, tokens: list[int]) -> list[str]:
    made = tokenizer.stream()
    return [*[made.push(token) for token in tokens], made.end()]


@given(st.text(alphabet="ab é✓🦊", max_size=12))
def test_a_stream_is_the_text(text: str) -> None:
    for tokenizer in (piece_tokenizer(WORDS), byte_level()):
        assert "".join(stream(tokenizer, tokenizer.encode(text))) == text


def test_a_character_comes_when_it_is_whole() -> None:
    tokenizer = piece_tokenizer(WORDS)
    assert stream(tokenizer, tokenizer.encode("a🦊b")) == ["", "a", "", "", "", "🦊", "b", ""]
    assert stream(byte_level(), byte_level().encode("a🦊b")) == ["a", "", "", "", "🦊", "b", ""]


def test_bytes_that_are_no_text_come_out_all_the_same() -> None:
    tokenizer = piece_tokenizer(WORDS)
    made = tokenizer.stream()
    pieces = [made.push(3 + byte) for byte in b"\xff\xff\xff\xff\xffA"]
    assert "".join(pieces) + made.end() == "\ufffd" * 5 + "A"
    assert "".join(pieces)


# What a token may be, for each kind of decoder: words, spaces, bytes, parts of characters, U+FFFD itself, special tokens.
ODD = ["a", "▁", "▁▁", "▁a", "a▁b", "\ufffd", "😀", "!", ".", "##b", "n't", "a</w>", "b</w>", "|", "<pad>", "Ġ", "Ġa", "é", "日本"]
DECODERS: dict[str, Any] = {
    "bytes":      decoders.ByteLevel(),
    "llama":      decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)]),
    "gemma":      decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    "metaspace":  decoders.Metaspace(),
    "wordpiece":  decoders.WordPiece(),
    "suffixes":   decoders.BPEDecoder(),
    "fused":      decoders.Fuse(),
    "ctc":        decoders.CTC(),
    "in_a_list":  decoders.Sequence([decoders.ByteLevel()]),
    "none":       None,
}


@cache
def odd_tokenizer(kind: str) -> Tokenizer:
    if kind in ("pieces", "pieces_as_they_are"):
        return piece_tokenizer({**WORDS, **{word.replace("▁", " "): -1.0 for word in ODD}}, prefix=kind == "pieces",
                               bos=1 if kind == "pieces" else None)
    if kind.startswith("sentencepiece"):
        return SentencePieceTokenizer(trained(kind.removeprefix("sentencepiece_")))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = dict.fromkeys([*ODD, *letters, *[f"<0x{byte:02X}>" for byte in range(256)]])
    library = Library(models.BPE({word: number for number, word in enumerate(words)}, []))
    library.add_special_tokens([AddedToken("<s>", special=True), AddedToken("<é>", special=True)])
    library.add_tokens([AddedToken(word, normalized=False) for word in ("<tool>", "a b", "日")])
    if DECODERS[kind] is not None:
        library.decoder = DECODERS[kind]
    return JsonTokenizer(HERE, library, None)


@cache
def trained(kind: str) -> Path:
    """A tokenizer.model with bytes, and with symbols that a user has defined."""
    import sentencepiece

    folder = Path(FOLDER.name) / kind
    folder.mkdir()
    (folder / "text").write_text("a cat sat on a mat\nthe cat ate the rat 😀!\n" * 50)
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False} if kind == "llama" else {}
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "tokenizer"), vocab_size=305, byte_fallback=True, minloglevel=2,
        model_type="unigram" if kind == "unigram" else "bpe", hard_vocab_limit=False, control_symbols=["<end>"],
        user_defined_symbols=["<|im_start|>", "<|im_end|>", "<|im_", "\ufffd", "▁▁"], **plain)
    return folder / "tokenizer.model"


FOLDER = TemporaryDirectory()
KINDS = ["pieces", "pieces_as_they_are", *DECODERS, "sentencepiece_llama", "sentencepiece_bpe", "sentencepiece_unigram"]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_tokens_stream_as_they_decode_at_once(kind: str, data: st.DataObject) -> None:
    """And what has come is never taken back: it is the beginning of the whole."""
    tokenizer = odd_tokenizer(kind)
    tokens = data.draw(st.lists(st.integers(0, tokenizer.size - 1) | st.integers(0, 30), max_size=14))
    said, whole = stream(tokenizer, tokens), tokenizer.decode(tokens)
    assert "".join(said) == whole


@given(st.lists(st.sampled_from(["\ufffd", "😀", "!", b"\xf0", b"\x9f", b"\x98", b"\x80", b"\xc3", b"A"]), max_size=12))
@settings(deadline=None)
def test_bytes_beside_replacement_characters(parts: list[str | bytes]) -> None:
    """What is spelt in bytes is never lost behind U+FFFD or a stray byte, for each kind of tokenizer that has bytes."""
    pieces = odd_tokenizer("pieces")
    assert isinstance(pieces, PieceTokenizer)
    tokens = [1, *[3 + part[0] if isinstance(part, bytes) else pieces._ids[part.encode()] for part in parts]]
    data = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    assert "".join(stream(pieces, tokens)) == data.decode("utf-8", "replace")
    for kind in ("bytes", "llama", "gemma"):
        library = odd_tokenizer(kind)
        assert isinstance(library, JsonTokenizer)
        names = [f"<0x{part[0]:02X}>" if isinstance(part, bytes) else part for part in parts]
        tokens = [token for name in names if (token := library._tokenizer.token_to_id(name)) is not None]
        assert "".join(stream(library, tokens)) == library.decode(tokens)


def test_a_long_text_of_bytes_streams_in_time_that_grows_with_it() -> None:
    for kind in ("pieces", "bytes", "llama", "sentencepiece_llama"):
        tokenizer = odd_tokenizer(kind)
        tokens = [3 + byte for byte in "日本語".encode() * 4000] if kind == "pieces" else [5, 7] * 18_000
        began = time.process_time()
        assert "".join(stream(tokenizer, tokens)) == tokenizer.decode(tokens)
        assert time.process_time() - began < 10, kind


def test_control_tokens_have_no_text() -> None:
    assert piece_tokenizer(WORDS).decode([1, 259 + 1, 2, 1]) == "a"


# ------------------------------------------------------------------------------------------------ libraries


def byte_level() -> JsonTokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = Library(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    return JsonTokenizer(HERE, library, None)


def test_tokenizer_json(tmp_path: Path) -> None:
    library = Library(models.WordLevel({"[UNK]": 0, "a": 1, "b": 5}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = JsonTokenizer.from_file(tmp_path / "tokenizer.json", 1)
    assert tokenizer.size == 6 and tokenizer.encode("a b a") == [1, 5, 1]
    with pytest.raises(ModelError, match=r"prompt: 'x' \(U\+0078, character 3\) has no token"):
        tokenizer.encode("a x")


def test_tokenizer_json_with_a_byte_order_mark_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"tok\xff.json")
    path.write_bytes(codecs.BOM_UTF8 + Library(models.WordLevel({"a": 0}, unk_token="a")).to_str().encode())
    assert JsonTokenizer.from_file(path, None).encode("a") == [0]


def test_a_text_is_whole_whatever_the_file_says_of_length(tmp_path: Path) -> None:
    """As in transformers: what a tokenizer.json has of truncation and padding is left from training."""
    library = Library(models.WordLevel({"a": 0, "b": 1, "[PAD]": 2}))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.enable_truncation(3)
    library.enable_padding(length=8, pad_id=2)
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = JsonTokenizer.from_file(tmp_path / "tokenizer.json", None)
    assert tokenizer.encode("a b a b a") == [0, 1, 0, 1, 0] and tokenizer.encode("a") == [0]


def test_no_tokenizer_json(tmp_path: Path) -> None:
    for text in ("", "{}", "\xff", '{"model": 3}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(ModelError, match=r"tokenizer.json: error: not a tokenizer: .*; expected a tokenizer.json"):
            JsonTokenizer.from_file(tmp_path / "tokenizer.json", None)


def test_half_a_surrogate_pair() -> None:
    with pytest.raises(ModelError, match=r"character 2 is half a surrogate pair, U\+D83E; expected Unicode text"):
        byte_level().encode("a\ud83e")


def test_sentencepiece(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "text").write_text("a cat sat on a mat\nthe cat ate the rat\n" * 50)
    sentencepiece.SentencePieceTrainer.train(input=str(tmp_path / "text"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=24,
                                             model_type="bpe", minloglevel=2, hard_vocab_limit=False)
    tokenizer = SentencePieceTokenizer(tmp_path / "tokenizer.model")
    assert tokenizer.bos == 1 and tokenizer.encode("the cat")[0] == 1
    assert SentencePieceTokenizer(tmp_path / "tokenizer.model", add_bos=False).encode("the cat") == tokenizer.encode("the cat")[1:]
    tokens = tokenizer.encode("the cat sat")
    assert "".join(stream(tokenizer, tokens)) == "the cat sat" == tokenizer.decode(tokens)
    with pytest.raises(ModelError, match=r"'✓' \(U\+2713, character 5\) has no token"):
        tokenizer.encode("the ✓")
    # the same pieces and scores, merged here
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    size = processor.vocab_size()
    kinds = [PieceKind.UNKNOWN if i == 0 else PieceKind.CONTROL if processor.is_control(i) else PieceKind.NORMAL
             for i in range(size)]
    ours = PieceTokenizer(HERE, [processor.id_to_piece(i).replace("▁", " ").encode() for i in range(size)],
                          [processor.get_score(i) for i in range(size)], kinds, 1)
    for text in ("the cat sat on the mat", "a", "rat tar tat", "ttt hhh eee"):
        assert ours.encode(text) == tokenizer.encode(text)


MARKED = st.lists(st.sampled_from(["<|im_start|>", "<|im_end|>", "<|im_", "im_start", "▁", " ", "a", "the cat", "\n", "😀", "<end>",
                                   "<s>", "\ufffd", "|>", "é"]), max_size=9).map("".join)


@pytest.mark.parametrize("file", ["gguf", "llama2.c"])
@given(text=MARKED)
@settings(deadline=None)
def test_user_defined_pieces_and_spaces_as_sentencepiece_has_them(file: str, text: str) -> None:
    """The pieces of a tokenizer.model as the two kinds of files have them: the same tokens, and U+2581 is a space.

    A llama2.c file does not say which pieces are control symbols: their text is found whole, too.
    """
    text = text.replace("<end>", "") if file == "llama2.c" else text
    theirs = odd_tokenizer("sentencepiece_llama")
    assert isinstance(theirs, SentencePieceTokenizer)
    ours = copied(file)
    assert ours.encode(text) == (theirs.encode(text) if text else [1])
    assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))


@cache
def copied(file: str) -> PieceTokenizer:
    """The trained pieces from a llama2.c tokenizer file, or as a GGUF has them."""
    theirs = odd_tokenizer("sentencepiece_llama")
    assert isinstance(theirs, SentencePieceTokenizer)
    p = theirs._processor
    texts, scores = [p.id_to_piece(i) for i in range(theirs.size)], [p.get_score(i) for i in range(theirs.size)]
    if file == "llama2.c":
        names = [{1: "\n<s>\n", 2: "\n</s>\n"}.get(i, text).replace("▁", " ").encode() for i, text in enumerate(texts)]
        path = Path(FOLDER.name) / "tokenizer.bin"
        path.write_bytes(struct.pack("<i", max(map(len, names))) + b"".join(
            struct.pack("<fi", score, len(name)) + name for score, name in zip(scores, names, strict=True)))
        return llama2c.load_tokenizer(path)
    defined = ("<|im_start|>", "<|im_end|>", "<|im_", "\ufffd", "▁▁")
    kinds = [2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 4 if text in defined else 1
             for i, text in enumerate(texts)]
    made = read_tokenizer(HERE, {"model": "llama", "tokens": texts, "scores": scores, "token_type": kinds, "bos_token_id": 1})
    assert isinstance(made, PieceTokenizer)
    return made


def test_chat_markup_is_whole() -> None:
    markup = "<|im_start|>the cat<|im_end|>"
    for file in ("gguf", "llama2.c"):
        tokens = copied(file).encode(markup)
        assert [copied(file).pieces[token] for token in (tokens[2], tokens[-1])] == [b"<|im_start|>", b"<|im_end|>"]
    assert copied("gguf").encode("a▁cat") == copied("gguf").encode("a cat")


def test_what_a_user_has_defined_merges_with_nothing() -> None:
    """Although the union is a piece, of the best score, on either side; a part of it alone is not found whole."""
    pieces = [("<unk>", 0.0, PieceKind.UNKNOWN), ("<s>", 0.0, PieceKind.CONTROL), ("</s>", 0.0, PieceKind.CONTROL)]
    pieces += [(piece, -9.0, PieceKind.NORMAL) for piece in (" ", "a", "b", "c")] + [("ab", 0.0, PieceKind.USER_DEFINED)]
    pieces += [(piece, -0.5, PieceKind.NORMAL) for piece in ("abc", "cab", " ab", "bc")]
    texts, scores, kinds = zip(*pieces, strict=True)
    tokenizer = PieceTokenizer(HERE, [text.encode() for text in texts], scores, kinds, 1)
    for text, expected in (("abc", [" ", "ab", "c"]), ("cab", [" ", "c", "ab"]), ("abab", [" ", "ab", "ab"]), ("bc", [" ", "bc"])):
        assert [texts[token] for token in tokenizer.encode(text)[1:]] == expected


def test_no_sentencepiece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ModelError, match=r"sentencepiece is not installed\nhint: pip install '\.\[sentencepiece\]'"):
        SentencePieceTokenizer(tmp_path / "tokenizer.model")


def test_not_sentencepieces_file(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "tokenizer.model").write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=r"not a SentencePiece model: .*; expected a tokenizer.model"):
        SentencePieceTokenizer(tmp_path / "tokenizer.model")
