"""The network as generation runs it: few, large operations, and the keys and values of earlier tokens kept.

`transformer.py` says what the network computes; this computes the same, faster. q, k and v are one product, and so are
gate and up. The weights of each norm are multiplied into the product that follows it. Where the processor multiplies
bfloat16, products take bfloat16, and for few rows 8-bit weights; all between them is float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, silu

from model.kv_cache import KVCache, Pass
from model.quantize import to_int8
from model.transformer import Block, RMSNorm, Transformer, rope_angles

MAX_FEW = 4  # rows up to which the 8-bit product is the faster one


def is_fast(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16, and is let to: ATEN_CPU_CAPABILITY=avx2 forbids it."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.cpu._is_avx512_bf16_supported()
    )


class Product:
    """x -> (scale x) W^T + b, exactly in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None):
        """weight (O, I), bias (O,), scale (I,): what is left of a norm before the product"""
        self._weight = weight if scale is None else weight * scale
        self._bias = bias
        self.n_bytes = weight.numel() * weight.element_size()

    def __call__(self, x: Tensor) -> Tensor:
        """x (N, I) -> (N, O)"""
        return linear(x, self._weight, self._bias)


class FastProduct(Product):
    """The same with x, W and the result rounded to bfloat16; for few rows with each row of W rounded to 8 bits.

    Few rows wait for the weights to arrive from memory, and 8 bits arrive sooner; many rows wait for the sums.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None):
        rounded, step = to_int8(weight)
        super().__init__(rounded, None if bias is None else bias.bfloat16())
        self._step, self._scale = step, scale
        scaled = weight if scale is None else weight * scale
        # oneDNN's own layout, made once, is twice as fast as a plain matrix
        self._packed = torch.ops.mkldnn._reorder_linear_weight(scaled.bfloat16())
        self.n_bytes += 2 * weight.numel()

    def __call__(self, x: Tensor) -> Tensor:
        if x.shape[0] > MAX_FEW:
            many: Tensor = torch.ops.mkldnn._linear_pointwise(
                x.bfloat16(), self._packed, self._bias, "none", [], ""
            )
            return many
        if self._scale is not None:  # apart: times the scale, W could be rounded less finely
            x = x * self._scale
        few: Tensor = torch._weight_int8pack_mm(x.bfloat16(), self._weight, self._step)
        return few if self._bias is None else few + self._bias


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: Product  # C -> (H + 2 K) D
    out: Product  # H D -> C
    gate_up: Product  # C -> 2 F
    down: Product  # F -> C
    qk_norm: Tensor | None  # (H + K, D), times sqrt(D): Qwen3's norms of q and k

    @property
    def n_bytes(self) -> int:
        return sum(p.n_bytes for p in (self.qkv, self.out, self.gate_up, self.down))


class Decoder:
    """A transformer made ready for generation. It has its own copy of the weights: later changes do not reach it."""

    def __init__(self, model: Transformer, *, is_exact: bool = False) -> None:
        """`is_exact`: float32 throughout, also where the processor is faster with less."""
        c, weight = model.config, model.embed_tokens.weight.detach()
        self.config, self.device = c, weight.device
        product = FastProduct if is_fast(self.device) and not is_exact else Product
        self._embedding = weight  # (V, C)
        self._layers = [_fused(block, product) for block in model.layers]  # type: ignore[arg-type]
        head = weight if c.tie_embeddings else model.lm_head.weight.detach()
        self._head = product(head.float(), scale=_scale(model.norm))  # C -> V
        cos, sin = rope_angles(torch.arange(c.max_context, device=weight.device), c)
        self._turns = torch.complex(cos, sin)[:, : c.head_width // 2]  # (positions, D/2)
        self._floors = {n: torch.tensor((n * c.norm_eps) ** 0.5) for n in (c.width, c.head_width)}

    @property
    def n_bytes(self) -> int:
        """Of its own weights."""
        return self._head.n_bytes + sum(layer.n_bytes for layer in self._layers)

    def new_cache(self) -> KVCache:
        return KVCache(self.config, self.device)

    def hidden(self, tokens: Tensor, cache: KVCache, at: Pass) -> Tensor:
        """The last layer's state at each of the pass's positions, as `logits` takes it: (B, T, C).

        tokens (B, T)
        """
        c, (b, t) = self.config, tokens.shape
        turn = self._turns[at.positions][:, :, None]  # (B, T, 1, D/2)
        n_turned = c.n_heads + c.n_kv_heads
        x = embedding(tokens.flatten(), self._embedding).float()  # (N, C), N = B T
        for number, layer in enumerate(self._layers):
            pairs = layer.qkv(self._normed(x)).float().view(b, t, -1, c.head_width // 2, 2)
            if layer.qk_norm is not None:
                qk = pairs[:, :, :n_turned].flatten(-2)
                pairs[:, :, :n_turned] = (self._normed(qk) * layer.qk_norm).view(
                    *qk.shape[:-1], -1, 2
                )
            torch.view_as_complex(pairs)[:, :, :n_turned].mul_(turn)
            qkv = pairs.view(b, t, -1, c.head_width).transpose(1, 2)  # (B, H + 2 K, T, D)
            keys, values = cache.write(number, at, qkv[:, c.n_heads :])  # (B K, S, D) twice
            q = qkv[:, : c.n_heads].reshape(len(keys), -1, c.head_width)  # (B K, H/K T, D)
            scores = torch.baddbmm(at.mask, q, keys.mT, alpha=c.head_width**-0.5)  # (B K, H/K T, S)
            mixed = torch.bmm(scores.softmax(-1), values).view(b, -1, t, c.head_width)
            x += layer.out(mixed.transpose(1, 2).reshape(b * t, -1))
            gate, up = layer.gate_up(self._normed(x)).chunk(2, dim=-1)  # (N, F) twice
            x += layer.down(silu(gate) * up)
        return self._normed(x).view(b, t, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, C) -> (B, V), float32."""
        return self._head(hidden).float()

    def _normed(self, x: Tensor) -> Tensor:
        """x / sqrt(|x|^2 + n eps) over the last axis, of n: RMSNorm less the factor sqrt(n) and the weights."""
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / norm.hypot(self._floors[x.shape[-1]])


