import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import WEIGHTS, Checkpoint, load_checkpoint
from model.errors import BrokenCheckpoint
from model.pair import load_pair


@pytest.fixture
def folder(base: Checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base.folder, tmp_path / "copy"))


def test_weights_come_back_bit_for_bit(base: Checkpoint, folder: Path) -> None:
    again = load_checkpoint(folder)
    ours, theirs = base.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.sha256 == base.sha256 == base.record.weights_sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "has no config.json"),
        ("model.safetensors", "incomplete"),
        ("tokenizer.json", "tokenizer.json"),
    ],
)
def test_a_missing_file_is_named(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BrokenCheckpoint, match=message):
        load_checkpoint(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokenCheckpoint, match="There is no checkpoint folder"):
        load_checkpoint(tmp_path / "nothing")


def test_other_weights_than_recorded_are_refused(folder: Path, tuned: Checkpoint) -> None:
    shutil.copy(tuned.folder / "model.safetensors", folder)
    with pytest.raises(BrokenCheckpoint, match=r"not those that training\.json describes"):
        load_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 5, 2000])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    (folder / "training.json").unlink()  # nothing to compare with: the file itself must tell
    with pytest.raises(BrokenCheckpoint, match="damaged or cut off"):
        load_checkpoint(folder)


def test_a_config_of_other_shape_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 64}))
    with pytest.raises(BrokenCheckpoint, match="do not fit"):
        load_checkpoint(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_found(folder: Path, value: float) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["model.layers.1.mlp.up_proj.weight"][3, 2] = value
    save_file(weights, folder / WEIGHTS)
    (folder / "training.json").unlink()  # which would tell that the file has changed
    with pytest.raises(BrokenCheckpoint, match=r"no numbers, in model\.layers\.1\.mlp\.up_proj"):
        load_checkpoint(folder)


def test_an_unknown_architecture_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "architectures": ["MambaForCausalLM"]})
    )
    with pytest.raises(BrokenCheckpoint, match="MambaForCausalLM"):
        load_checkpoint(folder)


def test_a_pair_needs_a_tuned_checkpoint(base: Checkpoint, tuned: Checkpoint) -> None:
    assert load_pair(base.folder, tuned.folder).tuned.sha256 == tuned.sha256
    with pytest.raises(BrokenCheckpoint, match="no chat template"):
        load_pair(base.folder, base.folder)


def with_vocab(source: Path, target: Path, more: int) -> Path:
    """A copy of a folder of others whose tuning added tokens."""
    shutil.copytree(source, target)
    (target / "training.json").unlink()
    weights = load_file(target / WEIGHTS)
    table = weights["model.embed_tokens.weight"]
    weights["model.embed_tokens.weight"] = torch.cat([table, torch.zeros(more, table.shape[1])])
    save_file(weights, target / WEIGHTS)
    config = json.loads((target / "config.json").read_text())
    config["vocab_size"] += more
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_a_tuned_checkpoint_may_have_more_tokens(
    base: Checkpoint, tuned: Checkpoint, tmp_path: Path
) -> None:
    pair = load_pair(base.folder, with_vocab(tuned.folder, tmp_path / "tuned", 2))
    n = base.model.config.vocab_size
    assert (pair.base.model.config.vocab_size, pair.tuned.model.config.vocab_size) == (n, n + 2)


def test_two_networks_are_no_pair(base: Checkpoint, tuned: Checkpoint, tmp_path: Path) -> None:
    other = with_vocab(tuned.folder, tmp_path / "tuned", 0)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rope_theta": 500.0}))
    with pytest.raises(BrokenCheckpoint, match="not the same network"):
        load_pair(base.folder, other)


def test_a_tuned_checkpoint_of_another_base_is_refused(
    base: Checkpoint, tuned: Checkpoint, tmp_path: Path
) -> None:
    stranger = Path(shutil.copytree(tuned.folder, tmp_path / "tuned"))
    record = json.loads((stranger / "training.json").read_text())
    (stranger / "training.json").write_text(json.dumps({**record, "parent_sha256": "f" * 64}))
    with pytest.raises(BrokenCheckpoint, match="was not tuned from"):
        load_pair(base.folder, stranger)
