"""Learning by questions: `python -m model.finetune --base model/checkpoints/base --out model/checkpoints/tuned`.

The same loop as pretraining; what differs is the data, and that only the answers count.
"""

import argparse
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.chat import Message, conversation, read_conversations
from model.checkpoint import (
    Checkpoint,
    TrainingRecord,
    current_commit,
    load_checkpoint,
    save_checkpoint,
)
from model.config import TrainConfig
from model.data import Batch, BatchSource, Conversations, Mixture, TokenFile, pad
from model.device import hardware, pick_device
from model.errors import BadInput
from model.loop import Progress, Trainer, workers
from model.tokenizer import END, PAD

QUESTIONS = Path(__file__).resolve().parent / "data_sft"
VALIDATION_SHARE = 50  # one question in this many, by a hash of its first words


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model.finetune", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--base", type=Path, required=True, help="checkpoint to start from: a base, or a tuned one"
    )
    parser.add_argument(
        "--data", type=Path, default=QUESTIONS, help="folder of JSONL conversations"
    )
    parser.add_argument(
        "--corpus", type=Path, help="mix in rows of this corpus (made by model.corpus)"
    )
    parser.add_argument(
        "--corpus-every",
        type=int,
        default=6,
        choices=range(2, 1001),
        metavar="N",
        help="one batch in this many is corpus",
    )
    parser.add_argument(
        "--run-dir", type=Path, default=Path("runs/tuned"), help="state and log; resumed if there"
    )
    parser.add_argument("--out", type=Path, help="where the finished checkpoint goes")
    parser.add_argument(
        "--epochs", type=float, default=4.0, help="times every conversation is read"
    )
    parser.add_argument("--snapshots", action="store_true", help="keep some steps on the way")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--muon-lr", type=float, default=0.006)
    parser.add_argument("--adamw-lr", type=float, default=1e-3)
    parser.add_argument(
        "--decay-share", type=float, default=1.0, help="last part, with a falling learning rate"
    )
    parser.add_argument("--eval-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 matrix products")
    return parser.parse_args(argv)


def split(conversations: list[list[Message]]) -> tuple[list[list[Message]], list[list[Message]]]:
    """Conversations to train on and to validate with; one question never stands on both sides."""
    train: list[list[Message]] = []
    held_out: list[list[Message]] = []
    for messages in conversations:
        digest = hashlib.sha256(messages[0]["content"].lower().encode()).digest()
        is_held_out = int.from_bytes(digest[:4], "big") % VALIDATION_SHARE == 0
        (held_out if is_held_out else train).append(messages)
    return train, held_out


def data_card(
    paths: list[Path], n_train: int, n_held_out: int, corpus: Path | None
) -> dict[str, Any]:
    """What the record says of the question-and-answer set, and of the text mixed in."""
    mixed = json.loads((corpus / "corpus.json").read_text()) if corpus else None
    return {
        **({"mixed_in": mixed} if mixed else {}),
        "files": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths},
        "conversations_trained": n_train,
        "conversations_held_out": n_held_out,
    }


def batches_for(
    base: Checkpoint, train: list[list[Message]], args: argparse.Namespace
) -> tuple[BatchSource, int]:
    """The source of batches and the number of steps that makes the asked-for epochs."""
    examples = [conversation(base.tokenizer, m) for m in train]
    pad_id = base.tokenizer.token_id(PAD)
    if pad_id is None:
        raise BadInput(f"The tokenizer of {base.folder} has no {PAD}: it cannot be tuned here.")
    own = Conversations(examples, args.batch_tokens, pad_id, args.seed)
    steps = max(1, round(args.epochs * own.n_batches))
    if args.corpus is None:
        return own, steps
    context = base.model.config.max_context
    rows = max(1, args.batch_tokens // context)
    corpus = TokenFile(args.corpus / "train.bin", context, rows, args.seed + 1)
    return Mixture(own, corpus, args.corpus_every), round(
        steps * args.corpus_every / (args.corpus_every - 1)
    )


def validation_batches(base: Checkpoint, held_out: list[list[Message]]) -> list[Batch]:
    examples = sorted((conversation(base.tokenizer, m) for m in held_out), key=lambda e: len(e.ids))
    pad_id = base.tokenizer.token_id(PAD) or 0
    return [pad(examples[i : i + 32], pad_id) for i in range(0, len(examples), 32)]


def train_config(args: argparse.Namespace, steps: int, row_tokens: int) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        batch_tokens=args.batch_tokens,
        micro_batch_tokens=args.batch_tokens,
        row_tokens=row_tokens,
        warmup_steps=min(20, steps),
        decay_share=args.decay_share,
        muon_lr=args.muon_lr,
        adamw_lr=args.adamw_lr,
        weight_decay=0.0,
        seed=args.seed,
        eval_every=args.eval_every,
    )


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    device = pick_device(args.device)
    base = load_checkpoint(args.base, device=device)
    base.model.train().requires_grad_(True)
    paths = sorted(args.data.glob("*.jsonl"))
    if not paths:
        raise BadInput(f"There is no .jsonl file in {args.data}.")
    train, held_out = split(read_conversations(paths))
    batches, steps = batches_for(base, train, args)
    batches.fingerprint = f"{batches.fingerprint} {base.sha256}"
    config = train_config(args, steps, base.model.config.max_context)
    commit = current_commit()

    def save(folder: Path, progress: Progress) -> None:
        record = TrainingRecord.of(
            "finetune",
            progress,
            asdict(config),
            hardware(device),
            data=data_card(paths, len(train), len(held_out), args.corpus),
            commit=commit,
            parent_sha256=base.sha256,
        )
        if base.record.stage == "finetune":
            record.tunes_on_from(base.record)
        save_checkpoint(folder, base.model, base.tokenizer, record, end_token=END)

    def keep(progress: Progress) -> None:
        save(args.run_dir / "snapshots" / f"finetune-{progress.step:06}", progress)

    with workers(device) as team:
        trainer = Trainer(
            base.model,
            batches,
            config,
            args.run_dir,
            validation=validation_batches(base, held_out),
            team=team,
            is_mixed=not args.float32,
            is_compiled=False,  # rows of many lengths
            keep=keep if args.snapshots else None,
        )
        if team.rank == 0:
            print(f"{len(train)} conversations, {len(held_out)} held out, {steps} steps")
        progress = trainer.train()
        if team.rank == 0 and args.out:
            save(args.out, progress)


if __name__ == "__main__":
    main()
