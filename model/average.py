"""Average two checkpoints of one run, the last and an earlier one: `python -m model.average LAST EARLIER --out DIR`.

A network that has read its corpus too often has learned parts of it by heart: it is worse on other text, and too sure.
The average of weights along a run (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better
Generalization") is better than either; a temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") takes
the excess of certainty away. It is divided into the last norm, so the result is a checkpoint like any other.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from model.checkpoint import Checkpoint, current_commit, load_checkpoint, save_checkpoint
from model.errors import BadInput
from model.tokenizer import DOCUMENT


@torch.no_grad()
def average(last: Checkpoint, earlier: Checkpoint, share: float, temperature: float) -> None:
    """Leave `share` of the last and the rest of the earlier one in the last's network, its logits over the temperature."""
    if last.model.config != earlier.model.config:
        raise BadInput(f"{last.folder} and {earlier.folder} are not of one network.")
    theirs = dict(earlier.model.named_parameters())
    for name, weight in last.model.named_parameters():
        weight.lerp_(theirs[name], 1.0 - share)
    last.model.norm.weight.div_(temperature)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="model.average", description=__doc__.splitlines()[0])
    parser.add_argument("last", type=Path, help="checkpoint whose record the result gets")
    parser.add_argument(
        "earlier", type=Path, help="checkpoint of an earlier step; may be a small copy"
    )
    parser.add_argument("--share", type=float, default=0.5, help="of the last one, 0 to 1")
    parser.add_argument("--temperature", type=float, default=1.0, help="above 1: less sure")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    if not 0 <= args.share <= 1 or args.temperature <= 0:
        raise BadInput("The share lies between 0 and 1, the temperature above 0.")
    last, earlier = load_checkpoint(args.last), load_checkpoint(args.earlier)
    average(last, earlier, args.share, args.temperature)
    averaged = {
        "with_steps": earlier.record.steps,
        "with_sha256": earlier.sha256,
        "last_sha256": last.sha256,
        "share_of_last": args.share,
        "temperature": args.temperature,
        "commit": current_commit(),
    }
    record = replace(last.record, config=last.record.config | {"averaged": averaged})
    save_checkpoint(args.out, last.model, last.tokenizer, record, end_token=DOCUMENT)


if __name__ == "__main__":
    main()
