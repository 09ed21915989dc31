"""Small copies of checkpoints, for looking back at a training: `python -m model.shrink runs/base/snapshots --out runs/small`.

Each matrix is kept in 8 bits with one scale a row, which is half of bfloat16, or in 4 bits with one for every 32 weights,
which is 28 % of it (3 and 2 bits: as many bytes, which git packs tighter). Every program here opens such a folder, but
other programs do not. The record of each stays with it: its loss, tokens read and the curve until then.
"""

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import WEIGHTS, file_sha256, load_checkpoint
from model.errors import BadInput
from model.quantize import GROUP, SCALE, to_int4, to_int8
from model.shelf import find_checkpoints

BESIDE = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def shrink(source: Path, target: Path, bits: int = 8) -> None:
    """Write a small copy of a checkpoint folder of ours, in 8 bits, or in 4 or fewer; what is in the target is replaced.

    A matrix whose rows do not fall into the groups of 4 bits is kept in 8, and one that is small already stays as it is.
    """
    target.mkdir(parents=True, exist_ok=True)
    (target / "training.json").unlink(missing_ok=True)  # comes last: a folder with it is complete
    small: dict[str, Tensor] = {}
    was = load_file(source / WEIGHTS)
    for name, weight in was.items():
        is_wide = name + SCALE not in was and not name.endswith(SCALE)
        if weight.dim() == 2 and is_wide:
            fits = bits <= 4 and weight.shape[1] % GROUP == 0
            numbers, scales = to_int4(weight, bits) if fits else to_int8(weight)
            small[name], small[name + SCALE] = numbers, scales
        else:
            small[name] = weight
    save_file(small, target / WEIGHTS, metadata={"format": "pt"})
    (target / WEIGHTS).chmod(0o644)  # for other users too, such as a container's
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
    parser.add_argument("--bits", type=int, choices=(8, 4, 3, 2), default=8, help="of a weight")
    args = parser.parse_args(argv)
    folders = find_checkpoints(args.source)
    names = Counter(Path(name).name for name in folders)
    if twice := [name for name, n in names.items() if n > 1]:
        raise BadInput(f"Two checkpoints are called {twice[0]}: give each run an --out of its own.")
    for name, folder in folders.items():
        target = args.out / Path(name).name
        if target.resolve() == folder.resolve():
            raise BadInput(f"{folder} cannot be written over itself: name another --out.")
        shrink(folder, target, args.bits)
        before, after = ((f / WEIGHTS).stat().st_size / 1e6 for f in (folder, target))
        print(f"{target}: {before:.1f} MB -> {after:.1f} MB")


if __name__ == "__main__":
    main()
