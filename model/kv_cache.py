"""Keys and values of the running rows, so that each new token costs one position and not all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from model.compiled import Array
from model.config import ModelConfig

MIN_ROWS, MIN_POSITIONS = 8, 128


class Pass(NamedTuple):
    """The next T positions of B rows, and the S positions that are then filled."""

    first_row: int
    starts: list[int]  # where each row goes on: B
    n_new: int  # T
    n_visible: int  # S


class KVCache:
    """Keys and values (L, 2, R, K, S', D). Rows 0 to n_rows - 1 are in use, row i filled up to `lengths[i]`.

    Memory grows with the rows and positions in use, and is given back by `clear`.
    A pass over the network: `begin`, then each layer writes its keys and values and reads all, `advance`.
    """

    def __init__(
        self, config: ModelConfig, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        """`dtype` float32 or float16."""
        self._config, self._device, self._dtype = config, device, dtype
        self._numbers = torch.arange(config.max_context, device=device)
        self.lengths: list[int] = []
        self.array: Array  # on a processor: `kept` for `kernels.py`, float32 or the bits of float16
        self.clear()

    @property
    def n_rows(self) -> int:
        return len(self.lengths)

    @property
    def bytes_per_row(self) -> int:
        """Of a row that fills the whole context."""
        c = self._config
        n = c.n_layers * 2 * c.n_kv_heads * c.max_context * c.head_width
        return n * self._dtype.itemsize

    def clear(self) -> None:
        """No rows, and hardly any memory."""
        self.lengths.clear()
        self._allocate(MIN_ROWS, MIN_POSITIONS)

    def append(self, n: int) -> None:
        """`n` more rows, with nothing in them yet."""
        self.lengths += [0] * n
        self._reserve(self.n_rows, 0)

    def begin(self, first: int, n: int, n_new: int) -> Pass:
        """The next pass: `n_new` more positions of rows `first` to `first + n`. ValueError beyond the context."""
        starts = self.lengths[first : first + n]
        n_visible = max(starts) + n_new
        if n_visible > self._config.max_context:  # the kernels do not look where they write
            raise ValueError(f"{n_visible} positions in a context of {self._config.max_context}")
        self._reserve(self.n_rows, n_visible)
        return Pass(first, starts, n_new, n_visible)

    def positions(self, at: Pass) -> Tensor:
        """(B, T)"""
        starts = torch.tensor(at.starts, device=self._device)
        return starts[:, None] + self._numbers[: at.n_new]

    def mask(self, positions: Tensor, n_visible: int) -> Tensor:
        """What is added to the scores of positions (B, T): 0 where they may look, else -inf: (B K, H/K T, S)."""
        c = self._config
        is_later = self._numbers[:n_visible] > positions[..., None]  # (B, T, S)
        mask = torch.where(is_later, -torch.inf, 0.0)[:, None, None]
        mask = mask.expand(-1, c.n_kv_heads, c.n_heads // c.n_kv_heads, -1, -1)
        return mask.reshape(len(positions) * c.n_kv_heads, -1, n_visible)

    def advance(self, at: Pass, n_new: Sequence[int]) -> None:
        """The rows of the pass are longer now, each by its own number."""
        for row, n in enumerate(n_new, start=at.first_row):
            self.lengths[row] += n

    def copy(self, source: int, target: int, n: int | None = None) -> None:
        """Make one row like another, or like its first `n` positions."""
        n = self.lengths[target] = self.lengths[source] if n is None else n
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
        """Empty memory, and views of it: keys and values (R, K, S', D) of each layer, and all of it for Numba."""
        c = self._config
        shape = (c.n_layers, 2, n_rows, c.n_kv_heads, n_positions, c.head_width)
        self.kept = torch.zeros(shape, dtype=self._dtype, device=self._device)
        self.layers = [(layer[0], layer[1]) for layer in self.kept]
        if self._device.type == "cpu":
            is_half = self._dtype == torch.float16
            self.array = (self.kept.view(torch.uint16) if is_half else self.kept).numpy()
