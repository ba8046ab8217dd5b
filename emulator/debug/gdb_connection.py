"""One client of the gdb server: its packets, the answers, and its requests while the program runs.

Whatever a client sends, the worst that happens is Gone: the client has left, or does not speak gdb's protocol. A second client is
told that there is one already, and sent away.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from emulator.debug.gdb_packets import LARGEST, Arrival, Event, PacketReader, frame
from isa.text import printable

_MOST_BAD = 10              # packets with wrong checksums, or requests to repeat, in a row
_MOST_GARBAGE = 1 << 16     # bytes outside packets
_MOST_WAITING = 1000        # packets that were sent without waiting for an answer
_MOST_REFUSED = 8           # second clients at a time that are told why; more of them are disconnected at once
_PATIENCE = 30.0            # seconds in which a client must take what it is sent
_REFUSAL = 5.0              # seconds in which a refused client must send its first packet, which is answered


class Gone(Exception):
    """The client has left, or is not gdb. The message says why."""


class Connection:
    """A client on a socket. `acknowledge` is false when it has asked for no acknowledgements.

    `listener` is where other clients come. `interrupt` is called when the client asks for a stop, and when it leaves while the
    program runs.
    """

    def __init__(self, client: socket.socket, listener: socket.socket, say: Callable[[str], None],
                 interrupt: Callable[[], None]) -> None:
        self.acknowledge = True
        self.refusal = "another gdb is connected"
        self._socket, self._listener, self._say, self._interrupt = client, listener, say, interrupt
        self._reader = PacketReader()
        self._events: deque[Event] = deque()
        self._last = b""
        self._bad = self._garbage = 0
        self._refused = threading.Semaphore(_MOST_REFUSED)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(_PATIENCE)
        self._selector = selectors.DefaultSelector()            # not select: it fails for file numbers from 1,024 on
        listener.setblocking(False)
        for one in (client, listener):
            self._selector.register(one, selectors.EVENT_READ)

    # ---------------------------------------------------------------------------------------------- the program stands

    def packet(self) -> bytes:
        """The payload of the next packet. Raises Gone."""
        while True:
            while self._events:
                payload = self._take(self._events.popleft())
                if payload is not None:
                    return payload
            self._attend()

    def _take(self, event: Event) -> bytes | None:
        """The payload of a packet; None for anything else, which is answered here."""
        if event.kind is Arrival.PACKET or (event.kind is Arrival.BAD_CHECKSUM and not self.acknowledge):
            self._bad = 0                       # without acknowledgements the checksum means nothing
            self._acknowledge(b"+")
            return event.payload
        if event.kind in (Arrival.BAD_CHECKSUM, Arrival.REPEAT):
            self._bad += 1
            if self._bad > _MOST_BAD:
                raise Gone(f"{_MOST_BAD} packets in a row were damaged")
            self._write(b"-" if event.kind is Arrival.BAD_CHECKSUM else self._last)
        elif event.kind is Arrival.TOO_LONG:
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
            if event.kind is Arrival.GARBAGE:
                self._garbage += 1
                if self._garbage == 1:
                    self._say("gdb sent bytes outside of a packet; they are ignored")
                if self._garbage > _MOST_GARBAGE:
                    raise Gone("it does not use gdb's protocol")
            elif event.kind is Arrival.INTERRUPT:              # also while the program stands still: the next resume reports it
                self._interrupt()
            elif event.kind is not Arrival.ACKNOWLEDGED:
                self._events.append(event)
        if len(self._events) > _MOST_WAITING:
            raise Gone("it sends packets without waiting for answers")

    def send(self, payload: bytes) -> None:
        """Send a packet. Raises Gone."""
        self._last = frame(payload)
        self._write(self._last)

    def console(self, text: str) -> None:
        """Have gdb print some text, without control characters. Only between a packet that allows it (monitor, continue) and its
        answer.
        """
        data = printable(text, keep="\n\t").encode().hex().encode()
        for start in range(0, len(data), LARGEST - 2):
            self.send(b"O" + data[start:start + LARGEST - 2])

    def hang_up(self, refusal: str) -> None:
        """Disconnect the client. The clients that come from now on are told `refusal`."""
        self.refusal = refusal
        self._selector.unregister(self._socket)
        self._socket.close()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
        self._selector.close()

    def _acknowledge(self, sign: bytes) -> None:
        if self.acknowledge:
            self._write(sign)

    def _write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Gone(error.strerror or str(error)) from None

    # ---------------------------------------------------------------------------------------------- waiting

    def _attend(self) -> bool:
        """Wait for the client, for another one, or for the end of a block `listening`, which returns False. Raises Gone."""
        ready = [key.fileobj for key, _ in self._selector.select()]
        if self._socket in ready:                               # before others: if it has left, another one may be the next client
            self._receive()
        elif self._listener in ready:
            self._refuse()
        return not any(one not in (self._socket, self._listener) for one in ready)

    def _refuse(self) -> None:
        """Tell another client why it is not served. gdb reads only answers, so its first packet is waited for."""
        def answer() -> None:
            with self._refused, other, suppress(OSError):
                other.settimeout(_REFUSAL)
                other.recv(1 << 16)
                other.sendall(b"+" + frame(f"E.slimulator: {self.refusal}".encode()))
                other.shutdown(socket.SHUT_WR)
                while other.recv(1 << 16):                      # disconnected at once, it might not read the answer
                    pass

        try:
            other, _ = self._listener.accept()
        except OSError:                                         # it has left already
            return
        if self._refused.acquire(blocking=False):
            self._refused.release()
            threading.Thread(target=answer, name="gdb, refused", daemon=True).start()
        else:
            other.close()
        self._say(f"another client was refused: {self.refusal}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the client while the block runs: it may ask for a stop, or leave. Raises Gone at the end if it has left."""
        end, wake = socket.socketpair()
        gone: list[Gone] = []

        def listen() -> None:
            try:
                while self._attend():
                    pass
            except Gone as reason:
                gone.append(reason)
                self._interrupt()

        self._selector.register(end, selectors.EVENT_READ)
        thread = threading.Thread(target=listen, name="gdb", daemon=True)
        thread.start()
        try:
            yield
        finally:
            wake.send(b"\0")
            thread.join()
            self._selector.unregister(end)
            for pipe in (end, wake):
                with suppress(OSError):
                    pipe.close()
        if gone:
            raise gone[0]
