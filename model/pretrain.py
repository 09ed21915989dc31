"""Learning by reading: `python -m model.pretrain --corpus runs/corpus --run-dir runs/base --steps 1500`.

Start it again with the same folder and it goes on where it stopped. `--out` receives the finished checkpoint.
`--init` reads on from a finished checkpoint. Several processes: `torchrun --nproc-per-node 2 -m model.pretrain …`.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from model.checkpoint import (
    Checkpoint,
    TrainingRecord,
    current_commit,
    load_checkpoint,
    save_checkpoint,
)
from model.config import ModelConfig, TrainConfig
from model.data import Batch, TokenFile, count_windows
from model.device import hardware, pick_device
from model.errors import BadInput
from model.loop import Progress, Trainer, workers
from model.tokenizer import DOCUMENT, Tokenizer
from model.transformer import Transformer, count_parameters, init_weights

N_VALIDATION_BATCHES = 4


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="model.pretrain", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--corpus", type=Path, default=Path("runs/corpus"), help="made by model.corpus"
    )
    parser.add_argument(
        "--run-dir", type=Path, default=Path("runs/base"), help="state and log; resumed if there"
    )
    parser.add_argument("--out", type=Path, help="where the finished checkpoint goes")
    parser.add_argument("--init", type=Path, help="read on from this checkpoint, of its shape")
    parser.add_argument("--snapshots", action="store_true", help="keep some steps on the way")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--stop-at", type=int, help="stop here, before the last step")
    for name, default in (("n-layers", 8), ("width", 384), ("n-heads", 6), ("ffn-width", 1024)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--micro-batch-tokens", type=int, default=8192)
    parser.add_argument("--muon-lr", type=float, default=0.02)
    parser.add_argument("--adamw-lr", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01, help="of the layers' matrices")
    parser.add_argument("--warmup-steps", type=int, default=50)
    parser.add_argument("--decay-share", type=float, default=0.35)
    parser.add_argument("--eval-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 matrix products")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    device = pick_device(args.device)
    tokenizer = read_tokenizer(args.corpus)
    config = train_config(args)
    parent = read_parent(args.init, args.corpus, device) if args.init else None
    if parent:
        model = parent.model.train().requires_grad_(True)
    else:
        model = Transformer(model_config(args, len(tokenizer)))
        init_weights(model, config.seed)  # before it goes to a GPU: the same weights everywhere
        model.to(device)
    n_rows = config.batch_tokens // config.row_tokens
    batches = TokenFile(args.corpus / "train.bin", config.row_tokens, n_rows, config.seed)
    if parent:
        batches.fingerprint += f" {parent.sha256}"
    corpus = json.loads((args.corpus / "corpus.json").read_text())
    commit = current_commit()

    def save(folder: Path, progress: Progress) -> None:
        record = TrainingRecord.of(
            "pretrain", progress, asdict(config), hardware(device), data=corpus, commit=commit
        )
        if parent:
            record.reads_on_from(parent.record)
        save_checkpoint(folder, model, tokenizer, record, end_token=DOCUMENT)

    def keep(progress: Progress) -> None:
        save(args.run_dir / "snapshots" / f"pretrain-{progress.step:06}", progress)

    with workers(device) as team:
        trainer = Trainer(
            model,
            batches,
            config,
            args.run_dir,
            validation=validation_batches(args.corpus / "valid.bin", config.row_tokens, n_rows),
            team=team,
            is_mixed=not args.float32,
            is_compiled=not args.no_compile,
            keep=keep if args.snapshots else None,
        )
        if team.rank == 0:
            print(f"{count_parameters(model) / 1e6:.1f} million parameters, {hardware(device)}")
        progress = trainer.train(stop_at=args.stop_at)
        if team.rank == 0 and args.out and progress.step >= config.steps:
            save(args.out, progress)


def read_tokenizer(corpus: Path) -> Tokenizer:
    if not (corpus / "tokenizer.json").exists():
        raise BadInput(f"There is no prepared corpus in {corpus}: make it with model.corpus first.")
    return Tokenizer.load(corpus / "tokenizer.json")


def read_parent(folder: Path, corpus: Path, device: torch.device) -> Checkpoint:
    """The checkpoint to read on from, whose tokens must be those of the corpus."""
    parent = load_checkpoint(folder, device=device)
    theirs, ours = folder / "tokenizer.json", corpus / "tokenizer.json"
    if theirs.read_bytes() != ours.read_bytes():
        raise BadInput(
            f"The corpus in {corpus} was not prepared with the tokenizer of {folder}: "
            f"make it again with --tokenizer {theirs}."
        )
    return parent


def validation_batches(path: Path, row_tokens: int, n_rows: int) -> list[Batch]:
    """The same few batches each time; none where a small corpus has no validation text."""
    if not count_windows(path, row_tokens):
        return []
    held_out = TokenFile(path, row_tokens, n_rows, seed=0)
    return [held_out.batch(i) for i in range(N_VALIDATION_BATCHES)]


def model_config(args: argparse.Namespace, vocab_size: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        n_layers=args.n_layers,
        width=args.width,
        n_heads=args.n_heads,
        n_kv_heads=args.n_heads,
        head_width=args.width // args.n_heads,
        ffn_width=args.ffn_width,
        max_context=args.context,
    )


def train_config(args: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        steps=args.steps,
        batch_tokens=args.batch_tokens,
        micro_batch_tokens=args.micro_batch_tokens,
        row_tokens=args.context,
        warmup_steps=args.warmup_steps,
        decay_share=args.decay_share,
        muon_lr=args.muon_lr,
        adamw_lr=args.adamw_lr,
        weight_decay=args.weight_decay,
        seed=args.seed,
        eval_every=args.eval_every,
    )


if __name__ == "__main__":
    main()
