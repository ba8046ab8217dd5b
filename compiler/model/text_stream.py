"""Text of tokens as they come. What is pushed together with the end is the text of all tokens, as decoding them at once gives it.

    ByteStream      each token stands for bytes, always the same ones: a character comes with its last byte
    WindowStream    a token's text may depend on its neighbours: it comes when nothing that follows can change it
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence


class Stream(ABC):
    """`push` returns what has become certain by a token, `end` the rest."""

    @abstractmethod
    def push(self, token: int) -> str: ...

    @abstractmethod
    def end(self) -> str: ...


class ByteStream(Stream):
    """`bytes_of` gives the bytes of a token; bytes that are not UTF-8 become U+FFFD.

    strips  whether a text that begins with this token loses the space at its beginning
    """

    def __init__(self, bytes_of: Callable[[int], bytes], strips: Callable[[int], bool] = lambda token: False) -> None:
        self._bytes_of, self._strips = bytes_of, strips
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip: bool | None = None         # None: no token has come yet

    def push(self, token: int) -> str:
        data = self._bytes_of(token)
        if self._strip is None:
            self._strip = self._strips(token)
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        return self._utf8.decode(data)

    def end(self) -> str:
        return self._utf8.decode(b"", final=True)


class WindowStream(Stream):
    """`decode` gives the text of tokens.

    settled  whether the text up to this token stays what it is, and what follows depends on no token before this one.
             It is not so for a byte, which counts together with the bytes beside it, and for a token without a text of its own,
             such as a control token, or a space that is dropped at the beginning: these come together with the next token.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], settled: Callable[[int], bool]) -> None:
        self._decode, self._settled = decode, settled
        self._tokens: list[int] = []            # from the last settled one on
        self._said = ""                         # its text

    def push(self, token: int) -> str:
        self._tokens.append(token)
        if not self._settled(token):
            return ""
        text = self.end()
        self._tokens, self._said = [token], self._decode([token])
        return text

    def end(self) -> str:
        return self._decode(self._tokens)[len(self._said):]
