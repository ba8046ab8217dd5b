"""Block pruning: which weights become zero, and when. TinyFormer's rules, as TorchPruner (Roxbili, Apache-2.0) has them.

A matrix is cut into blocks of 1 x b along its inputs; the last one of a row may be shorter. The metric of a block is the mean of
|w|. Of n blocks int(share * n) are to go: the largest metric among them is the threshold, and what is not above it goes, so equal
ones too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def metric(weight: Tensor, block: int) -> Tensor:
    """Mean magnitude of the blocks of a matrix (outputs, inputs): (outputs, blocks of a row)."""
    outputs, inputs = weight.shape
    blocks = -(-inputs // block)
    sums = F.pad(weight.abs(), (0, blocks * block - inputs)).reshape(outputs, blocks, block).sum(2)
    sizes = torch.full((blocks,), block)
    sizes[-1] = inputs - (blocks - 1) * block
    return sums / sizes


def mask(weight: Tensor, block: int, share: float) -> Tensor:
    """1 for weights that stay, 0 for those that go, shaped as the matrix. share: 0..1 of its blocks."""
    values = metric(weight.detach(), block)
    number = int(share * values.numel())
    if not number:
        return torch.ones_like(weight)
    kept = values > values.flatten().kthvalue(number).values
    return kept.repeat_interleave(block, 1)[:, :weight.shape[1]].to(weight.dtype)


def share_at(step: int, steps: int, final: float) -> float:
    """Automated gradual pruning (Zhu and Gupta, arXiv 1710.01878): the share of zeros at a step, from 0 to `final` at `steps`."""
    done = min(max(step / steps, 0.0), 1.0) if steps else 1.0
    return final * (1 - (1 - done) ** 3)
