"""Memories that a machine file can name: `memory = { value = "DDR4-2400", source = "..." }` in a region.

A record has what is known of one kind of DRAM or flash, each figure with its source. What makes time of these figures, row by row
and page by page, stands in the rules. The names of DRAM figures are those of JEDEC's standards; a cycle is one of the memory's own
clock, of which a machine's clock does not have to be a multiple.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from math import ceil

from isa.regions import DRAM, FLASH, HBM

_COLUMN = 32                # bytes of a column of a bank

OWN = ("channels", "mapping", "stripe")
"""Figures of which a region can have its own."""

FIELDS = ("channel", "rank", "group", "bank", "column", "row")
"""What a mapping of Dram names, each once."""


@dataclass(frozen=True)
class Memory(ABC):
    """What every record has. `source` is of all figures but those in `others`, by name."""

    name: str
    text: str
    source: str
    channels: int                           # of one such memory; a machine file can have another number
    others: Mapping[str, str] = field(kw_only=True, default_factory=dict)

    @abstractmethod
    def latency_ps(self) -> Fraction:
        """From a request to its first bytes."""

    @abstractmethod
    def byte_ps(self) -> Fraction:
        """Picoseconds that a byte takes, in a long run of them in all channels; refresh is in it."""

    @property
    @abstractmethod
    def tick_ps(self) -> Fraction:
        """Picoseconds of what its figures of time are given in."""

    @abstractmethod
    def faster(self, factor: Fraction) -> Memory:
        """The same memory, so many times as fast: its cycles are so much shorter, and all that it does has as many of them."""

    def figures(self) -> Iterator[tuple[str, int | Fraction | str, str]]:
        """(name, value, source) of each figure. A text is no number of anything: how addresses are laid out."""
        for each in fields(self):
            if each.name not in ("name", "text", "source", "others"):
                yield each.name, getattr(self, each.name), self.others.get(each.name, self.source)


@dataclass(frozen=True)
class Clocked(Memory):
    """A memory with a clock of its own, in whose cycles its figures of time are given."""

    period_ps: Fraction                     # of the memory's clock, tCK

    @property
    def tick_ps(self) -> Fraction:
        return self.period_ps

    def faster(self, factor: Fraction) -> Memory:
        return replace(self, period_ps=self.period_ps / factor)


@dataclass(frozen=True)
class Dram(Clocked):
    """DRAM behind a bus: channels of ranks of bank groups of banks. The figures with t are in cycles of `period_ps`."""

    ranks: int                              # of a channel
    bank_groups: int                        # of a rank
    banks: int                              # of a group
    rows: int                               # of a bank
    row_bytes: int                          # of the row of a bank, over all chips of a rank
    burst_bytes: int                        # of one column command
    burst: int                              # cycles that these bytes are on the bus
    tCL: int                                # read command to data
    tCWL: int                               # write command to data
    tRCDRD: int                             # activation to read
    tRCDWR: int                             # activation to write
    tRP: int                                # precharge to activation
    tRAS: int                               # activation to precharge
    tRC: int                                # activation to activation, of one bank
    tCCD_S: int                             # column command to column command, in different bank groups
    tCCD_L: int                             # the same in one bank group
    tRRD_S: int                             # activation to activation, in different bank groups
    tRRD_L: int                             # the same in one bank group
    tFAW: int                               # in this window at most four activations of a rank
    t32AW: int                              # in this window at most 32; 0: no such limit
    tRTP: int                               # read to precharge
    read_to_precharge: int                  # the same as the rule takes it, which is DRAMsim3's (isa/timing/memory_rules.py)
    tWR: int                                # end of written data to precharge
    tWTR_S: int                             # end of written data to read, in different bank groups
    tWTR_L: int                             # the same in one bank group
    tRTRS: int                              # bus from one rank to another
    tPPD: int                               # precharge to precharge, of two banks; at least 1, a command a cycle
    tREFI: int                              # refresh to refresh, of a rank
    tRFC: int                               # cycles of a refresh
    queue: int                              # bursts that the controller of a channel holds
    bank_queue: int                         # bursts that it has handed on, for each bank
    mapping: str                            # of an offset in the memory: from the highest bits down to those above a burst's

    def latency_ps(self) -> Fraction:
        return (self.tRCDRD + self.tCL + self.burst) * self.period_ps

    def byte_ps(self) -> Fraction:
        lost = Fraction(self.tRFC + self.tRTP + self.tRP + self.tRCDRD, self.ranks)         # of each interval of refresh
        return max(self.burst, self.tCCD_S) * self.period_ps * self.tREFI / (self.tREFI - lost) / (self.burst_bytes * self.channels)


@dataclass(frozen=True)
class PimDram(Clocked):
    """DRAM with a processor at its banks, as the pim unit's rule of banks sees it (isa/timing/banks.py). The figures are in cycles
    of `period_ps`; the unit's parameters say how many channels, banks and rows there are."""

    RL: int             # from a read to its data
    WL: int             # from a write to its data
    tBURST: int         # data of a column on the channel
    tRDREG: int         # from a read of registers to the end of its data
    tWRREG: int         # from a write of registers to the end of its data
    tRTRS: int          # the channel turns from reading to writing
    tWTRL: int          # the channel turns from writing to reading
    tCCDS: int          # between columns of different bank groups, and between registers
    tCCDL: int          # between columns of a bank group
    tRCDRD: int         # from the activation of a row to a read
    tRCDWR: int         # from the activation of a row to a write
    tRCDMAC: int        # from the activation of a row to a MAC form
    tRCDEWMUL: int      # from the activation of a row to an element-wise product
    tRCDAF: int         # from the activation of a table's row to an activation function
    tRCDRDCP: int       # from the activation of a row to a copy from the bank to the global buffer
    tRCDWRCP: int       # from the activation of a row to a copy from the global buffer to the bank
    tRAS: int           # from the activation of a row to its precharge
    tRC: int            # between activations of a bank
    tRP: int            # from a precharge to an activation
    tRTP: int           # from a read to a precharge
    tWR: int            # from the end of a write's data to a precharge
    tRRDS: int          # between activations of different bank groups
    tRRDL: int          # between activations of a bank group
    tXAW: int           # in which a channel activates four rows at most
    tMODCH: int         # turn between register access and everything else
    tREFI: int          # between refreshes; 0: none
    tREFI_FIRST: int    # until the first refresh
    tRFC: int           # of a refresh


    def latency_ps(self) -> Fraction:
        return (self.tRCDRD + self.RL + self.tBURST) * self.period_ps

    def byte_ps(self) -> Fraction:
        share = Fraction(self.tREFI - self.tRFC, self.tREFI) if self.tREFI else 1
        return max(self.tBURST, self.tCCDS) * self.period_ps / share / (_COLUMN * self.channels)


