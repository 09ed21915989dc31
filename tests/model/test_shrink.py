"""Small copies of checkpoints: half the bytes, nearly the same predictions, the whole record."""

import shutil
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model import shrink
from model.checkpoint import WEIGHTS, TrainingRecord, load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.errors import BadInput, BrokenCheckpoint
from model.evaluate import score_text
from model.quantize import GROUP, SCALE, from_int4, to_int4, to_int8, widen
from model.tokenizer import DOCUMENT
from model.transformer import Transformer

EMBEDDED = Path(__file__).resolve().parents[2] / "model/checkpoints"
TEXT = (
    "O Brasil tem vinte e seis estados e um distrito federal. A maior cidade do país é São Paulo."
)


def test_each_row_is_off_by_half_of_its_own_step() -> None:
    weight = torch.randn(6, 200, generator=torch.Generator().manual_seed(0))
    weight[1] *= 1000
    weight[2] = 0
    numbers, step = to_int8(weight)
    back = widen({"w": numbers, "w" + SCALE: step, "norm": weight[0]})
    assert list(back) == ["w", "norm"]
    # half a step, and what the largest number of a row loses because its step is rounded to 8 bits
    limit = step.float()[:, None] * 0.5 + weight.abs() * 2.0**-8
    assert bool(((back["w"] - weight).abs() <= limit).all())


def test_in_four_bits_each_weight_is_off_by_half_of_the_step_of_its_group() -> None:
    weight = torch.randn(6, 4 * GROUP, generator=torch.Generator().manual_seed(0))
    weight[1, :GROUP] *= 1000  # the other groups of the row keep their own step
    weight[2] = 0
    pairs, step = to_int4(weight)
    assert (pairs.dtype, pairs.shape, step.shape) == (torch.uint8, (6, 2 * GROUP), (6, 4))
    back = from_int4(pairs, step)
    assert torch.equal(widen({"w": pairs, "w" + SCALE: step})["w"], back)
    wide = step.float().repeat_interleave(GROUP, dim=1)
    is_cut = (
        weight / wide > 7.5
    )  # as far out as the farthest, on the other side: 7 steps instead of 8
    limit = wide.abs() * torch.where(is_cut, 1.0, 0.5) + weight.abs() * 2.0**-8
    assert bool(((back - weight).abs() <= limit).all())
    assert torch.equal(from_int4(*to_int4(back)), back)


@pytest.mark.parametrize(("bits", "lowest"), [(4, -8), (3, -4), (2, -2)])
def test_fewer_bits_use_fewer_numbers_of_the_same_bytes(bits: int, lowest: int) -> None:
    weight = torch.randn(64, 4 * GROUP, generator=torch.Generator().manual_seed(0))
    pairs, step = to_int4(weight, bits)
    numbers = torch.stack([pairs & 15, pairs >> 4]).int() - 8
    assert (int(numbers.min()), int(numbers.max())) == (lowest, -lowest - 1)
    assert torch.equal(from_int4(*to_int4(from_int4(pairs, step), bits)), from_int4(pairs, step))
    packed, plain = (len(zlib.compress(p.numpy().tobytes())) for p in (pairs, to_int4(weight)[0]))
    assert packed <= plain * bits / 4 + 1000


def test_the_bytes_of_four_bits_are_those_of_the_snapshots_that_are_kept() -> None:
    weight = torch.zeros(1, GROUP)
    weight[0, :3] = torch.tensor([-8.0, 7.0, 1.0])
    pairs, step = to_int4(weight)
    assert pairs[0, :3].tolist() == [0xF0, 0x89, 0x88]  # -8 and 7, 1 and 0, 0 and 0
    assert step.tolist() == [[1.0]]


def test_a_matrix_that_does_not_fall_into_groups_is_kept_in_eight_bits(tmp_path: Path) -> None:
    tokenizer = load_checkpoint(EMBEDDED / "base").tokenizer
    odd = Transformer(ModelConfig(n_layers=1, width=36, ffn_width=GROUP))
    record = TrainingRecord(stage="pretrain")
    save_checkpoint(tmp_path / "odd", odd, tokenizer, record, end_token=DOCUMENT)
    shrink.main([str(tmp_path / "odd"), "--out", str(tmp_path / "small"), "--bits", "4"])
    kept = load_file(tmp_path / "small/odd" / WEIGHTS)
    assert kept["model.layers.0.mlp.gate_proj.weight"].dtype == torch.int8
    assert kept["model.layers.0.mlp.down_proj.weight"].dtype == torch.uint8


def test_four_bits_take_little_more_than_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    shrink.main([str(EMBEDDED / "base"), "--out", str(tmp_path), "--bits", "4"])
    was, small = load_checkpoint(EMBEDDED / "base"), load_checkpoint(tmp_path / "base")
    sizes = [(c.folder / WEIGHTS).stat().st_size for c in (was, small)]
    assert sizes[1] < 0.29 * sizes[0]
    bits = [score_text(c, TEXT).bits_per_byte for c in (was, small)]
    assert bits[1] == pytest.approx(bits[0], rel=0.05)
    assert (small.folder / WEIGHTS).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("bits", ["4", "8"])
def test_what_is_small_stays_as_it_is(tmp_path: Path, bits: str) -> None:
    shrink.main([str(EMBEDDED / "base"), "--out", str(tmp_path), "--bits", bits])
    shrink.main([str(tmp_path / "base"), "--out", str(tmp_path / "again"), "--bits", "4"])
    small, again = (load_checkpoint(tmp_path / f) for f in ("base", "again/base"))
    assert small.sha256 == again.sha256


def test_a_small_copy_has_half_the_bytes_and_predicts_nearly_the_same(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "base", tmp_path / "run" / "pretrain-000100")
    shutil.copytree(EMBEDDED / "tuned", tmp_path / "run" / "finetune-000100")
    shrink.main([str(tmp_path / "run"), "--out", str(tmp_path / "small")])
    for name, envelope in (("pretrain-000100", "raw"), ("finetune-000100", "chat")):
        was, small = (load_checkpoint(tmp_path / f / name) for f in ("run", "small"))
        sizes = [(c.folder / WEIGHTS).stat().st_size for c in (was, small)]
        assert sizes[1] < 0.51 * sizes[0]
        assert small.envelope == envelope
        assert small.sha256 != was.sha256
        assert (small.record.curve, small.record.data) == (was.record.curve, was.record.data)
        bits = [score_text(c, TEXT).bits_per_byte for c in (was, small)]
        assert bits[1] == pytest.approx(bits[0], rel=0.01)
        assert bits[1] != bits[0]


def test_a_checkpoint_is_not_written_over_itself(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED / "base", tmp_path / "one")
    with pytest.raises(BadInput, match="over itself"):
        shrink.main([str(tmp_path / "one"), "--out", str(tmp_path)])
    assert load_checkpoint(tmp_path / "one").sha256  # as whole as before


def test_two_runs_do_not_write_over_each_other(tmp_path: Path) -> None:
    for run in ("a", "b"):
        shutil.copytree(EMBEDDED / "base", tmp_path / run / "pretrain-000100")
    with pytest.raises(BadInput, match="pretrain-000100"):
        shrink.main([f"{n}={tmp_path / n}" for n in ("a", "b")] + ["--out", str(tmp_path / "c")])
    assert not (tmp_path / "c").exists()


def test_a_damaged_small_copy_is_refused(tmp_path: Path) -> None:
    shrink.main([str(EMBEDDED / "base"), "--out", str(tmp_path)])
    path = tmp_path / "base" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BrokenCheckpoint):
        load_checkpoint(tmp_path / "base")