def _scale(norm: RMSNorm) -> Tensor:
    """What is left of an RMSNorm when its division is done."""
    scale: Tensor = norm.weight.detach().float() * len(norm.weight) ** 0.5
    return scale


def _fused(block: Block, product: type[Product]) -> _Layer:
    """A block's weights, joined and scaled."""
    attention, mlp, c = block.self_attn, block.mlp, block.self_attn.config
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    order = _pairs_together(c.n_heads, c.n_kv_heads, c.head_width)
    qkv = torch.cat([p.weight.detach().float() for p in projections])[order]
    bias = (
        torch.cat([p.bias.detach().float() for p in projections])[order] if c.has_qkv_bias else None
    )
    gate_up = torch.cat([p.weight.detach().float() for p in (mlp.gate_proj, mlp.up_proj)])
    qk_norm = None
    if c.has_qk_norm:
        scales = [_scale(attention.q_norm)] * c.n_heads + [_scale(attention.k_norm)] * c.n_kv_heads
        qk_norm = torch.stack(scales)[:, order[: c.head_width]]
    return _Layer(
        qkv=product(qkv, bias, _scale(block.input_layernorm)),
        out=product(attention.o_proj.weight.detach().float()),
        gate_up=product(gate_up, scale=_scale(block.post_attention_layernorm)),
        down=product(mlp.down_proj.weight.detach().float()),
        qk_norm=qk_norm,
    )


def _pairs_together(n_heads: int, n_kv_heads: int, head_width: int) -> Tensor:
    """An order of the rows of q, k and v in which the two that are turned together stand side by side.

    A turn is then one complex product. q and k change alike, so that their products stay the same.
    """
    rows = torch.arange((n_heads + 2 * n_kv_heads) * head_width).view(-1, head_width)
    turned = n_heads + n_kv_heads
    rows[:turned] = rows[:turned].view(turned, 2, -1).mT.reshape(turned, -1)
    return rows.flatten()
