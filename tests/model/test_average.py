"""Two checkpoints of one run become one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import new_model

from model import average
from model.checkpoint import TrainingRecord, load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.errors import BadInput
from model.tokenizer import DOCUMENT, END, Tokenizer


def write(folder: Path, config: ModelConfig, tokenizer: Tokenizer, seed: int) -> Path:
    record = TrainingRecord(stage="pretrain", steps=10 * (seed + 1), config={"seed": 0})
    save_checkpoint(folder, new_model(config, seed), tokenizer, record, end_token=DOCUMENT)
    return folder


def test_the_average_lies_between_and_is_less_sure(
    tmp_path: Path, tiny_config: ModelConfig, tokenizer: Tokenizer
) -> None:
    last = write(tmp_path / "last", tiny_config, tokenizer, 1)
    earlier = write(tmp_path / "earlier", tiny_config, tokenizer, 0)
    out = tmp_path / "out"
    average.main(
        [
            str(earlier),
            str(last),
            "--shares",
            "0.25",
            "0.75",
            "--temperature",
            "2",
            "--out",
            str(out),
        ]
    )
    made, a, b = (load_checkpoint(folder) for folder in (out, last, earlier))
    mine, theirs = dict(a.model.named_parameters()), dict(b.model.named_parameters())
    for name, weight in made.model.named_parameters():
        expected = 0.75 * mine[name] + 0.25 * theirs[name]
        if name == "norm.weight":
            expected /= 2
        torch.testing.assert_close(weight, expected.bfloat16().float(), rtol=0.01, atol=1e-4)
    tokens = torch.arange(5)[None]
    with torch.no_grad():
        calm = made.model(tokens)
        made.model.norm.weight.mul_(2)
        torch.testing.assert_close(made.model(tokens) / 2, calm)
    assert made.record.steps == 20
    averaged = made.record.config["averaged"]
    assert averaged["members"] == [
        {"steps": 10, "sha256": b.sha256, "share": 0.25},
        {"steps": 20, "sha256": a.sha256, "share": 0.75},
    ]


def test_the_average_of_tuned_ones_ends_its_answers_as_they_do(
    tmp_path: Path, tiny_config: ModelConfig, tokenizer: Tokenizer
) -> None:
    tuned = tmp_path / "tuned"
    record = TrainingRecord(stage="finetune", steps=10, parent_sha256="0" * 64)
    save_checkpoint(tuned, new_model(tiny_config, 0), tokenizer, record, end_token=END)
    out = tmp_path / "out"
    average.main([str(tuned), str(tuned), "--shares", "0.5", "0.5", "--out", str(out)])
    made, was = load_checkpoint(out), load_checkpoint(tuned)
    assert made.end_ids == was.end_ids == {tokenizer.token_id(END)}
    assert made.record.parent_sha256 == "0" * 64
    card = (out / "README.md").read_text()
    assert "0.5 of step 10, 0.5 of step 10; logits divided by 1." in card


def test_what_cannot_be_averaged_is_refused(
    tmp_path: Path, tiny_config: ModelConfig, tokenizer: Tokenizer
) -> None:
    last = write(tmp_path / "last", tiny_config, tokenizer, 1)
    other = write(tmp_path / "other", replace(tiny_config, n_layers=1), tokenizer, 0)
    out = ["--out", str(tmp_path / "out")]
    with pytest.raises(BadInput, match="not of one network"):
        average.main([str(last), str(other), "--shares", "0.5", "0.5", *out])
    with pytest.raises(BadInput, match="make 1"):
        average.main([str(last), str(last), "--shares", "0.5", "0.6", *out])
    with pytest.raises(BadInput, match="above 0"):
        average.main([str(last), "--shares", "1", "--temperature", "0", *out])
    assert not (tmp_path / "out").exists()
