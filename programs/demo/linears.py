"""The linears of the demo models, as they are trained: rounded in the forward pass, gradients pass straight through.

    ternary     codes -1, 0 and 1, one scale for a matrix
    int8        codes -127..127, one scale for each row; `kept` says which weights may be other than zero
    monarch     two block-diagonal factors instead of a matrix, each int8 with one scale for each row

All take inputs (..., inputs) that are already rounded to int8 steps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes -1, 0, 1 of a matrix and its scale, the mean of its absolute values: weight is about codes * scale."""
    scale = weight.abs().mean().clamp(min=1e-5)
    return (weight / scale).round().clamp(-1, 1), scale


def int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes -127..127 and scales of rows (last axis): the largest magnitude becomes 127. It is the compiler's rule for i8."""
    scale = weight.abs().amax(-1, keepdim=True) / 127
    return (weight / torch.where(scale == 0, 1.0, scale)).round(), scale


def int8(x: Tensor) -> Tensor:
    """x rounded to int8 steps of its absmax per token (last axis), as a float; the gradient is the identity."""
    scale = 127 / x.detach().abs().amax(-1, keepdim=True).clamp(min=1e-5)
    return x + ((x.detach() * scale).round().clamp(-128, 127) / scale - x.detach())


class StraightThrough(torch.autograd.Function):
    """`rounded` in `dtype`. The gradient goes to `weight`."""

    @staticmethod
    def forward(ctx, weight: Tensor, rounded: Tensor, dtype: torch.dtype) -> Tensor:
        return rounded.to(dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient.float(), None, None


class Ternary(nn.Module):
    """A matrix (outputs, inputs) applied as its ternary codes. `gain`: by what its first, random weights are multiplied."""

    def __init__(self, inputs: int, outputs: int, gain: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).normal_(std=gain * inputs ** -0.5))

    def forward(self, x: Tensor) -> Tensor:
        codes, scale = ternary(self.weight.detach())
        return F.linear(x, StraightThrough.apply(self.weight, codes * scale, x.dtype))


class Int8(nn.Module):
    """A matrix (outputs, inputs) applied as its int8 codes.

    kept       where weights may be other than zero
    choosing   `kept` may still change, so gradients reach the weights that it leaves out
    """

    kept: Tensor

    def __init__(self, inputs: int, outputs: int, gain: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs).normal_(std=gain * inputs ** -0.5))
        self.register_buffer("kept", torch.ones(outputs, inputs, dtype=torch.bool))
        self.choosing = False

    def codes(self) -> tuple[Tensor, Tensor]:
        """Codes (outputs, inputs) and scales (outputs, 1) as they are deployed."""
        return int8_rows(self.weight.detach() * self.kept)

    def forward(self, x: Tensor) -> Tensor:
        codes, scale = self.codes()
        weight = self.weight if self.choosing else self.weight * self.kept
        return F.linear(x, StraightThrough.apply(weight, codes * scale, x.dtype))

    def choose(self, kept: int, of: int) -> None:
        """Keep the `kept` largest magnitudes of every `of` neighbours in a row; `of` 0: of the row, `kept` percent."""
        rows, cols = self.weight.shape
        groups = self.weight.detach().abs().reshape(rows, -1, of or cols)
        largest = groups.topk(kept if of else cols * kept // 100, -1).indices
        self.kept = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, largest, True).reshape(rows, cols)


class Monarch(nn.Module):
    """Two block-diagonal factors in place of a matrix (outputs, inputs), which is cut into squares of n x n, n = block * block.

    Square (i, j) is P L P R: R has the blocks right[i, j, 0 ..], L the blocks left[i, j, 0 ..], each (block, block), and
    (P v)[a * block + b] = v[b * block + a]. So with rows r * block + a and columns b * block + c of the square

        W[r * block + a, b * block + c] = left[i, j, a, r, b] * right[i, j, b, a, c]

    and for every a and b the slice over r and c has rank 1. A program computes all P R x, rounds them to int8 per token, and
    multiplies by the factors L. Source: Dao et al., "Monarch", arXiv:2204.00595; arXiv:2510.11192 for the order P L P R.
    """

    block = 8

    def __init__(self, inputs: int, outputs: int, gain: float):
        super().__init__()
        square = self.block ** 2
        if inputs % square or outputs % square:
            raise ValueError(f"a matrix of {outputs} rows and {inputs} columns has no squares of {square}")
        shape = (outputs // square, inputs // square, *[self.block] * 3)
        std = (gain * inputs ** -0.5) ** 0.5                                        # of each factor: their product has that of W
        self.right, self.left = (nn.Parameter(torch.empty(shape).normal_(std=std)) for _ in range(2))

    def codes(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Codes and scales of `right`, rows (i, j, b, a) over c, and of `left`, rows (i, a, r) over j and b."""
        rows = self.left.detach().permute(0, 2, 3, 1, 4)                            # (i, a, r, j, b)
        codes, scale = int8_rows(rows.flatten(-2))
        return int8_rows(self.right.detach()), (codes.view(rows.shape).permute(0, 3, 1, 2, 4), scale[:, None])

    def factors(self) -> tuple[Tensor, Tensor]:
        """`right` and `left` as they are deployed."""
        (right, right_scale), (left, left_scale) = self.codes()
        return (StraightThrough.apply(self.right, right * right_scale, torch.float32),
                StraightThrough.apply(self.left, left * left_scale, torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """In training the factors are multiplied first, which is faster and leaves out the rounding between the stages."""
        right, left = self.factors()
        if self.training:
            product = torch.einsum("ijarb,ijbac->irajbc", left, right).reshape(-1, x.shape[-1])
            return F.linear(x, product.to(x.dtype))
        blocks = x.float().unflatten(-1, (-1, self.block, self.block))              # (..., j, b, c)
        between = int8(torch.einsum("ijbac,...jbc->...ijab", right, blocks).flatten(-4))
        between = between.unflatten(-1, (*left.shape[:2], self.block, self.block))  # (..., i, j, a, b)
        return torch.einsum("ijarb,...ijab->...ira", left, between).flatten(-3).to(x.dtype)

    @torch.no_grad()
    def project(self, weight: Tensor) -> None:
        """The nearest factors of a matrix: rank 1 of every slice, the root of its singular value to each side."""
        i, j, b = *self.right.shape[:2], self.block
        slices = weight.view(i, b, b, j, b, b).permute(0, 3, 2, 4, 1, 5)            # (i, j, a, b, r, c)
        u, s, v = torch.linalg.svd(slices)
        root = s[..., :1].sqrt()
        self.left.copy_((u[..., 0] * root).transpose(-1, -2))                       # (i, j, a, b, r) -> (i, j, a, r, b)
        self.right.copy_((v[..., 0, :] * root).transpose(2, 3))                     # (i, j, a, b, c) -> (i, j, b, a, c)


KINDS: dict[str, type[nn.Module]] = {"ternary": Ternary, "int8": Int8, "monarch": Monarch}
"""By the name that `train.py --weights` has for them."""
