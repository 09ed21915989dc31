"""What the training loop reads: rows of the corpus, or conversations of which only the answers count."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.errors import BadInput


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer step's rows.

    tokens  (B, T + 1)  long; position t predicts t + 1
    mask    (B, T)      True where the prediction counts
    """

    tokens: Tensor
    mask: Tensor


class BatchSource(Protocol):
    """Batches by number, so that training can be resumed at any step."""

    fingerprint: str  # of all that decides the batches

    def batch(self, step: int) -> Batch: ...


class TokenFile:
    """A file of uint16 ids cut into rows of T + 1, in a new random order for every pass."""

    def __init__(self, path: Path, row_tokens: int, n_rows: int, seed: int) -> None:
        self.row_tokens, self.n_rows, self.seed = row_tokens, n_rows, seed
        self.n_windows = count_windows(path, row_tokens)
        if self.n_windows < 1:
            raise BadInput(f"{path} is missing or shorter than one row of {row_tokens} tokens.")
        self.tokens = np.memmap(path, dtype=np.uint16, mode="r")
        self.fingerprint = fingerprint(path, row_tokens, n_rows, seed)
        self._pass, self._order = -1, np.empty(0, dtype=np.int64)

    def batch(self, step: int) -> Batch:
        rows = [self._row(step * self.n_rows + i) for i in range(self.n_rows)]
        tokens = torch.from_numpy(np.stack(rows))  # (B, T + 1)
        return Batch(tokens, torch.ones(tokens.shape[0], self.row_tokens, dtype=torch.bool))

    def _row(self, number: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        n_pass, index = divmod(number, self.n_windows)
        if n_pass != self._pass:
            self._pass = n_pass
            self._order = np.random.default_rng((self.seed, n_pass)).permutation(self.n_windows)
        start = int(self._order[index]) * self.row_tokens
        return self.tokens[start : start + self.row_tokens + 1].astype(np.int64)


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation as ids, and which of them are the assistant's to learn."""

    ids: list[int]
    learned: list[bool]


class Conversations:
    """Conversations in a new order each pass; a batch holds some of like length, padded at the right.

    A conversation has a row to itself, so none can see another.
    """

    def __init__(self, examples: list[Example], batch_tokens: int, pad_id: int, seed: int) -> None:
        self.examples, self.pad_id, self.seed = examples, pad_id, seed
        self.batch_tokens = batch_tokens
        text = repr([(e.ids, e.learned) for e in examples])
        self.fingerprint = hashlib.sha256(f"{text} {batch_tokens} {seed}".encode()).hexdigest()
        self._pass, self._groups = -1, self._group(-1)
        self.n_batches = min(
            len(self._group(i)) for i in range(4)
        )  # a pass; the few left over wait for the next

    def batch(self, step: int) -> Batch:
        n_pass, index = divmod(step, self.n_batches)
        if n_pass != self._pass:
            self._pass, self._groups = n_pass, self._group(n_pass)
        return pad([self.examples[i] for i in self._groups[index % len(self._groups)]], self.pad_id)

    def _group(self, n_pass: int) -> list[list[int]]:
        """Shuffle, sort by length within stretches of some batches, cut into batches, shuffle those."""
        rng = np.random.default_rng((self.seed, n_pass + 1))
        order = rng.permutation(len(self.examples)).tolist()
        groups: list[list[int]] = []
        stretch = 16 * max(1, self.batch_tokens // 64)
        for start in range(0, len(order), stretch):
            group: list[int] = []
            for i in sorted(
                order[start : start + stretch], key=lambda i: len(self.examples[i].ids)
            ):
                if group and len(self.examples[i].ids) * (len(group) + 1) > self.batch_tokens:
                    groups.append(group)
                    group = []
                group.append(i)
            if groups and sum(len(self.examples[i].ids) for i in group) < self.batch_tokens // 4:
                groups[-1] += group  # a step of its own would learn from too few
            else:
                groups.append(group)
        return [groups[i] for i in rng.permutation(len(groups))]


class Mixture:
    """Conversations with rows of the corpus among them, so that tuning does not unlearn the language."""

    def __init__(self, main: BatchSource, other: BatchSource, every: int) -> None:
        self.main, self.other, self.every = main, other, every
        self.fingerprint = f"{main.fingerprint} {other.fingerprint} {every}"

    def batch(self, step: int) -> Batch:
        """Each `every`-th batch comes from the other source."""
        n_other = step // self.every
        if step % self.every == self.every - 1:
            return self.other.batch(n_other)
        return self.main.batch(step - n_other)


def pad(examples: list[Example], pad_id: int) -> Batch:
    """Rows of the longest example's length, padding at the right and never counted."""
    width = max(len(e.ids) for e in examples)
    tokens = torch.full((len(examples), width), pad_id, dtype=torch.long)
    learned = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, example in enumerate(examples):
        tokens[row, : len(example.ids)] = torch.tensor(example.ids)
        learned[row, : len(example.ids)] = torch.tensor(example.learned)
    return Batch(tokens, learned[:, 1:])


def count_windows(path: Path, row_tokens: int) -> int:
    """How many rows of T + 1 a file of uint16 ids holds; 0 where there is none."""
    n_tokens = path.stat().st_size // 2 if path.exists() else 0
    return max(0, (n_tokens - 1) // row_tokens)


def fingerprint(path: Path, *settings: object) -> str:
    """Hash of a file and of how it is read."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(repr(settings).encode())
    return digest.hexdigest()
