"""The network as generation runs it: the keys and values of earlier tokens kept, and as few waits as can be.

`transformer.py` says what the network computes; this computes the same, faster. q, k and v are one product, and so are
gate and up. On a processor a pass is one call of `kernels.py`, with weights of 8 bits. Where it is to be exact, or the
processor is old, or there is a GPU, torch multiplies, and all is float32; so it does on an ARM where positions are many.
"""

import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, pad, rms_norm, silu

from model import kernels
from model.compiled import Array, use_torchs_threads
from model.config import ModelConfig
from model.kernels import LANES, EightBits
from model.kv_cache import KVCache, Pass
from model.quantize import to_int8
from model.transformer import Block, RMSNorm, Transformer, rope_angles, rotate

IS_ARM = platform.machine() in ("aarch64", "arm64")
# positions of a pass up to which the kernels are faster than torch's products in float32; Apple's have a unit for these
MOST = 16 if IS_ARM else sys.maxsize
EIGHT_BITS = 1.25  # bytes a weight: one, and in short rows some more for their steps


def is_fast(device: torch.device) -> bool:
    """Whether generation rounds weights here: ATEN_CPU_CAPABILITY=default forbids it, as do old processors."""
    is_new = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    return device.type == "cpu" and (is_new or IS_ARM)


def bytes_per_parameter(device: torch.device, *, is_exact: bool) -> float:
    """What a decoder's weights take up at most."""
    if is_exact or not is_fast(device):
        return 4
    return EIGHT_BITS + 4 if IS_ARM else EIGHT_BITS


class Product(NamedTuple):
    """x (N, I) -> x W^T + b (N, O)"""

    of: Callable[[Tensor], Tensor]
    n_bytes: int  # of the weights


def new_product(weight: Tensor, bias: Tensor | None) -> Product:
    """weight (O, I), bias (O,), float32; the weights in a layout that makes the product of many rows fast."""
    if weight.device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return Product(lambda x: linear(x, weight, bias), weight.nbytes)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    multiply = torch.ops.mkldnn._linear_pointwise
    return Product(lambda x: multiply(x, packed, bias, "none", [], ""), weight.nbytes)


class Norms(NamedTuple):
    attention: Tensor  # (C,)
    mlp: Tensor  # (C,)
    qk: Tensor  # (H + K, D) Qwen3's norms of q and k, or (H + K, 0)


class Layer(NamedTuple):
    qkv: Product  # C -> (H + 2 K) D
    out: Product  # H D -> C
    gate_up: Product  # C -> 2 F
    down: Product  # F -> C
    norms: Norms