@dataclass(frozen=True)
class AttentionDram(Clocked):
    """A stack of HBM with attention units, as the attn unit's rule sees it (isa/timing/attention.py). The figures with n are in
    cycles of `period_ps`."""

    placement: str              # of the units: at every "bank", at every "bank group", or in the "buffer" under the stack
    pseudo_channels: int        # of a channel
    ranks: int                  # of a pseudo-channel
    bank_groups: int            # of a rank
    banks: int                  # of a group
    columns: int                # of a row
    column_bytes: int
    nBL: int                    # data of a column on the channel
    nCL: int                    # from a read to its data
    nRCDRD: int                 # from the activation of a row to a read
    nRP: int                    # from a precharge to an activation
    nRAS: int                   # from the activation of a row to its precharge
    nRTPL: int                  # from a read to a precharge
    nCCDS: int                  # between columns of different bank groups
    nCCDL: int                  # between columns of a bank group
    nCCDAB: int                 # between columns of all banks at once
    nCCDSB: int                 # between columns of one bank of each group at once
    nREFI: int                  # between refreshes
    nRFC: int                   # of a refresh

    def latency_ps(self) -> Fraction:
        return (self.nRCDRD + self.nCL + self.nBL) * self.period_ps

    def byte_ps(self) -> Fraction:
        share = Fraction(self.nREFI - self.nRFC, self.nREFI)
        return max(self.nBL, self.nCCDS) * self.period_ps / share / (self.column_bytes * self.pseudo_channels * self.channels)


