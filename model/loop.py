"""The training loop, once: pretraining and fine-tuning differ only in the batches they are given.

A run is a folder: `state.pt` holds all that is needed to go on after a kill, `log.jsonl` a line per report.
Under `torchrun` each process takes its share of every batch.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from model.config import TrainConfig
from model.data import Batch, BatchSource
from model.device import mixed_precision
from model.errors import BadInput
from model.losses import next_token_loss
from model.optim import decay_start, make_optimizers, set_lr
from model.transformer import Transformer


@dataclass(slots=True)
class Progress:
    """How far a run is, saved with it."""

    step: int = 0
    tokens_seen: int = 0  # whose prediction counted
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def snapshot_steps(last: int) -> set[int]:
    """Steps worth keeping: the first weights and then ever fewer, as learning slows down. The last is the result itself."""
    steps, step = {0}, 16
    while step < last:
        steps.add(step)
        step *= 3
    return steps


@dataclass(frozen=True, slots=True)
class Workers:
    """This process among those that train together."""

    rank: int
    world: int


@contextmanager
def workers(device: torch.device) -> Iterator[Workers]:
    """Join the processes that `torchrun` started; alone where it did not."""
    if "RANK" not in os.environ:
        yield Workers(0, 1)
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


class Trainer:
    """One run of one network over one source of batches."""

    def __init__(
        self,
        model: Transformer,
        batches: BatchSource,
        config: TrainConfig,
        run: Path,
        *,
        validation: list[Batch] | None = None,
        team: Workers = Workers(0, 1),
        is_mixed: bool = True,
        is_compiled: bool = True,
        keep: Callable[[Progress], None] | None = None,
    ) -> None:
        """`keep` is called with the progress at each of the `snapshot_steps`, in the first process only."""
        self.model, self.batches, self.config, self.run = model, batches, config, run
        self.validation, self.team, self.is_mixed = validation or [], team, is_mixed
        self.device = next(model.parameters()).device
        self.progress = Progress()
        self.keep = keep if team.rank == 0 else None
        self.snapshot_steps = snapshot_steps(config.steps)
        self.optimizers = make_optimizers(model, config)
        self.replica: nn.Module = model
        if team.world > 1:
            self.replica = DistributedDataParallel(model)
        self.forward = torch.compile(self.replica, dynamic=None) if is_compiled else self.replica
        # so that a GPU does not carry the logits to memory and back between the two
        fuses_loss = is_compiled and self.device.type == "cuda"
        self.loss_of = torch.compile(next_token_loss) if fuses_loss else next_token_loss
        self.last_loss: Tensor | None = None  # of the step before, which may still be computed
        run.mkdir(parents=True, exist_ok=True)
        if (run / "state.pt").exists():
            self.load_state()

    def train(self, *, stop_at: int | None = None) -> Progress:
        """Train to the last step, or to `stop_at`. Ctrl+C and a polite kill end it after the running step.

        The state is saved now and then and at the end, always between two steps: never a torn one.
        """
        last = min(self.config.steps, stop_at or self.config.steps)
        with self._alone(), _signals() as caught:
            self._train(last, caught)
        if caught:
            sys.exit(128 + caught[0])
        return self.progress

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No second run in this folder."""
        try:
            with FileLock(self.run / "lock", timeout=0) if self.team.rank == 0 else nullcontext():
                yield
        except Timeout as error:
            raise BadInput(f"Another process is training in {self.run}.") from error

    def _train(self, last: int, caught: list[int]) -> None:
        bar = tqdm(
            total=self.config.steps,
            initial=self.progress.step,
            unit="step",
            disable=self.team.rank > 0,
            mininterval=1.0,
        )
        saved_at = time.monotonic()
        with bar:
            while self.progress.step < last and not caught:
                if self.keep and self.progress.step in self.snapshot_steps:
                    self.keep(self.progress)
                self._step(bar)
                if time.monotonic() - saved_at > self.config.save_every_s:
                    self.save_state()
                    saved_at = time.monotonic()
        self.save_state()

    def _step(self, bar: "tqdm[Any]") -> None:
        started = time.perf_counter()
        step, config = self.progress.step, self.config
        set_lr(self.optimizers, step, config)
        batch = self.batches.batch(step)
        before, self.last_loss = self.last_loss, self._accumulate_gradients(batch)
        grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.max_grad_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        # Waiting for the step before keeps a GPU busy with this one while the next is prepared.
        loss = float(self.last_loss if before is None else before)
        seconds = time.perf_counter() - started
        n_tokens = batch.mask.numel()
        self.progress.step += 1
        self.progress.tokens_seen += int(batch.mask.sum())
        self.progress.seconds += seconds
        bar.set_postfix(loss=f"{loss:.3f}", tok_s=f"{n_tokens / seconds:.0f}", refresh=False)
        bar.update()
        if self.progress.step % config.eval_every == 0 or self.progress.step == config.steps:
            self._report(float(self.last_loss), float(grad_norm), n_tokens / seconds)

    def _accumulate_gradients(self, batch: Batch) -> Tensor:
        """Mean loss of the whole batch in nats a token, its gradient left in the weights."""
        n_counted = max(1, int(batch.mask.sum()))
        mine = share(batch, self.team)
        rows = max(1, self.config.micro_batch_tokens // (batch.tokens.shape[1] - 1))
        parts = list(zip(torch.split(mine.tokens, rows), torch.split(mine.mask, rows), strict=True))
        total = torch.zeros((), device=self.device)
        for i, (tokens, mask) in enumerate(parts):
            waits = isinstance(self.replica, DistributedDataParallel) and i < len(parts) - 1
            with self.replica.no_sync() if waits else nullcontext():  # type: ignore[operator]
                loss = self._loss(tokens, mask) / n_counted
                # times the number of processes, because their gradients are averaged
                torch.autograd.backward(loss * self.team.world)
            total += loss.detach()
        if self.team.world > 1:
            distributed.all_reduce(total)
        return total

    def _loss(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Loss summed over the tokens that count, in nats; what a GPU need not wait for is done before it is asked."""
        targets = tokens[:, 1:][mask].to(self.device)
        where = (
            None if bool(mask.all()) else mask.to(self.device)
        )  # no logits where nothing is learned
        with mixed_precision(self.device, self.is_mixed):
            logits = self.forward(tokens[:, :-1].to(self.device), where=where)
        return self.loss_of(logits, targets)

    @torch.no_grad()
    def validate(self) -> float | None:
        """Mean loss over the validation batches, nats a token."""
        if not self.validation:
            return None
        total = sum(float(self._loss(b.tokens, b.mask)) for b in self.validation)
        return total / sum(int(b.mask.sum()) for b in self.validation)

    def _report(self, loss: float, grad_norm: float, tokens_per_s: float) -> None:
        point = {
            "step": self.progress.step,
            "tokens": self.progress.tokens_seen,
            "loss": round(loss, 4),
            "grad_norm": round(grad_norm, 3),
            "tokens_per_s": round(tokens_per_s),
            "seconds": round(self.progress.seconds, 1),
        }
        valid = self.validate()
        if valid is not None:
            point["valid_loss"] = round(valid, 4)
        self.progress.curve.append(point)
        if self.team.rank == 0:
            with (self.run / "log.jsonl").open("a") as file:
                file.write(json.dumps(point) + "\n")

    def save_state(self) -> None:
        """Write the whole state beside the old one, then put it in its place."""
        if self.team.rank > 0:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "progress": asdict(self.progress),
            "data": self.batches.fingerprint,
            "config": asdict(self.config),
        }
        torch.save(state, self.run / "state.tmp")
        os.replace(self.run / "state.tmp", self.run / "state.pt")

    def load_state(self) -> None:
        """Go on where the run stopped. Its length may change until the decay begins; nothing else may."""
        state = torch.load(self.run / "state.pt", map_location=self.device, weights_only=True)
        progress = Progress(**state["progress"])
        if state["data"] != self.batches.fingerprint:
            raise BadInput(
                f"The run in {self.run} was started with other data or another batch size. "
                "Give the new run a folder of its own."
            )
        self._check_config(TrainConfig(**state["config"]), progress.step)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = progress

    def _check_config(self, before: TrainConfig, step: int) -> None:
        """Refuse to go on with other settings than those that the run was started with."""
        free = {"steps", "micro_batch_tokens", "eval_every", "save_every_s"}
        changed = [
            name
            for name, value in asdict(before).items()
            if name not in free and value != getattr(self.config, name)
        ]
        if changed:
            raise BadInput(
                f"The run in {self.run} was started with another {', '.join(changed)}. "
                "Give the new run a folder of its own."
            )
        has_decayed = step > min(decay_start(before), decay_start(self.config))
        if before.steps != self.config.steps and has_decayed:
            raise BadInput(
                f"The run in {self.run} is at step {step} and its learning rate has begun to fall: "
                f"its length of {before.steps} steps can no longer be changed."
            )


def share(batch: Batch, team: Workers) -> Batch:
    """The rows of one process; where there is none for it, a row that does not count."""
    tokens, mask = batch.tokens[team.rank :: team.world], batch.mask[team.rank :: team.world]
    if len(tokens):
        return Batch(tokens, mask)
    return Batch(batch.tokens[:1], torch.zeros_like(batch.mask[:1]))


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that ask to stop are noted, not obeyed at once; a second one is."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            sys.exit(128 + number)
        caught.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
