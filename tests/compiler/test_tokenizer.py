"""One face for every kind of tokenizer: merging by score, text back from tokens, streams, and what cannot be encoded."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers

from compiler.errors import ModelError
from compiler.tokenizer import JsonTokenizer, Piece, PieceTokenizer, SentencePieceTokenizer, Stream, Tokenizer

HERE = Path("tokenizer")


def piece_tokenizer(words: dict[str, float], *, with_bytes: bool = True, bos: int | None = 1,
                    prefix: bool = True) -> PieceTokenizer:
    pieces = [(b"<unk>", 0.0, Piece.UNKNOWN), (b"<s>", 0.0, Piece.CONTROL), (b"</s>", 0.0, Piece.CONTROL)]
    pieces += [(f"<0x{byte:02X}>".encode(), 0.0, Piece.BYTE) for byte in range(256)] if with_bytes else []
    pieces += [(word.encode(), score, Piece.NORMAL) for word, score in words.items()]
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


def stream(tokenizer: Tokenizer, text: str) -> list[str]:
    tokens = tokenizer.encode(text)
    prompt = tokens[:1] if tokenizer.bos is not None else []
    made = Stream(tokenizer, prompt)
    return [*[made.push(token) for token in tokens[len(prompt):]], made.end()]


@given(st.text(alphabet="ab é✓🦊", max_size=12))
def test_a_stream_is_the_text(text: str) -> None:
    assert "".join(stream(piece_tokenizer(WORDS), text)) == text
    assert "".join(stream(byte_level(), text)) == text


def test_a_character_comes_when_it_is_whole() -> None:
    assert stream(piece_tokenizer(WORDS), "a🦊b") == ["a", "", "", "", "🦊", "b", ""]


def test_bytes_that_are_no_text_come_out_all_the_same() -> None:
    tokenizer = piece_tokenizer(WORDS)
    made = Stream(tokenizer, [1])
    pieces = [made.push(3 + byte) for byte in b"\xff\xff\xff\xff\xffA"]
    assert "".join(pieces) + made.end() == "\ufffd" * 5 + "A"
    assert "".join(pieces)


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
    assert "".join(stream(tokenizer, "the cat sat")) == "the cat sat" == tokenizer.decode(tokenizer.encode("the cat sat"))
    with pytest.raises(ModelError, match=r"'✓' \(U\+2713, character 5\) has no token"):
        tokenizer.encode("the ✓")
    # the same pieces and scores, merged here
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    size = processor.vocab_size()
    kinds = [Piece.UNKNOWN if i == 0 else Piece.CONTROL if processor.is_control(i) else Piece.NORMAL for i in range(size)]
    ours = PieceTokenizer(HERE, [processor.id_to_piece(i).replace("▁", " ").encode() for i in range(size)],
                          [processor.get_score(i) for i in range(size)], kinds, 1)
    for text in ("the cat sat on the mat", "a", "rat tar tat", "ttt hhh eee"):
        assert ours.encode(text) == tokenizer.encode(text)


def test_no_sentencepiece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ModelError, match=r"sentencepiece is not installed\nhint: pip install 'slimulator\[sentencepiece\]'"):
        SentencePieceTokenizer(tmp_path / "tokenizer.model")


def test_not_sentencepieces_file(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    (tmp_path / "tokenizer.model").write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=r"not a SentencePiece model: .*; expected a tokenizer.model"):
        SentencePieceTokenizer(tmp_path / "tokenizer.model")
