"""BitNet b1.58 in PyTorch, as it is trained: the forward pass quantises weights and activations, gradients pass straight through.

The layers are those of transformers' BitNetForCausalLM and carry its tensors' names: RMSNorm, attention with RoPE and shared KV
heads, RMSNorm on its result (attn_sub_norm), a gated feed-forward block with squared ReLU and an RMSNorm before its last matrix
(ffn_sub_norm). Every linear has ternary weights, or others of linears.py, and int8 inputs (absmax per token); the embedding, which
is also the output head, and the norms are not quantised. Source of the formulas: Ma et al., "The Era of 1-bit LLMs",
arXiv:2402.17764, and transformers, integrations/bitnet.py.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from programs.demo.linears import KINDS, int8


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    dim: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    context: int
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    weights: str = "ternary"        # of the linears: a name in linears.KINDS

    def as_dict(self) -> dict[str, float | str]:
        return asdict(self)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


def norm_int8(x: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    return int8(rms_norm(x.float(), weight, epsilon)).to(dtype)


def relu2_norm_int8(gate: Tensor, up: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
    return int8(rms_norm(F.relu(gate.float()).square() * up.float(), weight, epsilon)).to(dtype)


def evenness(gate: Tensor) -> Tensor:
    """How evenly neurons share the activation of a token, mean over tokens: (sum g)^2 / (n sum g^2) of g = relu(gate), 1/n to 1.

    It does not change with the scale of g, which the norm behind it takes away, and falls when fewer neurons are active. Source:
    Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 2004, whose measure is a function of it.
    """
    g = F.relu(gate.float())
    return (g.sum(-1).square() / (g.square().sum(-1) * g.shape[-1] + 1e-12)).mean()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE on halves, as transformers has it. x (B, T, heads, head), cos and sin (T, 1, head / 2), or (B, T, 1, head / 2)."""
    a, b = x.float().chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Fused:
    """The element-wise functions above, compiled by torch.compile where it can (it needs a C++ compiler), else as they are."""

    norm_int8 = staticmethod(norm_int8)
    relu2_norm_int8 = staticmethod(relu2_norm_int8)
    rotate = staticmethod(rotate)
    evenness = staticmethod(evenness)

    @classmethod
    def compile(cls) -> None:
        for function in (norm_int8, relu2_norm_int8, rotate, evenness):
            setattr(cls, function.__name__, staticmethod(torch.compile(function, dynamic=True)))


def residual_gain(shape: Shape) -> float:
    """By what the matrices that write to the residual stream start smaller, so that it does not grow with depth: as in GPT-2."""
    return (2 * shape.layers) ** -0.5


class Norm(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


def linear(shape: Shape, inputs: int, outputs: int, gain: float = 1.0) -> nn.Module:
    return KINDS[shape.weights](inputs, outputs, gain)


class Attention(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        kv = shape.dim // shape.heads * shape.kv_heads
        self.q_proj, self.k_proj, self.v_proj = (linear(shape, shape.dim, outputs) for outputs in (shape.dim, kv, kv))
        self.o_proj, self.attn_sub_norm = linear(shape, shape.dim, shape.dim, residual_gain(shape)), Norm(shape.dim)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        (batch, length, _), head = x.shape, self.shape.dim // self.shape.heads
        q = Fused.rotate(self.q_proj(x).view(batch, length, -1, head), cos, sin).transpose(1, 2)
        k = Fused.rotate(self.k_proj(x).view(batch, length, -1, head), cos, sin).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, -1, head).transpose(1, 2)
        shared = self.shape.heads // self.shape.kv_heads
        q, k, v = (t.float() for t in (q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)))  # faster than bfloat16
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True).to(x.dtype)
        mixed = mixed.transpose(1, 2).reshape(batch, length, self.shape.dim)
        return self.o_proj(Fused.norm_int8(mixed, self.attn_sub_norm.weight, self.shape.norm_epsilon, x.dtype))


class FeedForward(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.epsilon = shape.norm_epsilon
        self.gate_proj, self.up_proj = linear(shape, shape.dim, shape.hidden), linear(shape, shape.dim, shape.hidden)
        self.down_proj, self.ffn_sub_norm = linear(shape, shape.hidden, shape.dim, residual_gain(shape)), Norm(shape.hidden)
        self.zeros = torch.zeros(())        # share of neurons that are zero, in the last forward pass to evaluate
        self.evenness = torch.zeros(())     # `evenness`, in the last one to train

    def forward(self, x: Tensor) -> Tensor:
        gate = self.gate_proj(x)
        if self.training:
            self.evenness = Fused.evenness(gate)
        else:
            self.zeros = (gate <= 0).float().mean()
        return self.down_proj(Fused.relu2_norm_int8(gate, self.up_proj(x), self.ffn_sub_norm.weight, self.epsilon, x.dtype))


class Layer(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.epsilon = shape.norm_epsilon
        self.input_layernorm, self.self_attn = Norm(shape.dim), Attention(shape)
        self.post_attention_layernorm, self.mlp = Norm(shape.dim), FeedForward(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, dtype: torch.dtype, dropout: float) -> Tensor:
        attended = self.self_attn(Fused.norm_int8(x, self.input_layernorm.weight, self.epsilon, dtype), cos, sin)
        x = x + (F.dropout(attended, dropout, self.training) if dropout else attended)
        fed = self.mlp(Fused.norm_int8(x, self.post_attention_layernorm.weight, self.epsilon, dtype))
        return x + (F.dropout(fed, dropout, self.training) if dropout else fed)


class BitNet(nn.Module):
    """Tokens (B, T) to logits (B, T, vocabulary). `dtype` is that of the products: bfloat16 to train, float32 to evaluate.

    places   the tokens' positions (B, T), rising; None: 0, 1, ...
    """

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.dim)
        nn.init.normal_(self.embed_tokens.weight, std=0.05)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.dim)

    def forward(self, tokens: Tensor, dtype: torch.dtype = torch.float32, dropout: float = 0.0,
                places: Tensor | None = None) -> Tensor:
        head = self.shape.dim // self.shape.heads
        frequency = self.shape.rope_theta ** (-torch.arange(0, head, 2, dtype=torch.float32) / head)
        places = torch.arange(tokens.shape[1]) if places is None else places
        angle = places.float()[..., None, None] * frequency
        cos, sin = angle.cos(), angle.sin()
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, cos, sin, dtype, dropout)
        x = rms_norm(x, self.norm.weight, self.shape.norm_epsilon)
        return F.linear(x.to(dtype), self.embed_tokens.weight.to(dtype)).float()
