"""Asking a checkpoint from a terminal: `dois-treinos generate` and `dois-treinos evaluate`."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from model.checkpoint import Checkpoint, load_checkpoint
from model.config import SamplingParams
from model.device import pick_device
from model.engine import Engine, Request, generate
from model.errors import BadInput
from model.evaluate import (
    answer_questions,
    prompt_ids,
    read_questions,
    score_text,
    share_by_category,
)


def load_named(name: str, named: Mapping[str, Path], device: str | None) -> Checkpoint:
    """A checkpoint by its name (`base`, `tuned`), or any checkpoint folder."""
    return load_checkpoint(named.get(name, Path(name)), device=pick_device(device))


def generate_main(argv: list[str], named: Mapping[str, Path]) -> None:
    parser = argparse.ArgumentParser(prog="dois-treinos generate")
    parser.add_argument("--model", default="tuned", help="base, tuned, or a checkpoint folder")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--n", type=int, default=1, help="how many answers, seeds counting up")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-k", type=int, default=40)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device")
    parser.add_argument("--json", action="store_true", help="a JSON list instead of text")
    args = parser.parse_args(argv)
    checkpoint = load_named(args.model, named, args.device)
    try:
        params = [
            SamplingParams(
                temperature=args.temperature,
                top_k=args.top_k,
                top_p=args.top_p,
                max_tokens=args.max_tokens,
                seed=args.seed + i,
            )
            for i in range(args.n)
        ]
    except ValueError as error:
        raise BadInput(str(error)) from error
    ids = prompt_ids(checkpoint, args.prompt)
    requests = [Request(checkpoint="it", prompt_ids=ids, params=p) for p in params]
    answers = [
        {
            "text": "".join(event.text for event in events),
            "n_tokens": len(events),
            "finish_reason": events[-1].finish,
            "seed": request.params.seed,
        }
        for request, events in zip(
            requests,
            generate(Engine({"it": checkpoint}, max_rows=min(args.n, 32), is_exact=True), requests),
            strict=True,
        )
    ]
    if args.json:
        print(json.dumps(answers, ensure_ascii=False, indent=1))
    else:
        print("\n".join(str(answer["text"]).strip() for answer in answers))


def evaluate_main(argv: list[str], named: Mapping[str, Path]) -> None:
    parser = argparse.ArgumentParser(prog="dois-treinos evaluate")
    parser.add_argument(
        "--model",
        action="append",
        help="base, tuned or a folder; may be given again (default: both)",
    )
    parser.add_argument("--text", type=Path, help="UTF-8 text: its bits per byte")
    parser.add_argument("--questions", type=Path, help="JSONL of p, re, c (dk): share answered")
    parser.add_argument("--answers", action="store_true", help="print every answer too")
    parser.add_argument("--device")
    parser.add_argument("--json", action="store_true", help="a JSON object instead of lines")
    args = parser.parse_args(argv)
    if not args.text and not args.questions:
        parser.error("give --text, --questions or both")
    rows = [
        {"model": name, **evaluate_one(load_named(name, named, args.device), args)}
        for name in args.model or ["base", "tuned"]
    ]
    if args.json:  # one model: an object; several: a list
        print(json.dumps(rows[0] if len(rows) == 1 else rows, ensure_ascii=False, indent=1))
    else:
        for row in rows:
            print(", ".join(f"{key} {value}" for key, value in row.items()))


def evaluate_one(checkpoint: Checkpoint, args: argparse.Namespace) -> dict[str, object]:
    """What was asked about one checkpoint."""
    row: dict[str, object] = {}
    if args.text:
        score = score_text(checkpoint, read_text(args.text))
        row |= {
            "bits_per_byte": round(score.bits_per_byte, 4),
            "n_bytes": score.n_bytes,
            "n_tokens": score.n_tokens,
        }
    if args.questions:
        answers = answer_questions(checkpoint, read_questions(args.questions))
        row |= {
            "n_questions": len(answers),
            "accuracy": round(sum(a.is_right for a in answers) / len(answers), 4),
            "share_ended": round(sum(a.is_finished for a in answers) / len(answers), 4),
            "accuracy_by_category": {c: round(s, 4) for c, s in share_by_category(answers).items()},
        }
        if any("dk" in answer.question for answer in answers):
            row["honest"] = round(sum(a.is_honest for a in answers) / len(answers), 4)
        if args.answers:
            row["answers"] = [asdict(answer) for answer in answers]
    return row


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text.") from error