@dataclass(frozen=True)
class Nand(Memory):
    """NAND flash: channels of dies of planes, which read a page each at one time. With `processors`, rows that are fetched are
    worked on there, and no bytes of them leave."""

    page_bytes: int
    read_ps: int                            # tR: from the array to the page register
    dies: int                               # of a channel
    planes: int                             # of a die
    bytes_per_second: int                   # of a channel
    processors: str = "none"                # where they are: die, one at each; channel; none
    processed_per_second: int = 0           # bytes that a processor works on
    stripe: int = 1                         # pages side by side that one die has

    @property
    def tick_ps(self) -> Fraction:
        return Fraction(1)

    def faster(self, factor: Fraction) -> Memory:
        """In whole picoseconds, and whole bytes a second."""
        return replace(self, read_ps=ceil(self.read_ps / factor), bytes_per_second=max(1, int(self.bytes_per_second * factor)),
                       processed_per_second=int(self.processed_per_second * factor))

    def latency_ps(self) -> Fraction:
        return Fraction(self.read_ps)

    def byte_ps(self) -> Fraction:
        """What is slower: the channels, or the dies, whose planes read at one time."""
        return max(Fraction(10 ** 12, self.bytes_per_second),
                   Fraction(self.read_ps, self.dies * self.planes * self.page_bytes)) / self.channels


def _dramsim3(file: str) -> str:
    return f"DRAMsim3, configs/{file}.ini"


_NO_RTP = "DRAMsim3, src/configuration.cc: 5, its default, for it reads neither tRTP_L nor tRTP_S"
_NO_PPD = "DRAMsim3, src/controller.cc: a command a cycle; the file has no tPPD"
_AS_DRAMSIM3 = "assumed: as DRAMsim3 has it for HBM2"
_PIMSIMULATOR = "PIMSimulator, ini/HBM2_samsung_2M_16B_x64.ini"
_AIM = "aim_simulator, src/dram/impl/GDDR6.cpp, preset GDDR6_AiM_timing"
_ATTACC = "AttAcc's simulator, HBM3-PIM.cpp, preset HBM3_5.2Gbps"
_SLIM = "SLIM, arXiv 2507.09201 (from a third-party reading note)"
_DIES = "assumed: SLIM does not say; 64 dies in 16 channels give its throughput"
_PLANES = "MQSim, ssdconfig.xml: 2 planes; SLIM's simulator is built on it"
_ONFI = "assumed: ONFI's NV-DDR3 at 1200 MT/s, 8 bits; MQSim's default is 333 MT/s"
_NO_PROCESSORS = "assumed: plain flash"
_NAND = {"dies": _DIES, "planes": _PLANES, "bytes_per_second": _ONFI,
         **dict.fromkeys(("processors", "processed_per_second", "stripe"), _NO_PROCESSORS)}
_SLC = Nand("nand-slc", "single-level cells, read fast", _SLIM, channels=16, page_bytes=4096, read_ps=3_000_000,
            dies=4, planes=2, bytes_per_second=1_200_000_000, others=_NAND)
_TLC = Nand("nand-tlc", "three bits a cell, read slowly", _SLIM, channels=16, page_bytes=16_384, read_ps=40_000_000,
            dies=4, planes=2, bytes_per_second=1_200_000_000, others=_NAND)
_MACS = "multipliers, a byte each a cycle, from the note; assumed: 100 MHz, for the note has no clock"
_NEAR = {**_NAND, "processors": _SLIM, "planes": "assumed: one page at a time in a die, as SLIM's throughput has it",
         "stripe": "assumed: a region says how many pages an object has"}


