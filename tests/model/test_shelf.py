"""Checkpoints that are found by name and looked at, but not read."""

import json
import shutil
from pathlib import Path

import pytest

from model.checkpoint import Checkpoint
from model.engine import Engine
from model.errors import BrokenCheckpoint
from model.shelf import find_checkpoints, memory_bytes


@pytest.fixture
def snapshots(pair_folder: Path, tmp_path: Path) -> Path:
    """A folder as a training run leaves it, with something else in it too."""
    for step in (20, 10):
        shutil.copytree(pair_folder / "tuned", tmp_path / "snapshots" / f"finetune-{step:06}")
    (tmp_path / "snapshots" / "notes").mkdir()
    return tmp_path / "snapshots"


def test_a_folder_of_checkpoints_stands_for_each_of_them(
    pair_folder: Path, snapshots: Path
) -> None:
    entries = [f"lida={pair_folder / 'base'}", f"aula={snapshots}", str(pair_folder / "tuned")]
    assert find_checkpoints(entries) == {
        "lida": pair_folder / "base",
        "aula/finetune-000010": snapshots / "finetune-000010",
        "aula/finetune-000020": snapshots / "finetune-000020",
        "tuned": pair_folder / "tuned",
    }
    assert list(find_checkpoints([str(snapshots)])) == ["finetune-000010", "finetune-000020"]


def test_what_is_no_checkpoint_is_said_without_reading_any_weights(
    pair_folder: Path, snapshots: Path
) -> None:
    with pytest.raises(BrokenCheckpoint, match=r"no checkpoint folder .*nowhere"):
        find_checkpoints([f"a={snapshots / 'nowhere'}"])
    with pytest.raises(BrokenCheckpoint, match="neither a checkpoint nor a folder"):
        find_checkpoints([f"a={snapshots / 'notes'}"])
    broken = snapshots / "finetune-000010"
    (broken / "model.safetensors").unlink()
    with pytest.raises(BrokenCheckpoint, match=r"000010 has no model\.safetensors"):
        find_checkpoints([f"a={snapshots}"])
    config = json.loads((broken / "config.json").read_text()) | {"architectures": ["GPT2LMHead"]}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.safetensors").write_bytes(b"nobody reads this")
    with pytest.raises(BrokenCheckpoint, match="is a GPT2LMHead"):
        find_checkpoints([f"a={snapshots}"])


def test_a_name_stands_for_one_checkpoint(pair_folder: Path) -> None:
    base = pair_folder / "base"
    with pytest.raises(BrokenCheckpoint, match="Two checkpoints are called a"):
        find_checkpoints([f"a={base}", f"a={base}"])
    with pytest.raises(BrokenCheckpoint, match="Two checkpoints are called base"):
        find_checkpoints([str(base)], taken=["base", "tuned"])


@pytest.mark.parametrize("is_exact", [True, False])
def test_the_memory_is_known_before_the_weights_are_read(
    pair_folder: Path, base: Checkpoint, is_exact: bool
) -> None:
    expected = memory_bytes(pair_folder / "base", is_exact=is_exact)
    found = sum(p.numel() * p.element_size() for p in base.model.parameters())
    found += Engine({"it": base}, is_exact=is_exact)._hosts["it"].decoder.n_bytes
    assert 0.75 * expected <= found <= expected
