"""The network as generation runs it: the keys and values of earlier tokens kept, and as few waits as can be.

`transformer.py` says what the network computes; this computes the same, faster. q, k and v are one product, and so are
gate and up. On a processor a step of few rows is one call of `kernels.py`, with weights of 8 bits; many rows are multiplied
by torch, in the narrowest numbers that the processor is fast with. All between the products is float32.
"""

import platform
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, silu

from model import kernels
from model.kernels import Array, EightBits
from model.kv_cache import KVCache, Pass
from model.quantize import to_int8
from model.transformer import Block, RMSNorm, Transformer, rope_angles, rotate

Precision = Literal["float32", "float16", "bfloat16"]
# rows up to which 8-bit weights, which arrive from memory sooner, are faster than torch's products, by those
FEW: dict[Precision, int] = {"float32": 16, "float16": 16, "bfloat16": 4}
STEP_BITS = 4  # of an 8-bit weight's step: number times step is then exact in float16


def is_fast(device: torch.device) -> bool:
    """Whether generation rounds weights here: ATEN_CPU_CAPABILITY=default forbids it, as do old processors."""
    is_new = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    return device.type == "cpu" and (is_new or platform.machine() in ("aarch64", "arm64"))


def fast_precision() -> Precision:
    """What the processor multiplies many rows fastest with; ATEN_CPU_CAPABILITY=avx2 forbids bfloat16."""
    if (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and torch.cpu._is_avx512_bf16_supported()
    ):
        return "bfloat16"
    return "float16" if torch.backends.quantized.engine in ("x86", "fbgemm") else "float32"


class Product(NamedTuple):
    """x (N, I) -> x W^T + b (N, O), rounded as its weights are."""

    of: Callable[[Tensor], Tensor]
    n_bytes: int  # of the weights


def new_product(weight: Tensor, bias: Tensor | None, precision: Precision) -> Product:
    """weight (O, I), bias (O,), float32; the weights in a layout that makes the product of many rows fast."""
    n = weight.numel()
    if precision == "float16":  # sums in float32
        packed = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        return Product(lambda x: torch.ops.quantized.linear_dynamic_fp16(x, packed), 2 * n)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    if weight.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return Product(lambda x: linear(x, weight, bias), 4 * n)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    multiply = torch.ops.mkldnn._linear_pointwise
    return Product(
        lambda x: multiply(x.to(dtype), packed, bias, "none", [], ""), n * weight.itemsize
    )


class Layer(NamedTuple):
    qkv: Product  # C -> (H + 2 K) D
    out: Product  # H D -> C
    gate_up: Product  # C -> 2 F
    down: Product  # F -> C
    attention_norm: Tensor  # (C,)
    mlp_norm: Tensor  # (C,)
    qk_norm: Tensor  # (H + K, D) Qwen3's norms of q and k, or (H + K, 0)


