"""sync: signals and waits. In program order a wait only checks that its tag was signalled."""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, STATE_INDEX, count, slot, state, state_length
from emulator.native.inlining import specialised
from emulator.native.machine_code import load, store
from isa.instruction import rows
from isa.units.sync import TAGS

SIGNALLED = STATE_INDEX["sync.signalled"]
SIGNALS, WAITS, FENCES = slot("sync.signals"), slot("sync.waits"), slot("sync.fences")


@specialised
def signal(block, tag):
    """Mark `tag` as signalled and count it; the tag has been checked."""
    store(state(block, SIGNALLED) + tag, np.uint8(1))
    count(block, SIGNALS, 1)


@specialised
def can_signal(block, tag):
    """True for a tag on a machine that has a sync unit."""
    return 0 < tag < TAGS and state_length(block, SIGNALLED) > 0


@kernel(*(row.mnemonic for row in rows("sync") if row.mnemonic.startswith("sync.signal.")))
def sync_signal(tag, block):
    if not can_signal(block, tag):
        return PUNT
    signal(block, tag)
    return DONE


@kernel(*(row.mnemonic for row in rows("sync") if row.mnemonic.startswith("sync.wait")))
def sync_wait(tag, block):
    if not 0 < tag < TAGS or not load(state(block, SIGNALLED) + tag, np.uint8):
        return PUNT
    count(block, WAITS, 1)
    return DONE


@kernel("sync.fence")
def sync_fence(block):
    count(block, FENCES, 1)
    return DONE
