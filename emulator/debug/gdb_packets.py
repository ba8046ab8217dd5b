"""The framing of gdb's remote serial protocol: bytes to packets and back.

A packet is `$` payload `#` and two hex digits, the sum of the payload's bytes modulo 256. Outside packets stand `+` and `-`
(received, not received) and 0x03 (stop the program). Binary data escapes `$ # } *` as `}` and the byte xor 0x20.

Source: Debugging with GDB, appendix "GDB Remote Serial Protocol", sections "Overview", "Packet Acknowledgment", "Interrupts".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

LARGEST = 0x4000            # bytes of the longest payload, in both directions; gdb is told

_DOLLAR, _HASH, _ESCAPE, _STAR = b"$#}*"
_INTERRUPT = 0x03


class Arrival(Enum):
    """The kinds of events in the stream."""

    PACKET = auto()
    ACKNOWLEDGED = auto()       # +
    REPEAT = auto()             # -: the last packet was not received
    INTERRUPT = auto()          # 0x03
    BAD_CHECKSUM = auto()
    TOO_LONG = auto()
    GARBAGE = auto()            # a byte that belongs to no packet


@dataclass(frozen=True)
class Event:
    """One event of the stream. `payload` is that of a packet, with its escapes."""

    kind: Arrival
    payload: bytes = b""


class PacketReader:
    """Cuts a stream of bytes into events, in whatever parts it arrives. It never raises, and keeps at most LARGEST bytes."""

    def __init__(self) -> None:
        self._payload: bytearray | None = None      # of the packet that is being read
        self._digits: bytearray | None = None       # of its checksum
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that these bytes complete."""
        for byte in data:
            event = self._outside(byte) if self._payload is None else self._inside(byte)
            if event is not None:
                yield event

    def _outside(self, byte: int) -> Event | None:
        if byte == _DOLLAR:
            self._payload, self._digits, self._too_long = bytearray(), None, False
            return None
        return Event({0x2B: Arrival.ACKNOWLEDGED, 0x2D: Arrival.REPEAT, _INTERRUPT: Arrival.INTERRUPT}.get(byte, Arrival.GARBAGE))

    def _inside(self, byte: int) -> Event | None:
        assert self._payload is not None
        if byte == _DOLLAR:                 # the sender has started again: a `$` in data would be escaped
            self._payload, self._digits, self._too_long = bytearray(), None, False
        elif self._digits is not None:
            self._digits.append(byte)
            if len(self._digits) == 2:
                return self._end()
        elif byte == _HASH:
            self._digits = bytearray()
        elif len(self._payload) < LARGEST:
            self._payload.append(byte)
        else:
            self._too_long = True
        return None

    def _end(self) -> Event:
        assert self._payload is not None and self._digits is not None
        payload, digits, self._payload = bytes(self._payload), bytes(self._digits), None
        if self._too_long:
            return Event(Arrival.TOO_LONG)
        if digits.lower() != checksum(payload):
            return Event(Arrival.BAD_CHECKSUM, payload)
        return Event(Arrival.PACKET, payload)


def checksum(payload: bytes) -> bytes:
    """Two hex digits."""
    return b"%02x" % (sum(payload) % 256)


def frame(payload: bytes) -> bytes:
    """A payload as a packet. The caller has escaped it."""
    return b"$" + payload + b"#" + checksum(payload)


def escape(data: bytes) -> bytes:
    """Binary data, escaped for a payload."""
    out = bytearray()
    for byte in data:
        out += bytes((_ESCAPE, byte ^ 0x20)) if byte in (_DOLLAR, _HASH, _ESCAPE, _STAR) else bytes((byte,))
    return bytes(out)


def unescape(data: bytes) -> bytes:
    """The reverse of `escape`. An escape at the very end is dropped."""
    out, escaped = bytearray(), False
    for byte in data:
        if escaped:
            out.append(byte ^ 0x20)
        elif byte != _ESCAPE:
            out.append(byte)
        escaped = byte == _ESCAPE and not escaped
    return bytes(out)
