"""Where the training of the model that remembers starts: with heads that look back one token, and heads that look for the same one.

Such pairs of heads ("induction heads") find what stood behind a token earlier. A network finds them by itself, but late. So the
first weights have them already, in rough form. Everything else is random, and all of it is trained. The residual stream has parts:

    dimension 0         the same number for every token
    A, 1 to 63          what the token is
    B, 65 to 127        what the token before is: the first layer copies it there

Layers of MATCHING look for positions whose B is the A of the token at hand, in those dimensions of a head that RoPE hardly turns.
One of them, COPYING, adds to A what it finds. Sources: Olsson et al., "In-context Learning and Induction Heads", arXiv:2209.11895;
Trockman and Kolter, "Mimetic Initialization of Self-Attention Layers", arXiv:2305.09828, for starting near what is wanted.
"""

import math

import torch

from programs.demo.model import BitNet

SAME = 8.0                  # dimension 0 of every embedding
MATCHING, COPYING = (1, 3, 5), 5
LOOKING_BACK = 6            # pairs of dimensions, of the quickest, by which a head looks one token back
SHARPNESS = 9.0             # of that: what each pair adds to the score of the token before
LIKENESS = 3.0              # weights by which tokens are compared


@torch.no_grad()
def start(model: BitNet) -> None:
    """Give a model of at least 128 dimensions in heads of 64 its first weights."""
    shape = model.shape
    head, half, part = shape.dim // shape.heads, shape.dim // shape.heads // 2, shape.dim // 2 - 1
    a, b = torch.arange(1, 1 + part), torch.arange(part + 2, 2 * part + 2)
    model.embed_tokens.weight[:] = 0
    model.embed_tokens.weight[:, 0] = SAME
    model.embed_tokens.weight[:, a] = torch.randn(shape.vocabulary, part)
    model.norm.weight.fill_(0.1)
    frequency = shape.rope_theta ** (-torch.arange(half) / half)
    for number, layer in enumerate(model.layers):
        q, k, v, o = (getattr(layer.self_attn, f"{name}_proj").weight for name in "qkvo")
        o *= 0.2
        layer.mlp.down_proj.weight *= 0.2
        seen = torch.arange(min(part, head))
        if number == 0:
            q[:head], k[:head], v[:head] = 0, 0, 0
            size = math.sqrt(SHARPNESS * math.sqrt(head)) / SAME
            pairs = torch.arange(LOOKING_BACK)
            k[pairs, 0] = size
            q[pairs, 0], q[half + pairs, 0] = size * frequency[pairs].cos(), -size * frequency[pairs].sin()
            v[seen, a[seen]] = 1
            o[:, :head] = 0
            o[b[seen], seen] = 0.7
        if number in MATCHING:
            q[:head], k[:head] = 0, 0
            still = torch.nonzero(frequency * shape.context < 0.6).flatten()
            dimensions = torch.cat([still, half + still])
            shift = 0 if number == COPYING else part - len(dimensions) - number
            chosen = torch.arange(len(dimensions)) + max(0, shift)
            q[dimensions, a[chosen]] = k[dimensions, b[chosen]] = LIKENESS
        if number == COPYING:
            v[:head] = 0
            v[seen, a[seen]] = 1
            o[:, :head] = 0
            o[a[seen], seen] = 2
