"""Keys and values of the running rows, so that each new token costs one position and not all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.config import ModelConfig

MIN_ROWS, MIN_POSITIONS = 8, 128


class Pass(NamedTuple):
    """Where the next T positions of B rows go, and what they see of the S positions that are then filled."""

    first_row: int
    first_head: int  # of the (R K) heads of all rows
    end_head: int
    positions: Tensor  # (B, T)
    slots: Tensor  # (B 2 K T,) into the (2 R K S') positions of one layer, keys then values
    mask: Tensor  # (B K, H/K T, S) added to the scores: 0 where it may look, else -inf
    n_visible: int  # S


class KVCache:
    """Keys and values (L, 2, R, K, S', D), float32. Rows 0 to n_rows - 1 are in use, row i filled up to `lengths[i]`.

    Memory grows with the rows and positions in use, and is given back by `clear`.
    A pass over the network: `begin`, then each layer writes into its slots and reads its keys and values, `advance`.
    """

    def __init__(self, config: ModelConfig, device: torch.device) -> None:
        self._config, self._device = config, device
        self._numbers = torch.arange(config.max_context, device=device)
        self.lengths: list[int] = []
        self.clear()

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

    @property
    def bytes_per_row(self) -> int:
        """Of a row that fills the whole context."""
        c = self._config
        return c.n_layers * 2 * c.n_kv_heads * c.max_context * c.head_width * 4

    def clear(self) -> None:
        """No rows, and hardly any memory."""
        self.lengths.clear()
        self._allocate(MIN_ROWS, MIN_POSITIONS)

    def append(self, n: int) -> None:
        """`n` more rows, with nothing in them yet."""
        self.lengths += [0] * n
        self._reserve(self.n_rows, 0)

    def begin(self, first: int, n: int, n_new: int) -> Pass:
        """The next pass: `n_new` more positions of rows `first` to `first + n`."""
        starts = self.lengths[first : first + n]
        n_visible = max(starts) + n_new
        self._reserve(self.n_rows, n_visible)
        n_kv, n_group = self._config.n_kv_heads, self._config.n_heads // self._config.n_kv_heads
        new = self._numbers[:n_new]
        positions = torch.tensor(starts, device=self._device)[:, None] + new  # (B, T)
        slots = self._begins[first : first + n, :, None] + positions[:, None]  # (B, 2 K, T)
        is_later = self._numbers[:n_visible] > positions[..., None]  # (B, T, S)
        mask = torch.where(is_later, -torch.inf, 0.0)[:, None, None]
        mask = mask.expand(-1, n_kv, n_group, -1, -1).reshape(n * n_kv, -1, n_visible)
        return Pass(
            first, first * n_kv, (first + n) * n_kv, positions, slots.flatten(), mask, n_visible
        )

    def advance(self, at: Pass, n_new: Sequence[int]) -> None:
        """The rows of the pass are longer now, each by its own number."""
        for row, n in enumerate(n_new, start=at.first_row):
            self.lengths[row] += n

    def copy(self, source: int, target: int) -> None:
        """Make one row like another."""
        n = self.lengths[target] = self.lengths[source]
        self.kept[:, :, target, :, :n] = self.kept[:, :, source, :, :n]

    def remove(self, row: int) -> int:
        """Free a row by moving the last one into its place; return the row that moved."""
        last = self.n_rows - 1
        if row != last:
            self.copy(last, row)
        self.lengths.pop()
        return last

    def _reserve(self, n_rows: int, n_positions: int) -> None:
        """Make room, for twice as many as before or more, and keep what there is."""
        had_rows, had_positions = self.kept.shape[2], self.kept.shape[4]
        rows, positions = had_rows, had_positions
        if n_rows > had_rows:
            rows = max(n_rows, 2 * had_rows)
        if n_positions > had_positions:
            positions = min(max(n_positions, 2 * had_positions), self._config.max_context)
        if (rows, positions) != (had_rows, had_positions):
            had = self.kept
            self._allocate(rows, positions)
            self.kept[:, :, :had_rows, :, :had_positions] = had

    def _allocate(self, n_rows: int, n_positions: int) -> None:
        """Empty memory, and for each row the slots (R, 2 K) at which its keys and values begin in a layer.

        Views of each layer are made here once: its slots (2 R K S', D), keys (R K, S', D) and values.
        """
        c = self._config
        shape = (c.n_layers, 2, n_rows, c.n_kv_heads, n_positions, c.head_width)
        self.kept = torch.zeros(shape, device=self._device)
        self.layers = [
            (layer.view(-1, c.head_width), *layer.flatten(1, 2).unbind()) for layer in self.kept
        ]
        begins = torch.arange(0, 2 * n_rows * c.n_kv_heads * n_positions, n_positions)
        begins = begins.view(2, n_rows, -1).transpose(0, 1).flatten(1)
        self._begins = begins.to(self._device)
