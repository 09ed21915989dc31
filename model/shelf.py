"""More checkpoints by name: found and looked at when the program starts, read when somebody asks for one."""

from collections.abc import Collection, Iterable
from pathlib import Path

import torch

from model.checkpoint import look_at
from model.decoder import bytes_per_parameter
from model.errors import BrokenCheckpoint
from model.transformer import Transformer, count_parameters


def find_checkpoints(entries: Iterable[str], taken: Collection[str] = ()) -> dict[str, Path]:
    """Checkpoint folders by name, from entries `NAME=DIR`, or `DIR`, whose name is its own.

    A DIR that holds checkpoints, such as the snapshots of a run, stands for each of them: NAME/theirs, or just theirs.
    """
    found: dict[str, Path] = {}
    for entry in entries:
        name, _, folder = entry.partition("=") if "=" in entry else ("", "", entry)
        for one, path in _checkpoints(name.strip(), Path(folder.strip()).expanduser()).items():
            if one in found or one in taken:
                raise BrokenCheckpoint(
                    f"Two checkpoints are called {one}: give {path} another name, as NAME={path}."
                )
            look_at(path)
            found[one] = path
    return found


def memory_bytes(folder: Path, *, is_exact: bool) -> int:
    """About what a checkpoint's weights take up while it writes; they are not read."""
    with torch.device("meta"):  # shapes without numbers
        n = count_parameters(Transformer(look_at(folder)[1]))
    loaded = torch.float32.itemsize
    return int(n * (loaded + bytes_per_parameter(torch.device("cpu"), is_exact=is_exact)))


def _checkpoints(name: str, folder: Path) -> dict[str, Path]:
    """The folder itself, or those in it, in the order of their names."""
    inside = sorted(path.parent for path in folder.glob("*/config.json"))
    if (folder / "config.json").exists() or not folder.is_dir():
        return {name or folder.resolve().name: folder}
    if not inside:
        raise BrokenCheckpoint(
            f"{folder} is neither a checkpoint nor a folder of checkpoints: no config.json in it, or one below it."
        )
    return {f"{name}/{path.name}" if name else path.name: path for path in inside}
