"""What the instructions of the pim unit count, told from what they moved and from a second book about rows and micro-programs.

`Banks` follows a run from its start. Bytes in the banks are those that the run really read and wrote there; an instruction's own
operands in memory come before them and are left to the equations of the regions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from isa.instruction import TABLE
from isa.preset import Preset

Reads = list[tuple[str, int, int]]              # (region, address, bytes)
Writes = list[tuple[str, int, np.ndarray]]      # (region, address, what was written)

REGISTERS = ("pim.wr.crf", "pim.wr.grf_a", "pim.wr.grf_b", "pim.wr.srf")
READ_BANKS = ("pim.rd_sbk", "pim.copy_bkgb", "pim.mac_", "pim.ewmul")                      # beginnings of mnemonics
WRITE_BANKS = ("pim.wr_sbk", "pim.wr_abk", "pim.copy_gbbk", "pim.ewmul")
MACRO_FORMS = ("pim.rd_sbk", "pim.copy_", "pim.mac_", "pim.ewmul", "pim.wr_sbk", "pim.wr_abk")


def _size(moved: Reads | Writes) -> int:
    """Bytes of some accesses."""
    return sum(part if isinstance(part, int) else len(part) for _, _, part in moved)


@dataclass
class MicroProgram:
    """A channel's CRF and where it stands in it, followed in the plainest way."""

    words: list[int] = field(default_factory=lambda: [0] * 32)
    at: int = 0
    left: int = 0                                           # commands that the entry at `at` still takes; 0: it has not begun
    taken: Counter[int] = field(default_factory=Counter)    # of the JUMP at each entry

    def step(self) -> int:
        """The opcode that a column command executes."""
        while self.words[self.at] >> 28 == 14:
            count, offset = self.words[self.at] >> 11 & 0x1FFFF, self.words[self.at] & 0x7FF
            if self.taken[self.at] < count:
                self.taken[self.at] += 1
                self.at -= offset - 1
            else:
                self.taken[self.at] = 0
                self.at += 1
        word = self.words[self.at]
        opcode = word >> 28
        self.left = self.left or ((word & 0x7FF) + 1 if opcode == 0 else 8 if opcode == 9 or word >> 15 & 1 else 1)
        self.left -= 1
        self.at += self.left == 0
        return opcode


