"""The base and the tuned checkpoint that stand side by side: one architecture, one tokenizer."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from model.chat import CHAT_TEMPLATE
from model.checkpoint import Checkpoint, load_checkpoint
from model.errors import BrokenCheckpoint
from model.tokenizer import SPECIAL_TOKENS


@dataclass(frozen=True, slots=True)
class Pair:
    base: Checkpoint
    tuned: Checkpoint


def load_pair(base: Path, tuned: Path, *, device: torch.device | None = None) -> Pair:
    """Both checkpoints of a pair; refuses two that are not of one network."""
    reader = load_checkpoint(base, device=device)
    pair = Pair(
        replace(reader, envelope="raw"),  # a base of others may bring a chat template along
        load_checkpoint(tuned, device=device),
    )
    # tuning may add tokens, for the turns of a conversation
    shapes = {replace(c.model.config, vocab_size=0) for c in (pair.base, pair.tuned)}
    if len(shapes) > 1:
        raise BrokenCheckpoint(f"{base} and {tuned} are not the same network: their shapes differ.")
    words = "Diga bem rápido: um número de 1 a 100"
    if pair.base.tokenizer.encode(words) != pair.tuned.tokenizer.encode(words):
        raise BrokenCheckpoint(f"{base} and {tuned} cut text into different tokens.")
    if pair.tuned.chat_template is None:
        raise BrokenCheckpoint(f"{tuned} has no chat template: it is not a tuned checkpoint.")
    ours = pair.tuned.chat_template.source == CHAT_TEMPLATE
    if ours and any(pair.tuned.tokenizer.token_id(token) is None for token in SPECIAL_TOKENS):
        raise BrokenCheckpoint(
            f"The tokenizer of {tuned} lacks one of {', '.join(SPECIAL_TOKENS)}."
        )
    if pair.tuned.record.parent_sha256 not in ("", pair.base.sha256):
        raise BrokenCheckpoint(
            f"{tuned} was not tuned from {base}, but from other weights "
            f"(SHA-256 {pair.tuned.record.parent_sha256[:12]}…)."
        )
    return pair
