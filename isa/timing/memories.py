"""Memories that a machine file can name: `memory = { value = "DDR4-2400", source = "..." }` in a region.

A record has what is known of one kind of DRAM or flash, each figure with its source. What makes time of these figures, row by row
and page by page, stands in the rules. The names of DRAM figures are those of JEDEC's standards; a cycle is one of the memory's own
clock, of which a machine's clock does not have to be a multiple.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction

from isa.regions import DRAM, FLASH, HBM


@dataclass(frozen=True)
class Memory:
    """What every record has. `source` is of all figures but those in `others`, by name."""

    name: str
    text: str
    source: str
    channels: int                           # of one such memory; a machine file can have another number
    others: Mapping[str, str] = field(kw_only=True, default_factory=dict)

    def figures(self) -> Iterator[tuple[str, int | Fraction, str]]:
        """(name, value, source) of each figure."""
        for each in fields(self):
            if each.name not in ("name", "text", "source", "others"):
                yield each.name, getattr(self, each.name), self.others.get(each.name, self.source)


@dataclass(frozen=True)
class Dram(Memory):
    """DRAM behind a bus: channels of ranks of bank groups of banks. The figures with t are in cycles of `period_ps`."""

    period_ps: Fraction                     # of the memory's clock, tCK
    ranks: int                              # of a channel
    bank_groups: int                        # of a rank
    banks: int                              # of a group
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
    tWR: int                                # end of written data to precharge
    tWTR_S: int                             # end of written data to read, in different bank groups
    tWTR_L: int                             # the same in one bank group
    tRTRS: int                              # bus from one rank to another
    tREFI: int                              # refresh to refresh, of a rank
    tRFC: int                               # cycles of a refresh


@dataclass(frozen=True)
class Nand(Memory):
    """NAND flash: channels of dies of planes, which read a page each at one time."""

    page_bytes: int
    read_ps: int                            # tR: from the array to the page register
    dies: int                               # of a channel
    planes: int                             # of a die
    bytes_per_second: int                   # of a channel


def _dramsim3(file: str) -> str:
    return f"DRAMsim3, configs/{file}.ini"


_ATTACC = "AttAcc's simulator, HBM3-PIM.cpp, preset HBM3_5.2Gbps"
_SLIM = "SLIM, arXiv 2507.09201 (from a third-party reading note)"
_DIES = "assumed: SLIM does not say; 64 dies in 16 channels give its throughput"
_PLANES = "MQSim, ssdconfig.xml: 2 planes; SLIM's simulator is built on it"
_ONFI = "assumed: ONFI's NV-DDR3 at 1200 MT/s, 8 bits; MQSim's default is 333 MT/s"
_NAND = {"dies": _DIES, "planes": _PLANES, "bytes_per_second": _ONFI}

_RECORDS: tuple[Memory, ...] = (
    Dram("DDR4-2400", "a channel of 64 bits, two ranks of eight 8 Gb chips", _dramsim3("DDR4_8Gb_x8_2400"), channels=1,
         period_ps=Fraction(830), ranks=2, bank_groups=4, banks=4, row_bytes=8192, burst_bytes=64, burst=4,
         tCL=17, tCWL=12, tRCDRD=17, tRCDWR=17, tRP=17, tRAS=39, tRC=56, tCCD_S=4, tCCD_L=6, tRRD_S=4, tRRD_L=6, tFAW=26, t32AW=0,
         tRTP=9, tWR=18, tWTR_S=3, tWTR_L=9, tRTRS=1, tREFI=9360, tRFC=420),
    Dram("LPDDR4-2400", "a channel of 64 bits, two ranks of four 8 Gb chips", _dramsim3("LPDDR4_8Gb_x16_2400"), channels=1,
         period_ps=Fraction(830), ranks=2, bank_groups=2, banks=4, row_bytes=8192, burst_bytes=128, burst=8,
         tCL=17, tCWL=14, tRCDRD=15, tRCDWR=15, tRP=15, tRAS=32, tRC=47, tCCD_S=4, tCCD_L=6, tRRD_S=8, tRRD_L=8, tFAW=32, t32AW=0,
         tRTP=12, tWR=30, tWTR_S=8, tWTR_L=16, tRTRS=1, tREFI=8660, tRFC=392),
    Dram("HBM2", "a stack of eight channels of 128 bits, 2 Gb/s a pin", _dramsim3("HBM2_8Gb_x128"), channels=8,
         period_ps=Fraction(1000), ranks=1, bank_groups=4, banks=4, row_bytes=2048, burst_bytes=64, burst=2,
         tCL=14, tCWL=4, tRCDRD=14, tRCDWR=14, tRP=14, tRAS=34, tRC=48, tCCD_S=1, tCCD_L=2, tRRD_S=4, tRRD_L=6, tFAW=30, t32AW=0,
         tRTP=6, tWR=16, tWTR_S=6, tWTR_L=8, tRTRS=2, tREFI=3900, tRFC=260,
         others={"tRTRS": "assumed: DRAMsim3's default; one rank has no other to turn to"}),
    Dram("GDDR6", "eight 8 Gb chips of 16 bits side by side", _dramsim3("GDDR6_8Gb_x16"), channels=1,
         period_ps=Fraction(660), ranks=1, bank_groups=1, banks=16, row_bytes=32768, burst_bytes=256, burst=1,
         tCL=24, tCWL=16, tRCDRD=24, tRCDWR=20, tRP=24, tRAS=54, tRC=78, tCCD_S=3, tCCD_L=4, tRRD_S=9, tRRD_L=9, tFAW=32, t32AW=420,
         tRTP=3, tWR=16, tWTR_S=7, tWTR_L=7, tRTRS=1, tREFI=11862, tRFC=126,
         others={key: f"{_dramsim3('GDDR6_8Gb_x16')}: bankgroup_enable = false, 16 banks in one group"
                 for key in ("bank_groups", "banks")}),
    Dram("HBM3", "a stack of 16 channels of two pseudo-channels of 32 bits, 5.2 Gb/s a pin", _ATTACC, channels=32,
         period_ps=Fraction(10_000, 13), ranks=2, bank_groups=4, banks=4, row_bytes=1024, burst_bytes=32, burst=2,
         tCL=19, tCWL=6, tRCDRD=19, tRCDWR=19, tRP=19, tRAS=45, tRC=63, tCCD_S=2, tCCD_L=4, tRRD_S=2, tRRD_L=4, tFAW=39, t32AW=0,
         tRTP=8, tWR=21, tWTR_S=8, tWTR_L=11, tRTRS=2, tREFI=5070, tRFC=456,
         others={"period_ps": f"{_ATTACC}: 1.3 GHz", "tRTP": f"{_ATTACC}: nRTPL", "tRTRS": "assumed: as DRAMsim3's default",
                 "tRFC": f"{_ATTACC}: 350 ns for 8 Gb"}),
    Nand("nand-slc", "single-level cells, read fast", _SLIM, channels=16, page_bytes=4096, read_ps=3_000_000,
         dies=4, planes=2, bytes_per_second=1_200_000_000, others=_NAND),
    Nand("nand-tlc", "three bits a cell, read slowly", _SLIM, channels=16, page_bytes=16_384, read_ps=40_000_000,
         dies=4, planes=2, bytes_per_second=1_200_000_000, others=_NAND),
)

MEMORIES: dict[str, Memory] = {memory.name: memory for memory in _RECORDS}
"""All memories by name, as machine files write it."""


def memories_of(region: str) -> tuple[str, ...]:
    """Names of the memories that a region can have: DRAM for dram and hbm, NAND for flash, none for the others."""
    kind = {DRAM: Dram, HBM: Dram, FLASH: Nand}.get(region)
    return tuple(name for name, memory in MEMORIES.items() if kind is not None and isinstance(memory, kind))