@dataclass
class Banks:
    """Open rows by (channel, bank), as far as any is open; micro-programs by channel. `peek` reads memory."""

    preset: Preset
    peek: Callable[[int, int], np.ndarray]
    rows: dict[tuple[int, int], int] = field(default_factory=dict)
    programs: defaultdict[int, MicroProgram] = field(default_factory=lambda: defaultdict(MicroProgram))

    def events(self, name: str, values: dict[str, int], csrs: dict[str, int], reads: Reads, writes: Writes) -> Counter[str]:
        """What a retired instruction has counted, without pim.ops. Takes the accesses of banks out of `reads` and `writes`."""
        organisation = self.preset.banks
        assert organisation is not None
        mask = sum(csrs["pim.channel_mask" + (str(word) if word else "")] << 64 * word for word in range(4))
        channels = [channel for channel in range(organisation.channels) if mask >> channel & 1]
        banks, per_group = organisation.banks, organisation.banks // organisation.bank_groups
        n, form = values.get("opsize", 1), name.rpartition(".")[2]
        chosen = [values["bank"]] if "bank" in values else range(values.get("parity", 0), banks, banks // organisation.blocks
                                                                 if "parity" in values else 1)
        if name.startswith("pim.ewmul"):
            chosen = [bank for bank in chosen if bank % per_group < 3 and csrs["pim.group_mask"] >> bank // per_group & 1]
        pairs = name.startswith("pim.mac_") and csrs["pim.next_bank"]
        done: Counter[str] = Counter()
        if name.startswith(MACRO_FORMS):
            opened = {(bank + more) % banks for bank in chosen for more in range(1 + pairs)}
            self.open(done, channels, sorted(opened), values["row"])
        if name.startswith("pim.act"):
            self.rows |= {(channel, bank): values["row"] for channel in channels for bank in chosen}
            done += Counter(activations=len(channels) * len(chosen), any_opening=1)
        if name.startswith("pim.pre"):
            done["precharges"] = sum(self.rows.pop((channel, bank), None) is not None for channel in channels for bank in chosen)

        if not name.startswith(("pim.act", "pim.pre")) and not TABLE[name].meaning.__module__.endswith(".macros"):
            done += self.commands(name, values, channels, organisation.blocks, reads, writes)
        read = written = 0
        if name.startswith(READ_BANKS):
            read = sum(size for _, _, size in reads)
            reads.clear()
        if name.startswith(WRITE_BANKS):
            written = sum(len(data) for _, _, data in writes)
            writes.clear()
        outside = sum(size for _, _, size in reads) + sum(len(data) for _, _, data in writes)
        done += Counter(columns_read=read // 32, columns_written=written // 32)
        if name.startswith(("pim.copy_", "pim.mac_", "pim.ewmul")):
            done["bytes_stayed"] = read + written
        if name.startswith("pim.mac_"):
            assert pairs or read == 32 * n * len(chosen) * len(channels)
            done["macs"] = n * len(chosen) * len(channels) * (32 if form == "i8" else 16)
        if name.startswith(("pim.mac_", "pim.ewmul")):
            done["compute_commands"] = n * len(channels)
        if name.startswith("pim.copy_"):
            done["read_commands" if "bk" in name[:11] else "write_commands"] = n * len(channels)
        if name.startswith("pim.ewmul"):
            done["elements"] = written // 2
        if name.startswith("pim.ewadd"):
            done["elements"] = n * 16
        if name.startswith("pim.af."):
            done += Counter(compute_commands=len(channels), elements=len(channels) * banks)
        if name.startswith(("pim.wr_sbk", "pim.wr_abk", "pim.wr_gb")):
            done += Counter(write_commands=n * len(channels), bytes_entered=outside * len(channels))
        if name.startswith(("pim.wr_gb", "pim.wr_abk")):
            done["broadcasts"] = n * len(channels)
        if name.startswith("pim.wr_aflut"):
            bursts = outside // 32 * organisation.channels
            done += Counter(write_commands=bursts, broadcasts=bursts, bytes_entered=outside * organisation.channels)
        if name.startswith("pim.wr_bias"):
            done += Counter(accumulators_set=len(channels) * banks, bytes_entered=outside,
                            write_commands=len(channels) * -(-outside // len(channels) // 32))
        if name.startswith(("pim.rd_mac", "pim.rd_af")):
            done["readouts"] = len(channels) * banks
        if name.startswith(("pim.rd_mac", "pim.rd_af", "pim.rd_sbk")):
            done += Counter(bytes_left=outside, read_commands=len(channels) * -(-outside // len(channels) // 32))
        working = organisation.channels if name.startswith("pim.wr_aflut") else max(len(channels), 1)      # pim.ewadd needs none
        done["slots"], rest = divmod(sum(done[f"{kind}_commands"] for kind in ("read", "write", "compute")), working)
        assert rest == 0, "a channel has got more than another one"
        return Counter({f"pim.{event}": count for event, count in done.items()})

    def commands(self, name: str, values: dict[str, int], channels: list[int], blocks: int, reads: Reads,
                 writes: Writes) -> Counter[str]:
        """What a command of level 1 or 2 has counted, rows left aside."""
        number = len(channels)
        match name.split(".")[1:]:
            case "mode", mode:
                if mode == "hab_pim":
                    self.programs |= {channel: MicroProgram(self.programs[channel].words) for channel in channels}
                return Counter(mode_switches=number)
            case "wr", _ if name in REGISTERS:
                if name == "pim.wr.crf":
                    for channel in channels:
                        words = self.programs[channel].words = list(self.programs[channel].words)
                        words[8 * values["index"]:8 * values["index"] + 8] = self.peek(values["src"], 32).view("<u4").tolist()
                return Counter(write_commands=number, broadcasts=number, bytes_entered=32 * number)
            case ["rd"]:
                read = _size(reads)
                reads.clear()
                return Counter(row_hits=number, read_commands=number, columns_read=read // 32, bytes_left=read)
            case ("wr", "hab") | ("wr",):
                written = _size(writes)
                writes.clear()
                return Counter(row_hits=written // 32, write_commands=number, columns_written=written // 32,
                               bytes_entered=32 * number, broadcasts=number * name.endswith("hab"))
            case _, "pim":
                opcodes = [self.programs[channel].step() for channel in channels]
                macs = sum(opcode in (3, 4) for opcode in opcodes)
                idle = sum(opcode == 0 and "wr" not in name for opcode in opcodes)
                read, written = _size(reads), _size(writes)
                reads.clear()
                writes.clear()
                return Counter(row_hits=number * blocks, compute_commands=number, crf_steps=number, macs=macs * blocks * 16,
                               elements=(number - macs - idle) * blocks * 16, columns_read=read // 32,
                               columns_written=written // 32, bytes_stayed=read + written)
        raise AssertionError(name)

    def open(self, done: Counter[str], channels: list[int], banks: list[int], row: int) -> None:
        """A macro form finds its row open, closed or taken in every bank."""
        found = {self.rows.get((channel, bank)) for channel in channels for bank in banks} - {row}
        done += Counter(any_opening=bool(found), any_conflict=bool(found - {None}))
        for place in ((channel, bank) for channel in channels for bank in banks):
            before = self.rows.get(place)
            done["row_hits"] += before == row
            done["activations"] += before != row
            done["row_conflicts"] += before not in (None, row)
            done["precharges"] += before not in (None, row)
            self.rows[place] = row