class Decoder:
    """A transformer made ready for generation. Later changes of its matrices do not reach it."""

    def __init__(self, model: Transformer, *, is_exact: bool = False) -> None:
        """`is_exact`: float32 throughout, also where the processor is faster with less."""
        c, embedded = model.config, model.embed_tokens.weight.detach()
        self.config, self.device = c, embedded.device
        self._is_on_cpu = self.device.type == "cpu"
        self._is_fast = is_fast(self.device) and not is_exact
        self._most = MOST if self._is_fast else 0
        self._embedding, self._norm = embedded, _copied(model.norm)  # (V, C), (C,)
        self._angles = rope_angles(torch.arange(c.max_context, device=self.device), c)
        head = embedded if c.tie_embeddings else model.lm_head.weight.detach()
        blocks: list[Block] = list(model.layers)  # type: ignore[arg-type]
        if self._is_fast:
            self._eight_bit_head = _to_eight_bits(head, None)
            self._eight_bits = _stacked(blocks, c)
        self._layers: list[Layer] = []
        if not self._is_fast or IS_ARM:
            self._head = self._new_product(head, None)
            self._layers = [self._new_layer(block) for block in blocks]

    @property
    def n_bytes(self) -> int:
        """Of its own weights."""
        n = 0
        if self._is_fast:
            n += sum(part.n_bytes for part in (*self._eight_bits[:4], self._eight_bit_head))
        if self._layers:
            products = [product for layer in self._layers for product in layer[:4]]
            n += sum(product.n_bytes for product in (*products, self._head))
        return n

    def new_cache(self) -> KVCache:
        kept_in = torch.float16 if self._is_fast else torch.float32
        return KVCache(self.config, self.device, kept_in)

    def hidden(self, tokens: Tensor, cache: KVCache, at: Pass) -> Tensor:
        """The last layer's state at each of the pass's positions, as `logits` takes it: (B, T, C).

        tokens (B, T)
        """
        x = embedding(tokens.flatten(), self._embedding).float()  # (N, C), N = B T
        n_threads = use_torchs_threads()
        if len(x) <= self._most:
            starts, angles = np.array(at.starts), self._angles_as_arrays()
            kernels.run_layers(
                x.numpy(), self._eight_bits, cache.array, at.first_row, starts, angles, n_threads
            )
        else:
            x = self._run_layers(x, cache, at)
        return self._normed(x, self._norm).view(*tokens.shape, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, C) -> (B, V), float32."""
        if len(hidden) > self._most:
            return self._head.of(hidden)
        y = torch.empty(len(hidden), self.config.vocab_size)
        kernels.multiply(
            hidden.contiguous().numpy(), *self._eight_bit_head, use_torchs_threads(), y.numpy()
        )
        return y

    def _run_layers(self, x: Tensor, cache: KVCache, at: Pass) -> Tensor:
        """Layer by layer: x (N, C) -> (N, C)"""
        attend = self._attending(cache, at)
        for number, layer in enumerate(self._layers):
            qkv = layer.qkv.of(self._normed(x, layer.norms.attention))
            mixed = attend(number, qkv.view(len(x), -1, self.config.head_width))  # (N, H, D)
            x = x + layer.out.of(mixed.reshape(len(x), -1))
            gate, up = layer.gate_up.of(self._normed(x, layer.norms.mlp)).chunk(2, dim=-1)  # (N, F)
            x = x + layer.down.of(silu(gate) * up)
        return x

    def _attending(self, cache: KVCache, at: Pass) -> Callable[[int, Tensor], Tensor]:
        """The attention of a pass, which takes a layer's number and qkv (N, H + 2 K, D) and gives (N, H, D)."""
        if at.n_new == 1 and self._is_on_cpu:
            return partial(self._attend_step, cache, at.first_row, np.array(at.starts))
        positions = cache.positions(at)
        return partial(self._attend, cache, at, positions, cache.mask(positions, at.n_visible))

    def _attend_step(
        self, cache: KVCache, first: int, starts: Array, number: int, qkv: Tensor
    ) -> Tensor:
        """One new position of each row. starts (N,)"""
        mixed = torch.empty(len(qkv), self.config.n_heads, self.config.head_width)
        keys, values = cache.array[number]
        norm, eps = self._layers[number].norms.qk.numpy(), self.config.norm_eps
        angles = self._angles_as_arrays()
        kernels.attend(qkv.numpy(), keys, values, first, starts, *angles, norm, eps, mixed.numpy())
        return mixed

    def _attend(
        self, cache: KVCache, at: Pass, positions: Tensor, mask: Tensor, number: int, qkv: Tensor
    ) -> Tensor:
        """T new positions of each of B rows, N = B T. positions (B, T), mask (B K, H/K T, S)"""
        (b, t), c = positions.shape, self.config
        qk, v = torch.split(qkv, [c.n_heads + c.n_kv_heads, c.n_kv_heads], dim=1)
        norm = self._layers[number].norms.qk
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

    def _new_layer(self, block: Block) -> Layer:
        qkv, out, gate_up, down = (self._new_product(*m) for m in _matrices(block, self.config))
        return Layer(qkv, out, gate_up, down, _norms(block, self.config))

    def _new_product(self, weight: Tensor, bias: Tensor | None) -> Product:
        """Of a matrix (O, I); for a fast decoder, of the numbers that its kernels have too."""
        if self._is_fast:
            numbers, step = to_int8(weight)
            weight = numbers.float() * step.float()[:, None]
        return new_product(weight.float(), None if bias is None else bias.float())


def _matrices(block: Block, config: ModelConfig) -> Iterator[tuple[Tensor, Tensor | None]]:
    """A block's four matrices (O, I), those of the same input joined, and what is added (O,)."""
    attention, mlp = block.self_attn, block.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    bias = torch.cat([p.bias.detach() for p in projections]) if config.has_qkv_bias else None
    yield torch.cat([p.weight.detach() for p in projections]), bias
    yield attention.o_proj.weight.detach(), None
    yield torch.cat([mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()]), None
    yield mlp.down_proj.weight.detach(), None


def _norms(block: Block, config: ModelConfig) -> Norms:
    attention, c = block.self_attn, config
    qk = torch.empty(c.n_heads + c.n_kv_heads, 0, device=attention.q_proj.weight.device)
    if c.has_qk_norm:
        q_norm, k_norm = _copied(attention.q_norm), _copied(attention.k_norm)
        qk = torch.stack([q_norm] * c.n_heads + [k_norm] * c.n_kv_heads)
    return Norms(_copied(block.input_layernorm), _copied(block.post_attention_layernorm), qk)


def _to_eight_bits(weight: Tensor, bias: Tensor | None) -> EightBits:
    """weight (O, I), bias (O,)"""
    numbers, step = to_int8(weight)
    filled = pad(numbers, (0, -numbers.shape[1] % LANES))
    added = torch.zeros(len(step)) if bias is None else bias.float()
    return EightBits(filled.numpy(), step.float().numpy(), added.numpy())


def _stacked(blocks: list[Block], config: ModelConfig) -> kernels.Weights:
    """The weights of all layers as the kernels take them."""

    def stack(arrays: Iterable[Array | Tensor]) -> Array:
        return np.stack([np.asarray(array) for array in arrays])

    layers = [[_to_eight_bits(*m) for m in _matrices(block, config)] for block in blocks]
    qkv, out, gate_up, down = (
        EightBits(*(stack(parts) for parts in zip(*of_all, strict=True)))
        for of_all in zip(*layers, strict=True)
    )
    norms = zip(*(_norms(block, config) for block in blocks), strict=True)
    attention_norm, mlp_norm, qk_norm = (stack(norm) for norm in norms)
    return kernels.Weights(
        qkv, out, gate_up, down, attention_norm, mlp_norm, qk_norm, config.norm_eps
    )


def _copied(norm: RMSNorm) -> Tensor:
    """Its weight (C,), float32."""
    return norm.weight.detach().float().clone()
