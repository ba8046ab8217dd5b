"""gdb's side of a connection, without gdb: what tests send to the gdb server, and what they wait for, with a deadline."""

from __future__ import annotations

import re
import socket

from children import LIMIT

from emulator.debug.gdb_packets import Arrival, Event, PacketReader, frame


class GdbClient:
    """A connection to the server on a port of this host. Raises TimeoutError where nothing comes in time, EOFError at its end."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self.reader, self.events, self.console = PacketReader(), [], ""

    def event(self) -> Event:
        while not self.events:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self.events += self.reader.feed(data)
        return self.events.pop(0)

    def answer(self) -> str:
        """The next packet that is no console text."""
        while True:
            event = self.event()
            assert event.kind in (Arrival.PACKET, Arrival.ACKNOWLEDGED), event
            if event.kind is Arrival.PACKET:
                self.socket.sendall(b"+")
                text = event.payload.decode("latin-1")
                if not re.fullmatch(r"O([0-9a-f]{2})+", text):
                    return text
                self.console += bytes.fromhex(text[1:]).decode()

    def send(self, packet: str | bytes) -> None:
        self.socket.sendall(frame(packet.encode() if isinstance(packet, str) else packet))

    def interrupt(self) -> None:
        """Ask for a stop."""
        self.socket.sendall(b"\x03")

    def ask(self, packet: str | bytes) -> str:
        self.send(packet)
        return self.answer()

    def monitor(self, command: str) -> str:
        self.console = ""
        assert self.ask(f"qRcmd,{command.encode().hex()}") == "OK"
        return self.console

    def pc(self) -> int:
        return int.from_bytes(bytes.fromhex(self.ask("p20")), "little")