def _near(nand: Nand, place: str, macs: int) -> Nand:
    """A flash with processors of so many multipliers."""
    return replace(nand, name=f"{nand.name}-{place}", text=f"{nand.text}; a processor at each {place}", planes=1, processors=place,
                   processed_per_second=macs * 100_000_000, others={**_NEAR, "processed_per_second": f"{_SLIM}: {macs} {_MACS}"})


_HBM3_PIM = PimDram(
    "HBM3-PIM", "HBM3 with a processor at every bank, as in AttAcc", _ATTACC, channels=32, period_ps=Fraction(10_000, 13),
    RL=19, WL=6, tBURST=2, tRDREG=21, tWRREG=8, tRTRS=2, tWTRL=11, tCCDS=2, tCCDL=6, tRCDRD=19, tRCDWR=19, tRCDMAC=19,
    tRCDEWMUL=19, tRCDAF=19, tRCDRDCP=19, tRCDWRCP=19, tRAS=45, tRC=63, tRP=19, tRTP=8, tWR=21, tRRDS=2, tRRDL=4,
    tXAW=39, tMODCH=1, tREFI=5070, tREFI_FIRST=5070, tRFC=456,
    others={
        "RL": f"{_ATTACC}: nCL",
        "WL": f"{_ATTACC}: nCWL",
        "tBURST": f"{_ATTACC}: nBL",
        "tRDREG": "assumed: AttAcc has no such command; as a read, RL + tBURST",
        "tWRREG": "assumed: AttAcc has no such command; as a write, WL + tBURST",
        "tRTRS": "assumed: as DRAMsim3's default",
        "tWTRL": f"{_ATTACC}: nWTRL",
        "tCCDS": f"{_ATTACC}: nCCDS",
        "tCCDL": f"{_ATTACC}: nCCDAB, columns of all banks at a limited power; nCCDL is 4",
        "tRCDRD": f"{_ATTACC}: nRCD",
        "tRCDWR": f"{_ATTACC}: nRCD",
        "tRCDMAC": f"{_ATTACC}: nRCD",
        "tRCDEWMUL": "assumed: AttAcc has no such command; nRCD",
        "tRCDAF": "assumed: AttAcc has no such command; nRCD",
        "tRCDRDCP": "assumed: AttAcc has no such command; nRCD",
        "tRCDWRCP": "assumed: AttAcc has no such command; nRCD",
        "tRAS": f"{_ATTACC}: nRAS",
        "tRC": f"{_ATTACC}: nRC",
        "tRP": f"{_ATTACC}: nRP",
        "tRTP": f"{_ATTACC}: nRTPL",
        "tWR": f"{_ATTACC}: nWR",
        "tRRDS": f"{_ATTACC}: nRRDS",
        "tRRDL": f"{_ATTACC}: nRRDL",
        "tXAW": f"{_ATTACC}: nFAW",
        "tMODCH": "assumed: AttAcc has no such command; a cycle",
        "tREFI": f"{_ATTACC}: nREFI",
        "tREFI_FIRST": f"{_ATTACC}: nREFI",
        "tRFC": f"{_ATTACC}: nRFC, 350 ns for 8 Gb",
    })

