"""Small copies of checkpoints, for looking back at a training: `python -m model.shrink runs/base/snapshots --out runs/small`.

Each matrix is kept in 8 bits with one scale a row, which is half of bfloat16; every program here opens such a folder, but
other programs do not. The record of each stays with it: its loss, tokens read and the curve until then.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import WEIGHTS, file_sha256, load_checkpoint
from model.errors import BadInput
from model.quantize import SCALE, to_int8
from model.shelf import find_checkpoints

BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def shrink(source: Path, target: Path) -> None:
    """Write a small copy of a checkpoint folder of ours; what is in the target is replaced."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "training.json").unlink(missing_ok=True)  # comes last: a folder with it is complete
    small: dict[str, Tensor] = {}
    for name, weight in load_file(source / WEIGHTS).items():
        if weight.dim() == 2 and weight.dtype != torch.int8:
            small[name], small[name + SCALE] = to_int8(weight)
        else:
            small[name] = weight
    save_file(small, target / WEIGHTS, metadata={"format": "pt"})
    for name in BESIDE:
        shutil.copyfile(source / name, target / name)
    record = json.loads((source / "training.json").read_text(encoding="utf-8"))
    record |= {"weights_sha256": file_sha256(target / WEIGHTS)}
    (target / "training.json").write_text(
        json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8"
    )
    load_checkpoint(target)  # a BrokenCheckpoint now rather than in a class


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="model.shrink", description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="+", help="checkpoint folders, or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="a folder for each goes in here")
    args = parser.parse_args(argv)
    for name, folder in find_checkpoints(args.source).items():
        target = args.out / Path(name).name
        if target.resolve() == folder.resolve():
            raise BadInput(f"{folder} cannot be written over itself: name another --out.")
        shrink(folder, target)
        before, after = ((f / WEIGHTS).stat().st_size / 1e6 for f in (folder, target))
        print(f"{target}: {before:.1f} MB -> {after:.1f} MB")


if __name__ == "__main__":
    main()
