"""The network: a decoder-only transformer of the Llama family, in one file.

RMSNorm (Zhang & Sennrich 2019, eq. 4), rotary positions (Su et al. 2021, eq. 34, in the half-split form
of Hugging Face), SwiGLU (Shazeer 2020, eq. 6), grouped-query attention (Ainslie et al. 2023). Modules carry
the names of `LlamaForCausalLM`, so that a checkpoint needs no translation. Qwen2 adds biases to q, k and v;
Qwen3 normalises q and k.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu

from model.config import ModelConfig, RopeScaling


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last axis, in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * self.weight.float()).type_as(x)


def rope_angles(positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotation at each position: two of (*positions.shape, D), float32."""
    d = config.head_width
    exponents = torch.arange(0, d, 2, device=positions.device).float() / d  # (D/2,)
    frequencies = config.rope_theta**-exponents  # (D/2,) radians a position
    if config.rope_scaling:
        frequencies = scaled_frequencies(frequencies, config.rope_scaling)
    angles = positions.float()[..., None] * frequencies  # (..., D/2)
    angles = torch.cat([angles, angles], dim=-1)  # (..., D)
    return angles.cos(), angles.sin()


def scaled_frequencies(frequencies: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1's frequencies: slow ones divided by the factor, fast ones as they were, a slope between (D/2,).

    As in Meta's reference implementation of Llama 3.1.
    """
    turns = scaling.original_context * frequencies / (2 * torch.pi)  # within the original context
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    keep = ((turns - low) / (high - low)).clamp(0, 1)  # 0: slow, 1: fast
    return frequencies * (keep + (1 - keep) / scaling.factor)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (B, heads, T, D) turned by its position's angles, cos and sin (B or 1, T, D)."""
    left, right = x.float().chunk(2, dim=-1)
    turned = torch.cat([-right, left], dim=-1)
    return (x.float() * cos[:, None] + turned * sin[:, None]).type_as(x)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c, d, bias = config.width, config.head_width, config.has_qkv_bias
        self.config = config
        self.q_proj = nn.Linear(c, config.n_heads * d, bias=bias)
        self.k_proj = nn.Linear(c, config.n_kv_heads * d, bias=bias)
        self.v_proj = nn.Linear(c, config.n_kv_heads * d, bias=bias)
        self.o_proj = nn.Linear(config.n_heads * d, c, bias=False)
        if config.has_qk_norm:
            self.q_norm = RMSNorm(d, config.norm_eps)
            self.k_norm = RMSNorm(d, config.norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x (B, T, C) -> (B, T, C)"""
        b, t, _ = x.shape
        q = self.q_proj(x).view(b, t, -1, self.config.head_width)  # (B, T, H, D)
        k = self.k_proj(x).view(b, t, -1, self.config.head_width)  # (B, T, K, D)
        v = self.v_proj(x).view(b, t, -1, self.config.head_width)  # (B, T, K, D)
        if self.config.has_qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H|K, T, D)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        grouped = self.config.n_heads != self.config.n_kv_heads
        y = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.ffn_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.ffn_width, bias=False)
        self.down_proj = nn.Linear(config.ffn_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.width, config.norm_eps)
        self.mlp = SwiGLU(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.width, config.norm_eps)
        if not config.tie_embeddings:
            self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """What the last layer says of each position, normalised: tokens (B, T) -> (B, T, C)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]  # (1, T)
        cos, sin = rope_angles(positions, self.config)
        x = embedding(tokens, self.embed_tokens.weight)  # (B, T, C)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)  # type: ignore[no-any-return]

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits of the next token: (..., C) -> (..., V)."""
        head = self.embed_tokens.weight if self.config.tie_embeddings else self.lm_head.weight
        return linear(hidden, head)

    def forward(self, tokens: Tensor, where: Tensor | None = None) -> Tensor:
        """Logits (B, T, V): position t predicts token t + 1. With `where` (B, T), only of those that are True: (M, V)."""
        hidden = self.hidden(tokens)
        return self.unembed(hidden if where is None else hidden[where])


def init_weights(model: Transformer, seed: int) -> None:
    """Normal weights, std 0.02; outputs into the residual stream smaller by sqrt(2 L) (Radford et al. 2019, 2.3)."""
    generator = torch.Generator().manual_seed(seed)
    residual_std = 0.02 / (2 * model.config.n_layers) ** 0.5
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            std = residual_std if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
            parameter.data.normal_(0.0, std, generator=generator)
        elif name.endswith("bias"):
            parameter.data.zero_()


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
