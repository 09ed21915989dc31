"""The network as generation runs it: few, large operations, and the keys and values of earlier tokens kept.

`transformer.py` says what the network computes; this computes the same, faster. q, k and v are one product, and so are
gate and up. The weights of each norm are multiplied into the product that follows it. Where the processor multiplies
bfloat16, products take bfloat16, and for few rows 8-bit weights; all between them is float32. The layers are written in
the part of Python that TorchScript compiles, because Python between the operations costs a small batch a fifth of its time.
"""

import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, silu

from model.kv_cache import KVCache, Pass
from model.quantize import to_int8
from model.transformer import Block, RMSNorm, Transformer, rope_angles


def is_fast(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16, and is let to: ATEN_CPU_CAPABILITY=avx2 forbids it."""
    return (
        device.type == "cpu"
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.cpu._is_avx512_bf16_supported()
    )


class Product(NamedTuple):
    """x -> (scale x) W^T + b.

    weight  (O, I): in float32 and scaled; where it is computed fast in 8 bits, which the scale would make coarser
    bias    (O,)
    packed  (O, I), only where it is computed fast: in bfloat16, scaled, in oneDNN's own layout
    step    (O,) of the 8 bits
    scale   (I,) that the 8 bits lack
    """

    weight: Tensor
    bias: Tensor | None
    packed: Tensor | None = None
    step: Tensor | None = None
    scale: Tensor | None = None

    @property
    def n_bytes(self) -> int:
        n = self.weight.numel() * self.weight.element_size()
        return n if self.packed is None else n + 2 * self.weight.numel()


def exact_product(
    weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Product:
    """In float32. weight (O, I), bias (O,), scale (I,): what is left of a norm before the product."""
    return Product(weight if scale is None else weight * scale, bias)


def fast_product(
    weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None
) -> Product:
    """The same with x, W and the result rounded to bfloat16; for few rows with each row of W rounded to 8 bits.

    Few rows wait for the weights to arrive from memory, and 8 bits arrive sooner; many rows wait for the sums.
    """
    rounded, step = to_int8(weight)
    scaled = (weight if scale is None else weight * scale).bfloat16()
    packed = torch.ops.mkldnn._reorder_linear_weight(scaled)  # twice as fast as a plain matrix
    return Product(rounded, None if bias is None else bias.bfloat16(), packed, step, scale)


class Layer(NamedTuple):
    qkv: Product  # C -> (H + 2 K) D
    out: Product  # H D -> C
    gate_up: Product  # C -> 2 F
    down: Product  # F -> C
    qk_norm: Tensor | None  # (H + K, D), times sqrt(D): Qwen3's norms of q and k


class Heads(NamedTuple):
    n: int  # H
    n_kv: int  # K
    width: int  # D


def multiply(x: Tensor, by: Product, few: int = 4) -> Tensor:
    """x (N, I) -> (N, O). `few`: rows up to which the 8-bit product is the faster one."""
    packed, step, scale, bias = by.packed, by.step, by.scale, by.bias
    if packed is None or step is None:
        return linear(x, by.weight, bias)
    if x.shape[0] > few:
        x = x.to(torch.bfloat16)
        many: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return many
    if scale is not None:
        x = x * scale
    y: Tensor = torch._weight_int8pack_mm(x.to(torch.bfloat16), by.weight, step)
    return y if bias is None else y + bias


def normed(x: Tensor, floor: Tensor) -> Tensor:
    """x / sqrt(|x|^2 + floor^2) over the last axis: RMSNorm less a factor and the weights, with floor^2 = width eps."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=[-1], keepdim=True)
    return x / norm.hypot(floor)


def run_layers(
    x: Tensor,
    turn: Tensor,
    at: Pass,
    layers: list[Layer],
    kept: list[tuple[Tensor, Tensor, Tensor]],
    heads: Heads,
    floors: tuple[Tensor, Tensor],
) -> Tensor:
    """All layers over B rows of T positions, N = B T: x (N, C) -> (N, C), normalised.

    turn    (B, T, 1, D/2) complex
    kept    of each layer: its slots (2 R K S', D), keys (R K, S', D) and values, as `KVCache` has them
    floors  of the norms over C and over D
    """
    b, t = at.positions.shape
    n_turned = heads.n + heads.n_kv
    for number, layer in enumerate(layers):
        qkv = multiply(normed(x, floors[0]), layer.qkv)
        pairs = qkv.to(torch.float32).view(b, t, -1, heads.width // 2, 2)
        qk_norm = layer.qk_norm
        if qk_norm is not None:
            qk = normed(pairs[:, :, :n_turned].flatten(-2), floors[1]) * qk_norm
            pairs[:, :, :n_turned] = qk.view(b, t, n_turned, -1, 2)
        torch.view_as_complex(pairs)[:, :, :n_turned].mul_(turn)
        by_head = pairs.view(b, t, -1, heads.width).transpose(1, 2)  # (B, H + 2 K, T, D)
        slots, keys, values = kept[number]
        slots.index_copy_(0, at.slots, by_head[:, heads.n :].reshape(-1, heads.width))
        keys = keys[at.first_head : at.end_head, : at.n_visible]  # (B K, S, D)
        values = values[at.first_head : at.end_head, : at.n_visible]  # (B K, S, D)
        q = by_head[:, : heads.n].reshape(keys.shape[0], -1, heads.width)  # (B K, H/K T, D)
        scores = torch.baddbmm(at.mask, q, keys.mT, alpha=heads.width**-0.5)  # (B K, H/K T, S)
        mixed = torch.bmm(scores.softmax(-1), values).view(b, -1, t, heads.width)
        x = x + multiply(mixed.transpose(1, 2).reshape(b * t, -1), layer.out)
        gate, up = multiply(normed(x, floors[0]), layer.gate_up).chunk(2, dim=-1)  # (N, F) twice
        x = x + multiply(silu(gate) * up, layer.down)
    return normed(x, floors[0])


@cache
def compiled_layers() -> Callable[..., Tensor]:
    """`run_layers` without Python between its operations, where this Python has TorchScript and torch has oneDNN."""
    if sys.version_info >= (3, 14) or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return run_layers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated; the version of torch is fixed
        function: Any = torch.jit.script(run_layers)
    return function  # type: ignore[no-any-return]


class Decoder:
    """A transformer made ready for generation. It has its own copy of the weights: later changes do not reach it."""

    def __init__(self, model: Transformer, *, is_exact: bool = False) -> None:
        """`is_exact`: float32 throughout, also where the processor is faster with less."""
        c, weight = model.config, model.embed_tokens.weight.detach()
        self.config, self.device = c, weight.device
        product = fast_product if is_fast(self.device) and not is_exact else exact_product
        self._embedding = weight  # (V, C)
        self._layers = [_fused(block, product) for block in model.layers]  # type: ignore[arg-type]
        head = weight if c.tie_embeddings else model.lm_head.weight.detach()
        self._head = product(head.float(), scale=_scale(model.norm))  # C -> V
        cos, sin = rope_angles(torch.arange(c.max_context, device=weight.device), c)
        self._turns = torch.complex(cos, sin)[:, : c.head_width // 2]  # (positions, D/2)
        self._heads = Heads(c.n_heads, c.n_kv_heads, c.head_width)
        wide, narrow = (torch.tensor((n * c.norm_eps) ** 0.5) for n in (c.width, c.head_width))
        self._floors = wide, narrow

    @property
    def n_bytes(self) -> int:
        """Of its own weights."""
        layers = (product for layer in self._layers for product in layer[:4])
        return self._head.n_bytes + sum(product.n_bytes for product in layers)

    def new_cache(self) -> KVCache:
        return KVCache(self.config, self.device)

    def hidden(self, tokens: Tensor, cache: KVCache, at: Pass) -> Tensor:
        """The last layer's state at each of the pass's positions, as `logits` takes it: (B, T, C).

        tokens (B, T)
        """
        x = embedding(tokens.flatten(), self._embedding).float()  # (N, C), N = B T
        turn = self._turns[at.positions][:, :, None]  # (B, T, 1, D/2)
        layers = compiled_layers() if self.device.type == "cpu" else run_layers
        x = layers(x, turn, at, self._layers, cache.layers, self._heads, self._floors)
        return x.view(*tokens.shape, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, C) -> (B, V), float32."""
        return multiply(hidden, self._head).float()


def _scale(norm: RMSNorm) -> Tensor:
    """What is left of an RMSNorm when its division is done."""
    scale: Tensor = norm.weight.detach().float() * len(norm.weight) ** 0.5
    return scale


def _fused(block: Block, product: Callable[..., Product]) -> Layer:
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
    return Layer(
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
