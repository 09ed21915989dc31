"""Average checkpoints of one run: `python -m model.average EARLY LATER LAST --shares 0.2 0.6 0.2 --out DIR`.

A network that has read its corpus too often has learned parts of it by heart: it is worse on other text, and too sure.
The average of weights along a run (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better
Generalization") is better than each; a temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") takes
the excess of certainty away. The last norm is divided by it, so the result is a checkpoint like any other.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from model.checkpoint import Checkpoint, current_commit, load_checkpoint, save_checkpoint
from model.errors import BadInput
from model.tokenizer import DOCUMENT, END


@torch.no_grad()
def average(members: Sequence[Checkpoint], shares: Sequence[float], temperature: float) -> None:
    """Leave the weighted average in the last one's network, its logits divided by the temperature."""
    *others, last = members
    for other in others:
        if other.model.config != last.model.config:
            raise BadInput(f"{other.folder} and {last.folder} are not of one network.")
    theirs = [dict(other.model.named_parameters()) for other in others]
    for name, weight in last.model.named_parameters():
        weight.mul_(shares[-1])
        for share, parameters in zip(shares, theirs, strict=False):
            weight.add_(parameters[name], alpha=share)
    last.model.norm.weight.div_(temperature)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="model.average", description=__doc__.splitlines()[0])
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        help="checkpoints, small copies too; the record is the last's",
    )
    parser.add_argument("--shares", nargs="+", type=float, required=True, help="of each; 1 in all")
    parser.add_argument("--temperature", type=float, default=1.0, help="above 1: less sure")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    if len(args.shares) != len(args.folders) or abs(sum(args.shares) - 1) > 1e-6:
        raise BadInput("Each checkpoint needs a share, and the shares make 1.")
    if args.temperature <= 0:
        raise BadInput("The temperature lies above 0.")
    members = [load_checkpoint(folder) for folder in args.folders]
    average(members, args.shares, args.temperature)
    averaged = {
        "members": [
            {"steps": m.record.steps, "sha256": m.sha256, "share": share}
            for m, share in zip(members, args.shares, strict=True)
        ],
        "temperature": args.temperature,
        "commit": current_commit(),
    }
    last = members[-1]
    record = replace(last.record, config=last.record.config | {"averaged": averaged})
    end = END if record.stage == "finetune" else DOCUMENT
    save_checkpoint(args.out, last.model, last.tokenizer, record, end_token=end)


if __name__ == "__main__":
    main()