class Decoder:
    """A transformer made ready for generation. It has its own copy of the weights: later changes do not reach it."""

    def __init__(self, model: Transformer, *, is_exact: bool = False) -> None:
        """`is_exact`: float32 throughout, also where the processor is faster with less."""
        c, embedded = model.config, model.embed_tokens.weight.detach()
        self.config, self.device = c, embedded.device
        self._is_on_cpu = self.device.type == "cpu"
        self._is_fast = is_fast(self.device) and not is_exact
        self._precision = fast_precision() if self._is_fast else "float32"
        self._n_few = FEW[self._precision] if self._is_fast else 0
        self._embedding, self._norm = embedded, _copied(model.norm)  # (V, C), (C,)
        self._angles = rope_angles(torch.arange(c.max_context, device=self.device), c)
        head = embedded if c.tie_embeddings else model.lm_head.weight.detach()
        self._head, self._head_few = self._products(head)
        layers = [self._new_layer(block) for block in model.layers]  # type: ignore[arg-type]
        self._layers = [layer for layer, _ in layers]
        few = [eight for _, eight in layers]
        self._few = _stacked(self._layers, few, c.norm_eps) if self._is_fast else None

    @property
    def n_bytes(self) -> int:
        """Of its own weights."""
        n = sum(product.n_bytes for layer in self._layers for product in layer[:4])
        n_few = sum(matrix.n_bytes for matrix in self._few[:4]) if self._few else 0
        n_head = self._head.n_bytes + (self._head_few.n_bytes if self._head_few else 0)
        return n + n_few + n_head

    def new_cache(self) -> KVCache:
        kept_in = torch.float16 if self._is_fast else torch.float32
        return KVCache(self.config, self.device, kept_in)

    def hidden(self, tokens: Tensor, cache: KVCache, at: Pass) -> Tensor:
        """The last layer's state at each of the pass's positions, as `logits` takes it: (B, T, C).

        tokens (B, T)
        """
        x = embedding(tokens.flatten(), self._embedding).float()  # (N, C), N = B T
        kernels.use_torchs_threads()
        if self._few and tokens.shape[1] == 1 and len(x) <= self._n_few:
            lengths, angles = np.array(at.starts), self._angles_as_arrays()
            kernels.run_layers(x.numpy(), self._few, cache.array, at.first_row, lengths, *angles)
        else:
            x = self._run_layers(x, cache, at)
        return self._normed(x, self._norm).view(*tokens.shape, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, C) -> (B, V), float32."""
        few = self._head_few
        if few is None or len(hidden) > self._n_few:
            return self._head.of(hidden).float()
        y = torch.empty(len(hidden), len(few.step))
        kernels.multiply(hidden.contiguous().numpy(), *few, y.numpy())
        return y

    def _run_layers(self, x: Tensor, cache: KVCache, at: Pass) -> Tensor:
        """Layer by layer: x (N, C) -> (N, C)"""
        attend = self._attending(cache, at)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv.of(self._normed(x, layer.attention_norm)).float()
            mixed = attend(number, qkv.view(len(x), -1, self.config.head_width))  # (N, H, D)
            x = x + layer.out.of(mixed.reshape(len(x), -1))
            gate, up = layer.gate_up.of(self._normed(x, layer.mlp_norm)).chunk(2, dim=-1)  # (N, F)
            x = x + layer.down.of(silu(gate) * up)
        return x

    def _attending(self, cache: KVCache, at: Pass) -> Callable[[int, Tensor], Tensor]:
        """The attention of a pass, which takes a layer's number and qkv (N, H + 2 K, D) and gives (N, H, D)."""
        if at.n_new == 1 and self._is_on_cpu:
            return partial(self._attend_step, cache, at.first_row, np.array(at.starts))
        positions = cache.positions(at)
        return partial(self._attend, cache, at, positions, cache.mask(positions, at.n_visible))

    def _attend_step(
        self, cache: KVCache, first: int, lengths: Array, number: int, qkv: Tensor
    ) -> Tensor:
        """One new position of each row. lengths (N,)"""
        mixed = torch.empty(len(qkv), self.config.n_heads, self.config.head_width)
        keys, values = cache.array[number]
        norm, eps = self._layers[number].qk_norm.numpy(), self.config.norm_eps
        angles = self._angles_as_arrays()
        kernels.attend(qkv.numpy(), keys, values, first, lengths, *angles, norm, eps, mixed.numpy())
        return mixed

    def _attend(
        self, cache: KVCache, at: Pass, positions: Tensor, mask: Tensor, number: int, qkv: Tensor
    ) -> Tensor:
        """T new positions of each of B rows, N = B T. positions (B, T), mask (B K, H/K T, S)"""
        (b, t), c = positions.shape, self.config
        qk, v = torch.split(qkv, [c.n_heads + c.n_kv_heads, c.n_kv_heads], dim=1)
        norm = self._layers[number].qk_norm
        if norm.numel():
            qk = rms_norm(qk, qk.shape[-1:], eps=c.norm_eps) * norm
        cos, sin = (angles[positions] for angles in self._angles)  # (B, T, D)
        qk = rotate(qk.view(b, t, -1, c.head_width).transpose(1, 2), cos, sin)  # (B, H + K, T, D)
        q, k = torch.split(qk, [c.n_heads, c.n_kv_heads], dim=1)
        keys, values = cache.layers[number]  # (R, K, S', D)
        end_row = at.first_row + b
        rows = torch.arange(at.first_row, end_row, device=self.device)[:, None]
        keys[rows, :, positions] = k.transpose(1, 2).to(keys.dtype)
        values[rows, :, positions] = v.view(b, t, -1, c.head_width).to(keys.dtype)
        keys, values = (
            kept[at.first_row : end_row, :, : at.n_visible].flatten(0, 1).float()  # (B K, S, D)
            for kept in (keys, values)
        )
        q = q.reshape(b * c.n_kv_heads, -1, c.head_width)  # (B K, H/K T, D)
        scores = torch.baddbmm(mask, q, keys.mT, alpha=c.head_width**-0.5)  # (B K, H/K T, S)
        mixed = torch.bmm(scores.softmax(-1), values).view(b, -1, t, c.head_width)
        return mixed.transpose(1, 2).reshape(b * t, -1, c.head_width)

    def _angles_as_arrays(self) -> tuple[Array, Array]:
        cos, sin = self._angles
        return cos.numpy(), sin.numpy()

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm: x (N, C), weight (C,)"""
        if not self._is_on_cpu:
            return rms_norm(x, [len(weight)], weight, self.config.norm_eps)
        y = torch.empty_like(x)
        kernels.normalise(x.numpy(), weight.numpy(), self.config.norm_eps, y.numpy())
        return y

    def _new_layer(self, block: Block) -> tuple[Layer, list[EightBits]]:
        """A block's weights, joined, for many rows, and its four matrices for few."""
        attention, mlp, c = block.self_attn, block.mlp, self.config
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        bias = torch.cat([p.bias.detach() for p in projections]) if c.has_qkv_bias else None
        gate_up = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).detach()
        qkv, few_qkv = self._products(torch.cat([p.weight.detach() for p in projections]), bias)
        out, few_out = self._products(attention.o_proj.weight.detach())
        gated, few_gated = self._products(gate_up)
        down, few_down = self._products(mlp.down_proj.weight.detach())
        qk_norm = torch.empty(c.n_heads + c.n_kv_heads, 0, device=self.device)
        if c.has_qk_norm:
            q_norm, k_norm = _copied(attention.q_norm), _copied(attention.k_norm)
            qk_norm = torch.stack([q_norm] * c.n_heads + [k_norm] * c.n_kv_heads)
        norms = _copied(block.input_layernorm), _copied(block.post_attention_layernorm)
        layer = Layer(qkv, out, gated, down, *norms, qk_norm)
        return layer, [few for few in (few_qkv, few_out, few_gated, few_down) if few]

    def _products(
        self, weight: Tensor, bias: Tensor | None = None
    ) -> tuple[Product, EightBits | None]:
        """The product with weight (O, I) and bias (O,) for many rows, and what few are multiplied with."""
        weight, bias = weight.float(), None if bias is None else bias.float()
        if not self._is_fast:
            return new_product(weight, bias, self._precision), None
        numbers, step = to_int8(weight, STEP_BITS)
        if self._precision != "bfloat16":  # few rows and many then meet the same numbers
            weight = numbers.float() * step.float()[:, None]
        added = torch.zeros(len(weight)) if bias is None else bias
        few = EightBits(numbers.numpy(), step.float().numpy(), added.numpy())
        return new_product(weight, bias, self._precision), few


def _stacked(layers: list[Layer], few: list[list[EightBits]], eps: float) -> kernels.Weights:
    """The weights of all layers as the kernels take them."""

    def stack(arrays: Iterable[Array | Tensor]) -> Array:
        return np.stack([np.asarray(array) for array in arrays])

    qkv, out, gate_up, down = (
        EightBits(*(stack(parts) for parts in zip(*of_all, strict=True)))
        for of_all in zip(*few, strict=True)
    )
    attention_norm, mlp_norm, qk_norm = (
        stack(norm) for norm in zip(*(layer[4:] for layer in layers), strict=True)
    )
    return kernels.Weights(qkv, out, gate_up, down, attention_norm, mlp_norm, qk_norm, eps)


def _copied(norm: RMSNorm) -> Tensor:
    """Its weight (C,), float32."""
    return norm.weight.detach().float().clone()
