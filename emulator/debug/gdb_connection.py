"""One client of the gdb server: packets in, packets out, and what it says while the program runs.

Whatever a client sends, the worst that happens is Gone: it has left, or what it sends is not gdb's protocol.
"""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from emulator.debug.gdb_packets import LARGEST, Event, Kind, PacketReader, frame

_MOST_BAD = 10              # packets with wrong checksums, or requests to repeat, in a row
_MOST_GARBAGE = 1 << 16     # bytes outside packets
_MOST_WAITING = 1000        # packets that were sent without waiting for an answer


class Gone(Exception):
    """The client is no longer there, or is no gdb: why."""


class Connection:
    """A client on a socket. `acknowledge` is false once it has asked for no acknowledgements."""

    def __init__(self, client: socket.socket, say: Callable[[str], None]) -> None:
        self.acknowledge = True
        self._socket, self._say = client, say
        self._reader = PacketReader()
        self._events: deque[Event] = deque()
        self._last = b""
        self._bad = self._garbage = 0
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # ---------------------------------------------------------------------------------------------- the program stands

    def packet(self) -> bytes:
        """The payload of the next packet. Raises Gone."""
        while True:
            while self._events:
                payload = self._take(self._events.popleft())
                if payload is not None:
                    return payload
            self._receive()

    def _take(self, event: Event) -> bytes | None:
        """Answer what is no packet; the payload of one that is. A request to stop means nothing while the program stands."""
        if event.kind is Kind.PACKET or (event.kind is Kind.BAD_CHECKSUM and not self.acknowledge):
            self._bad = 0                       # without acknowledgements the checksum means nothing
            self._acknowledge(b"+")
            return event.payload
        if event.kind in (Kind.BAD_CHECKSUM, Kind.REPEAT):
            self._bad += 1
            if self._bad > _MOST_BAD:
                raise Gone(f"{_MOST_BAD} packets in a row were damaged")
            self._write(b"-" if event.kind is Kind.BAD_CHECKSUM else self._last)
        elif event.kind is Kind.TOO_LONG:
            self._say(f"gdb sent a packet of more than {LARGEST} bytes; it was refused")
            self._acknowledge(b"+")
            self.send(b"E.packet too long")
        return None

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except OSError as error:
            raise Gone(error.strerror or str(error)) from None
        if not data:
            raise Gone("the connection was closed")
        for event in self._reader.feed(data):
            if event.kind is Kind.GARBAGE:
                self._garbage += 1
                if self._garbage == 1:
                    self._say("gdb sent bytes that belong to no packet; they are ignored")
                if self._garbage > _MOST_GARBAGE:
                    raise Gone("what it sends is not gdb's protocol")
            elif event.kind is not Kind.ACKNOWLEDGED:
                self._events.append(event)
        if len(self._events) > _MOST_WAITING:
            raise Gone("it sends packets without waiting for answers")

    def send(self, payload: bytes) -> None:
        """Send a packet. Raises Gone."""
        self._last = frame(payload)
        self._write(self._last)

    def console(self, text: str) -> None:
        """Have gdb print some text. Only between a packet that asks for it (monitor, continue) and its answer."""
        data = text.encode().hex().encode()
        for start in range(0, len(data), LARGEST - 2):
            self.send(b"O" + data[start:start + LARGEST - 2])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _acknowledge(self, sign: bytes) -> None:
        if self.acknowledge:
            self._write(sign)

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Gone(error.strerror or str(error)) from None

    # ---------------------------------------------------------------------------------------------- the program runs

    @contextmanager
    def listening(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the block runs, call `stop` when the client asks for it or goes away, again and again until the block ends: a
        request in the moment in which the program starts must not get lost. Raises Gone at the end if the client has gone.
        """
        end, wake = socket.socketpair()
        gone: list[Gone] = []

        def listen() -> None:
            watched, asked = [self._socket, end], False
            while True:
                asked = asked or bool(gone) or any(event.kind is Kind.INTERRUPT for event in self._events)
                if asked:
                    stop()
                ready, _, _ = select.select(watched, [], [], 0.02 if asked else None)
                if end in ready:
                    return
                if ready:
                    try:
                        self._receive()
                    except Gone as reason:
                        gone.append(reason)
                        watched.remove(self._socket)

        thread = threading.Thread(target=listen, name="gdb", daemon=True)
        thread.start()
        try:
            yield
        finally:
            wake.send(b"\0")
            thread.join()
            for pipe in (end, wake):
                with suppress(OSError):
                    pipe.close()
        if gone:
            raise gone[0]
