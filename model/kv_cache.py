"""Keys and values of the running rows, so that each new token costs one position and not all of them."""

import torch
from torch import Tensor

from model.config import ModelConfig


class KVCache:
    """Keys and values (L, rows, K, S, D). Rows 0 to n_rows-1 are in use, each as long as `lengths` says.

    A pass over the network works on the rows `first` to `first + B`: `select` them, run the network, `advance`.
    """

    def __init__(
        self, config: ModelConfig, max_rows: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (
            config.n_layers,
            max_rows,
            config.n_kv_heads,
            config.max_context,
            config.head_width,
        )
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = torch.zeros(max_rows, dtype=torch.long, device=device)
        self.n_rows = 0
        self.select(0, 0)

    def select(self, first: int, n: int) -> None:
        """The next pass runs over rows `first` to `first + n`."""
        self._rows = slice(first, first + n)

    def next_positions(self, n_new: int) -> Tensor:
        """Positions of the next `n_new` tokens of each selected row: (B, n_new)."""
        new = torch.arange(n_new, device=self.lengths.device)
        return self.lengths[self._rows, None] + new

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write k, v (B, K, T, D) behind the selected rows; return all keys and values (B, K, S, D) and who sees whom (B, T, S)."""
        b, n_heads, t, _ = k.shape
        positions = self.next_positions(t)  # (B, T)
        n_visible = int(positions.max()) + 1  # S
        keys, values = self.keys[layer, self._rows], self.values[layer, self._rows]
        rows = torch.arange(b, device=k.device)[:, None, None]
        heads = torch.arange(n_heads, device=k.device)[None, :, None]
        keys[rows, heads, positions[:, None]] = k.type_as(keys)
        values[rows, heads, positions[:, None]] = v.type_as(values)
        visible = torch.arange(n_visible, device=k.device) <= positions[..., None]  # (B, T, S)
        return keys[:, :, :n_visible], values[:, :, :n_visible], visible

    def advance(self, n_new: int | Tensor) -> None:
        """The selected rows are `n_new` positions longer, all alike or each by its own number (B,)."""
        self.lengths[self._rows] += n_new

    def copy(self, source: int, target: int) -> None:
        """Make one row like another."""
        n = int(self.lengths[source])
        self.keys[:, target, :, :n] = self.keys[:, source, :, :n]
        self.values[:, target, :, :n] = self.values[:, source, :, :n]
        self.lengths[target] = self.lengths[source]

    def remove(self, row: int) -> int:
        """Free a row by moving the last one into its place; return the row that moved."""
        last = self.n_rows - 1
        if row != last:
            self.copy(last, row)
        self.lengths[last] = 0
        self.n_rows = last
        return last

    def clear(self) -> None:
        self.lengths.zero_()
        self.n_rows = 0