_RECORDS: tuple[Memory, ...] = (
    Dram("DDR4-2400", "a channel of 64 bits, two ranks of eight 8 Gb chips", _dramsim3("DDR4_8Gb_x8_2400"), channels=1,
         period_ps=Fraction(830), ranks=2, bank_groups=4, banks=4, rows=65536, row_bytes=8192, burst_bytes=64, burst=4,
         tCL=17, tCWL=12, tRCDRD=17, tRCDWR=17, tRP=17, tRAS=39, tRC=56, tCCD_S=4, tCCD_L=6, tRRD_S=4, tRRD_L=6, tFAW=26, t32AW=0,
         tRTP=9, read_to_precharge=9, tWR=18, tWTR_S=3, tWTR_L=9, tRTRS=1, tPPD=1, tREFI=9360, tRFC=420,
         queue=32, bank_queue=8, mapping="row channel rank bank group column",
         others={"tPPD": _NO_PPD}),
    Dram("LPDDR4-2400", "a channel of 64 bits, two ranks of four 8 Gb chips", _dramsim3("LPDDR4_8Gb_x16_2400"), channels=1,
         period_ps=Fraction(830), ranks=2, bank_groups=2, banks=4, rows=65536, row_bytes=8192, burst_bytes=128, burst=8,
         tCL=17, tCWL=14, tRCDRD=15, tRCDWR=15, tRP=15, tRAS=32, tRC=47, tCCD_S=4, tCCD_L=6, tRRD_S=8, tRRD_L=8, tFAW=32, t32AW=0,
         tRTP=12, read_to_precharge=12, tWR=30, tWTR_S=8, tWTR_L=16, tRTRS=1, tPPD=2, tREFI=8660, tRFC=392,
         queue=32, bank_queue=8, mapping="row channel rank bank group column"),
    Dram("HBM2", "a stack of eight channels of 128 bits, 2 Gb/s a pin", _dramsim3("HBM2_8Gb_x128"), channels=8,
         period_ps=Fraction(1000), ranks=1, bank_groups=4, banks=4, rows=32768, row_bytes=2048, burst_bytes=64, burst=2,
         tCL=14, tCWL=4, tRCDRD=14, tRCDWR=14, tRP=14, tRAS=34, tRC=48, tCCD_S=1, tCCD_L=2, tRRD_S=4, tRRD_L=6, tFAW=30, t32AW=0,
         tRTP=6, read_to_precharge=5, tWR=16, tWTR_S=6, tWTR_L=8, tRTRS=2, tPPD=1, tREFI=3900, tRFC=260,
         queue=32, bank_queue=8, mapping="row rank group bank channel column",
         others={"tRTRS": "assumed: DRAMsim3's default; one rank has no other to turn to",
                 "read_to_precharge": _NO_RTP, "tPPD": _NO_PPD}),
    Dram("GDDR6", "eight 8 Gb chips of 16 bits side by side", _dramsim3("GDDR6_8Gb_x16"), channels=1,
         period_ps=Fraction(660), ranks=1, bank_groups=1, banks=16, rows=16384, row_bytes=32768, burst_bytes=256, burst=1,
         tCL=24, tCWL=16, tRCDRD=24, tRCDWR=20, tRP=24, tRAS=54, tRC=78, tCCD_S=3, tCCD_L=4, tRRD_S=9, tRRD_L=9, tFAW=32, t32AW=420,
         tRTP=3, read_to_precharge=5, tWR=16, tWTR_S=7, tWTR_L=7, tRTRS=1, tPPD=2, tREFI=11862, tRFC=126,
         queue=32, bank_queue=8, mapping="row channel rank bank group column",
         others={key: f"{_dramsim3('GDDR6_8Gb_x16')}: bankgroup_enable = false, 16 banks in one group"
                 for key in ("bank_groups", "banks")} | {"read_to_precharge": _NO_RTP}),
    Dram("HBM3", "a stack of 16 channels of two pseudo-channels of 32 bits, 5.2 Gb/s a pin", _ATTACC, channels=32,
         period_ps=Fraction(10_000, 13), ranks=2, bank_groups=4, banks=4, rows=16384, row_bytes=1024, burst_bytes=32, burst=2,
         tCL=19, tCWL=6, tRCDRD=19, tRCDWR=19, tRP=19, tRAS=45, tRC=63, tCCD_S=2, tCCD_L=4, tRRD_S=2, tRRD_L=4, tFAW=39, t32AW=0,
         tRTP=8, read_to_precharge=8, tWR=21, tWTR_S=8, tWTR_L=11, tRTRS=2, tPPD=1, tREFI=5070, tRFC=456,
         queue=32, bank_queue=8, mapping="row rank group bank channel column",
         others={"period_ps": f"{_ATTACC}: 1.3 GHz", "tRTP": f"{_ATTACC}: nRTPL", "tRTRS": "assumed: as DRAMsim3's default",
                 "tRFC": f"{_ATTACC}: 350 ns for 8 Gb",
                 "rows": f"{_ATTACC}: banks of 16 MiB", "read_to_precharge": f"{_ATTACC}: nRTPL",
                 "tPPD": "assumed: a command a cycle", "queue": _AS_DRAMSIM3, "bank_queue": _AS_DRAMSIM3,
                 "mapping": _AS_DRAMSIM3}),
    PimDram("HBM2-PIM", "Samsung's HBM-PIM, 64 pseudo-channels of 32 bytes every two cycles", _PIMSIMULATOR, channels=64,
            period_ps=Fraction(1000),
            RL=20, WL=8, tBURST=2, tRDREG=22, tWRREG=10, tRTRS=1, tWTRL=9, tCCDS=2, tCCDL=4, tRCDRD=14, tRCDWR=10, tRCDMAC=14,
            tRCDEWMUL=14, tRCDAF=14, tRCDRDCP=14, tRCDWRCP=10, tRAS=33, tRC=47, tRP=14, tRTP=3, tWR=16, tRRDS=4, tRRDL=6,
            tXAW=16, tMODCH=1, tREFI=3900, tREFI_FIRST=1950, tRFC=350,
            others={
                "tBURST": f"{_PIMSIMULATOR}: BL 4, two data a cycle",
                "tRDREG": "assumed: HBM-PIM has no macro forms; as a read, RL + tBURST",
                "tWRREG": "assumed: HBM-PIM has no macro forms; as a write, WL + tBURST",
                "tWTRL": f"{_PIMSIMULATOR}: tWTRL; PIMSimulator, src/MemoryController.cpp keeps all banks so far apart",
                "tRCDMAC": "assumed: HBM-PIM has no macro forms; as a read",
                "tRCDEWMUL": "assumed: HBM-PIM has no macro forms; as a read",
                "tRCDAF": "assumed: HBM-PIM has no macro forms; as a read",
                "tRCDRDCP": "assumed: HBM-PIM has no macro forms; as a read",
                "tRCDWRCP": "assumed: HBM-PIM has no macro forms; as a write",
                "tRTP": f"{_PIMSIMULATOR}: BL/2 + max(tRTPL, tCCDL) - tCCDL = 2 + 5 - 4, as src/Configuration.h has it",
                "tXAW": f"{_PIMSIMULATOR}: tXAW 16 for XAW 4 activations; tRRDS keeps them as far apart",
                "tMODCH": "assumed: HBM-PIM has no macro forms; a cycle",
                "tREFI_FIRST": "PIMSimulator, src/MemoryController.cpp: half of tREFI, since the memory size makes two "
                               "ranks, which are refreshed in turn",
            }),
    PimDram("GDDR6-AiM", "SK hynix's GDDR6-AiM, 32 channels of 16 bits", _AIM, channels=32, period_ps=Fraction(500),
            RL=50, WL=6, tBURST=2, tRDREG=2, tWRREG=3, tRTRS=4, tWTRL=11, tCCDS=2, tCCDL=2, tRCDRD=36, tRCDWR=28, tRCDMAC=56,
            tRCDEWMUL=25, tRCDAF=86, tRCDRDCP=66, tRCDWRCP=48, tRAS=54, tRC=89, tRP=32, tRTP=12, tWR=33, tRRDS=5, tRRDL=6,
            tXAW=1, tMODCH=32, tREFI=0, tREFI_FIRST=1, tRFC=1,
            others={
                "RL": f"{_AIM}: nCL",
                "WL": f"{_AIM}: nCWL",
                "tBURST": f"{_AIM}: nBL",
                "tRDREG": f"{_AIM}: nCLREG 0 + nBL 2",
                "tWRREG": f"{_AIM}: nCWLREG 1 + nBL 2",
                "tRTRS": f"{_AIM}: 3 + nWPRE 1, between reads and writes",
                "tWTRL": f"{_AIM}: nWTRL",
                "tCCDS": f"{_AIM}: nCCDS",
                "tCCDL": f"{_AIM}: nCCDL",
                "tRCDRD": f"{_AIM}: nRCDRD",
                "tRCDWR": f"{_AIM}: nRCDWR",
                "tRCDMAC": f"{_AIM}: nRCDRDMAC",
                "tRCDEWMUL": f"{_AIM}: nRCDEWMUL",
                "tRCDAF": f"{_AIM}: nRCDRDAF",
                "tRCDRDCP": f"{_AIM}: nRCDRDCP",
                "tRCDWRCP": f"{_AIM}: nRCDWRCP",
                "tRAS": f"{_AIM}: nRAS",
                "tRC": f"{_AIM}: nRC",
                "tRP": f"{_AIM}: nRP",
                "tRTP": f"{_AIM}: nRTP",
                "tWR": f"{_AIM}: nWR",
                "tRRDS": "aim_simulator, src/dram/impl/GDDR6.cpp: nRRDS of its table for x16, which replaces the preset's 11",
                "tRRDL": "aim_simulator, src/dram/impl/GDDR6.cpp: nRRDL of its table for x16, which replaces the preset's 11",
                "tXAW": "aim_simulator, src/dram/impl/GDDR6.cpp: nFAW is not used, so any number of activations",
                "tMODCH": f"{_AIM}: nMODCH",
                "tREFI": "aim_simulator, src/dram_controller: AiM's channels are never refreshed; its preset has "
                         "nREFI 3333, nRFC 210",
                "tREFI_FIRST": "aim_simulator: no refresh",
                "tRFC": "aim_simulator: no refresh",
            }),
    _HBM3_PIM,
    replace(_HBM3_PIM, name="HBM3-PIM-SB", text="HBM3-PIM of which one bank of each bank group computes at a time", tCCDL=24,
            others={**_HBM3_PIM.others, "tCCDL": f"{_ATTACC}: four times nCCDSB 6, for the four banks of a group"}),
    *(AttentionDram(f"HBM3-AttAcc-{name}{suffix}", f"HBM3 with attention units at {text}{limit}", _ATTACC, channels=16,
                    placement=place, period_ps=Fraction(10_000, 13), pseudo_channels=2, ranks=2, bank_groups=4, banks=4, columns=32,
                    column_bytes=32, nBL=2, nCL=19, nRCDRD=19, nRP=19, nRAS=45, nRTPL=8, nCCDS=2, nCCDL=4, nCCDAB=apart,
                    nCCDSB=apart, nREFI=5070, nRFC=456,
                    others={"placement": "AttAcc, ASPLOS 2024", "nRFC": f"{_ATTACC}: 350 ns for 8 Gb"})
      for suffix, limit, apart in (("", "", 6), ("-unlimited", ", without a limit of power", 4))
      for name, place, text in (("bank", "bank", "every bank"), ("group", "bank group", "every bank group"),
                                ("buffer", "buffer", "the buffer under the stack"))),
    _SLC,
    _TLC,
    *(_near(nand, place, macs) for nand in (_SLC, _TLC) for place, macs in (("die", 16), ("channel", 64))),
)

MEMORIES: dict[str, Memory] = {memory.name: memory for memory in _RECORDS}
"""All memories by name, as machine files write it."""


def memories_of(region: str) -> tuple[str, ...]:
    """Names of the memories that a region can have: DRAM for dram and hbm, NAND for flash, none for the others."""
    kinds = {DRAM: (Dram,), HBM: (Dram, PimDram, AttentionDram), FLASH: (Nand,)}.get(region, ())
    return tuple(name for name, memory in MEMORIES.items() if isinstance(memory, kinds))
