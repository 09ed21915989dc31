import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TEXTS, new_model, random_tokens
from filelock import FileLock

from model import corpus, finetune, pretrain
from model.chat import conversation
from model.checkpoint import current_commit, load_checkpoint
from model.config import ModelConfig, TrainConfig
from model.data import Batch, Conversations, TokenFile, pad
from model.errors import BadInput
from model.evaluate import answer_questions, score_text
from model.loop import Trainer, Workers, share
from model.losses import next_token_loss
from model.optim import lr_factor
from model.tokenizer import Tokenizer


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A language of 7 tokens in which each token follows from the one before."""
    np.asarray([i % 7 for i in range(2000)], dtype=np.uint16).tofile(tmp_path / "train.bin")
    return tmp_path / "train.bin"


def train_config(**changes: float) -> TrainConfig:
    return TrainConfig(
        **{
            "steps": 12,
            "batch_tokens": 64,
            "micro_batch_tokens": 64,
            "row_tokens": 16,
            "warmup_steps": 2,
            **changes,
        }  # type: ignore[arg-type]
    )


def trainer(config: ModelConfig, token_file: Path, run: Path, **changes: float) -> Trainer:
    settings = train_config(**changes)
    batches = TokenFile(token_file, 16, 4, seed=0)
    return Trainer(new_model(config), batches, settings, run, is_mixed=False, is_compiled=False)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(run / "state.pt", weights_only=True)["model"])


def test_a_resumed_run_is_the_uninterrupted_one(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    trainer(tiny_config, token_file, tmp_path / "whole", eval_every=3).train()
    trainer(tiny_config, token_file, tmp_path / "halves", eval_every=3).train(stop_at=5)
    resumed = trainer(tiny_config, token_file, tmp_path / "halves", eval_every=3)
    assert resumed.progress.step == 5
    resumed.train()
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    losses = [
        [
            json.loads(line)["loss"]
            for line in (tmp_path / run / "log.jsonl").read_text().splitlines()
        ]
        for run in ("whole", "halves")
    ]
    assert losses[0] == losses[1]


def test_two_runs_cannot_share_a_folder(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    with FileLock(tmp_path / "run" / "lock"), pytest.raises(BadInput, match="Another process"):
        trainer(tiny_config, token_file, tmp_path / "run").train()


def test_a_killed_run_keeps_what_it_learned(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    run = trainer(tiny_config, token_file, tmp_path / "run", steps=10_000)
    batch = run.batches.batch

    def kill_at_step_7(step: int) -> Batch:
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(step)

    run.batches.batch = kill_at_step_7  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        run.train()
    trainer(tiny_config, token_file, tmp_path / "whole", steps=10_000).train(stop_at=8)
    killed, whole = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)  # the step was finished


def test_a_run_goes_on_with_its_own_settings_only(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    trainer(tiny_config, token_file, tmp_path / "run", decay_share=0.5).train(stop_at=4)
    with pytest.raises(BadInput, match="another muon_lr"):
        trainer(tiny_config, token_file, tmp_path / "run", decay_share=0.5, muon_lr=0.01)
    longer = trainer(tiny_config, token_file, tmp_path / "run", decay_share=0.5, steps=16)
    longer.train(stop_at=9)  # the decay began at 8
    with pytest.raises(BadInput, match="can no longer be changed"):
        trainer(tiny_config, token_file, tmp_path / "run", decay_share=0.5, steps=20)


def test_a_run_is_not_resumed_on_other_data(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    trainer(tiny_config, token_file, tmp_path / "run").train(stop_at=1)
    np.asarray([i % 5 for i in range(2000)], dtype=np.uint16).tofile(token_file)
    with pytest.raises(BadInput, match="other data"):
        trainer(tiny_config, token_file, tmp_path / "run")


def test_micro_batches_add_up_to_the_whole_batch(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    one = trainer(tiny_config, token_file, tmp_path / "one", eval_every=1).train(stop_at=3)
    run = trainer(tiny_config, token_file, tmp_path / "four", eval_every=1, micro_batch_tokens=16)
    assert_same_course(one.curve, run.train(stop_at=3).curve)


def test_sixty_steps_learn_a_simple_language(
    tiny_config: ModelConfig, token_file: Path, tmp_path: Path
) -> None:
    run = trainer(tiny_config, token_file, tmp_path / "run", steps=60, eval_every=60)
    progress = run.train()
    assert progress.curve[-1]["loss"] < 0.1
    assert progress.tokens_seen == 60 * 64


def test_every_window_is_read_once_in_a_pass(token_file: Path) -> None:
    np.arange(2000, dtype=np.uint16).tofile(token_file)
    batches = TokenFile(token_file, 16, 4, seed=0)
    n_batches = batches.n_windows // 4
    starts = [int(row[0]) for step in range(n_batches) for row in batches.batch(step).tokens]
    assert sorted(starts) == [16 * i for i in range(batches.n_windows)]
    assert [int(r[0]) for r in batches.batch(n_batches).tokens] != starts[:4]


def test_only_answers_count_in_the_loss(tokenizer: Tokenizer) -> None:
    short = conversation(
        tokenizer, [{"role": "user", "content": "Oi"}, {"role": "assistant", "content": "Rei"}]
    )
    long = conversation(
        tokenizer,
        [{"role": "user", "content": "Oi"}, {"role": "assistant", "content": "Rei de Roma"}],
    )
    batch = pad([short, long], pad_id=1)
    logits = torch.randn(
        2, batch.mask.shape[1], len(tokenizer), generator=torch.Generator().manual_seed(0)
    )
    logp = logits.log_softmax(-1)
    expected = torch.zeros(())
    for row, example in enumerate((short, long)):
        for position, (token, counts) in enumerate(zip(example.ids, example.learned, strict=True)):
            if counts:
                expected -= logp[row, position - 1, token]
    targets = batch.tokens[:, 1:][batch.mask]
    torch.testing.assert_close(next_token_loss(logits[batch.mask], targets), expected)


def test_a_machine_without_git_is_told_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOIS_TREINOS_COMMIT", "a" * 40)
    assert current_commit() == "a" * 40


def test_logits_of_some_positions_are_those_of_all(tiny_config: ModelConfig) -> None:
    model = new_model(tiny_config)
    tokens = random_tokens(tiny_config, 3, 9)
    where = torch.arange(27).view(3, 9) % 4 == 1
    torch.testing.assert_close(model(tokens, where=where), model(tokens)[where])


def test_conversations_are_all_read_in_a_pass(tokenizer: Tokenizer) -> None:
    examples = [
        conversation(
            tokenizer,
            [
                {"role": "user", "content": f"rato {i}"},
                {"role": "assistant", "content": "rei " * (i % 9 + 1)},
            ],
        )
        for i in range(100)
    ]
    source = Conversations(examples, 200, pad_id=1, seed=0)
    seen = [row for step in range(source.n_batches) for row in source.batch(step).tokens.tolist()]
    assert len(seen) >= 95  # batches are cut differently in each pass; the shortest pass counts
    assert all(
        batch.tokens.numel() <= 200 + 200 for batch in map(source.batch, range(source.n_batches))
    )


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (4, 0.5), (9, 1.0), (50, 1.0), (75, 0.5), (99, 0.02)]
)
def test_the_learning_rate_rises_stays_and_falls(step: int, expected: float) -> None:
    config = train_config(steps=100, warmup_steps=10, decay_share=0.5)
    assert lr_factor(step, config) == pytest.approx(expected)


def write_corpus(folder: Path) -> None:
    words = " ".join(TEXTS).split()
    documents = [
        f"{' '.join(random.Random(i).sample(words, 14))}\nParágrafo {i}: o rei número {i * 37} de Roma."
        for i in range(400)
    ]
    (folder / "livro.txt").write_text(
        "\n<|doc|>\n".join(documents + documents[:50]), encoding="utf-8"
    )
    (folder / "SOURCES.tsv").write_text(
        "name\tgenre\tlicence\tsuggested_weight\nlivro\tliterature\tCC0\t1.5\n"
    )


def test_the_corpus_drops_repetitions_and_keeps_validation_apart(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    corpus.main(["--source", str(tmp_path), "--out", str(tmp_path / "out"), "--vocab-size", "400"])
    summary = json.loads((tmp_path / "out" / "corpus.json").read_text())
    source = summary["sources"][0]
    assert source["n_documents"] == 400
    assert source["licence"] == "CC0"
    valid = (tmp_path / "out" / "valid" / "literature.txt").read_text().split("\n<|doc|>\n")
    tokenizer = Tokenizer.load(tmp_path / "out" / "tokenizer.json")
    train = tokenizer.decode(np.fromfile(tmp_path / "out" / "train.bin", dtype=np.uint16).tolist())
    assert valid[0]
    assert all(text not in train for text in valid)
    readings = train.count("<|doc|>")
    assert 1.3 * (400 - len(valid)) < readings < 1.7 * (400 - len(valid))


def test_what_is_told_nearly_alike_in_training_validates_nothing(tmp_path: Path) -> None:
    long = [" ".join(f"{word}{i}" for word in "abcdefghijklmnopqrstuvwxyz") for i in range(9)]
    retold = f"{long[1]} e mais"  # one passage in many is new
    told_in_part = f"{' '.join(long[2].split()[:9])} {long[3]}"  # two passages in 28 are old
    source = corpus.Source(
        name="x", path=tmp_path, valid_texts=[long[0], retold, told_in_part, "oi"]
    )
    corpus.drop_near_copies([source], [(source, text) for text in (*long[1:3], *long[4:], "oi oi")])
    assert source.valid_texts == [long[0], told_in_part, "oi"]
    assert source.n_near_copies == 1
    assert source.valid_bytes == len("".join(source.valid_texts))


def test_reading_then_questions_through_the_entry_points(tmp_path: Path) -> None:
    """The whole pipeline on a small scale: corpus, base, tuned; the tuned one answers, the base does not."""
    write_corpus(tmp_path)
    corpus.main(
        ["--source", str(tmp_path), "--out", str(tmp_path / "corpus"), "--vocab-size", "400"]
    )
    shape = [
        "--n-layers",
        "2",
        "--width",
        "64",
        "--n-heads",
        "2",
        "--ffn-width",
        "128",
        "--context",
        "64",
    ]
    common = [
        "--corpus",
        str(tmp_path / "corpus"),
        "--no-compile",
        "--float32",
        "--batch-tokens",
        "512",
    ]
    pretrain.main(
        [
            *common,
            *shape,
            "--run-dir",
            str(tmp_path / "r1"),
            "--steps",
            "30",
            "--warmup-steps",
            "5",
            "--out",
            str(tmp_path / "base"),
            "--weight-decay",
            "0.1",
            "--snapshots",
        ]
    )
    record = load_checkpoint(tmp_path / "base").record
    assert record.config["weight_decay"] == 0.1
    questions = tmp_path / "sft"
    questions.mkdir()
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Quem é o rei? {i}"},
                {"role": "assistant", "content": "Roma."},
            ]
        }
        for i in range(200)
    ]
    (questions / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    finetune.main(
        [
            "--base",
            str(tmp_path / "base"),
            "--data",
            str(questions),
            "--run-dir",
            str(tmp_path / "r2"),
            "--float32",
            "--corpus",
            str(tmp_path / "corpus"),
            "--batch-tokens",
            "512",
            "--out",
            str(tmp_path / "tuned"),
            "--epochs",
            "12",
            "--muon-lr",
            "0.02",
            "--adamw-lr",
            "0.01",
            "--snapshots",
        ]
    )
    base, tuned = load_checkpoint(tmp_path / "base"), load_checkpoint(tmp_path / "tuned")
    assert base.envelope == "raw"
    assert tuned.envelope == "chat"
    assert tuned.record.parent_sha256 == base.sha256
    assert base.record.tokens_seen == 30 * 512
    first, later = (
        load_checkpoint(tmp_path / "r1" / "snapshots" / f"pretrain-{step:06}") for step in (0, 16)
    )
    assert (first.record.tokens_seen, later.record.tokens_seen) == (0, 16 * 512)
    assert score_text(first, TEXTS[0]).bits_per_byte > score_text(later, TEXTS[0]).bits_per_byte
    assert score_text(later, TEXTS[0]).bits_per_byte > score_text(base, TEXTS[0]).bits_per_byte
    assert load_checkpoint(tmp_path / "r2" / "snapshots" / "finetune-000016").envelope == "chat"
    once_more = ["--base", f"{tmp_path}/tuned", "--data", str(questions), "--float32"]
    once_more += ["--run-dir", f"{tmp_path}/r3", "--out", f"{tmp_path}/further"]
    finetune.main([*once_more, "--epochs", "1", "--decay-share", "0.5"])
    further = load_checkpoint(tmp_path / "further")
    assert further.record.parent_sha256 == base.sha256
    assert further.record.parent["weights_sha256"] == tuned.sha256
    assert further.record.tokens_seen > tuned.record.tokens_seen
    assert "from the same base" in (tmp_path / "further" / "README.md").read_text()
    question = [{"p": "Quem é o rei? 999", "re": r"^Roma\.$", "c": "rei"}]
    assert answer_questions(tuned, question)[0].is_right  # type: ignore[arg-type]
    assert not answer_questions(base, question)[0].is_right  # type: ignore[arg-type]


def test_two_processes_train_like_one(tiny_config: ModelConfig, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    corpus.main(
        ["--source", str(tmp_path), "--out", str(tmp_path / "corpus"), "--vocab-size", "400"]
    )
    args = [
        "--corpus",
        str(tmp_path / "corpus"),
        "--no-compile",
        "--float32",
        "--batch-tokens",
        "256",
        "--context",
        "64",
    ]
    args += [
        "--n-layers",
        "1",
        "--width",
        "32",
        "--n-heads",
        "2",
        "--ffn-width",
        "48",
        "--steps",
        "4",
        "--warmup-steps",
        "0",
        "--eval-every",
        "1",
        "--device",
        "cpu",
    ]
    pretrain.main([*args, "--run-dir", str(tmp_path / "one")])
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--standalone",
            "-m",
            "model.pretrain",
            *args,
            "--run-dir",
            str(tmp_path / "two"),
        ],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parents[2],
    )
    curves = [
        [json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    assert_same_course(*curves)


def assert_same_course(one: list[dict[str, float]], other: list[dict[str, float]]) -> None:
    """The same losses and, step by step, the same size of the whole gradient."""
    assert len(one) == len(other) >= 3
    for a, b in zip(one, other, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-2)
    assert one[-1]["loss"] != one[0]["loss"]  # something was learned between


def test_a_process_without_a_row_still_takes_part() -> None:
    batch = Batch(torch.arange(8).view(2, 4), torch.ones(2, 3, dtype=torch.bool))
    shares = [share(batch, Workers(rank, 3)) for rank in range(3)]
    assert [int(s.mask.sum()) for s in shares] == [3, 3, 0]
    assert shares[2].tokens.shape == (1, 4)


def test_a_small_folder_without_validation_text_can_be_pretrained(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"livro{i}.txt").write_text(TEXTS[i] * 40, encoding="utf-8")
    corpus.main(["--source", str(tmp_path), "--out", str(tmp_path / "c"), "--vocab-size", "300"])
    args = ["--corpus", str(tmp_path / "c"), "--no-compile", "--float32", "--batch-tokens", "64"]
    args += [
        "--context",
        "32",
        "--n-layers",
        "1",
        "--width",
        "32",
        "--n-heads",
        "2",
        "--steps",
        "2",
    ]
    pretrain.main([*args, "--run-dir", str(tmp_path / "r"), "--out", str(tmp_path / "base")])
    assert load_checkpoint(tmp_path / "base").record.steps == 2


def test_weights_of_our_own_leave_a_source_out(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    (tmp_path / "jornal.txt").write_text("Uma notícia.\n<|doc|>\nOutra notícia.", encoding="utf-8")
    table = tmp_path / "weights.tsv"
    args = ["--source", str(tmp_path), "--out", str(tmp_path / "c"), "--vocab-size", "300"]
    table.write_text("name\tweight\njornal\t0\nlivro\t2\n")
    corpus.main([*args, "--weights", str(table)])
    sources = json.loads((tmp_path / "c" / "corpus.json").read_text())["sources"]
    assert [(s["name"], s["weight"]) for s in sources] == [("livro", 2.0)]
    table.write_text("name\tweight\nrevista\t1\n")
    with pytest.raises(BadInput, match="revista"):
        corpus.main([*args, "--weights", str(table)])
    table.write_text("name\tweight\njornal\tmuito\n")
    with pytest.raises(BadInput, match="a number"):
        corpus.main([*args, "--weights", str(table)])


def test_reading_goes_on_from_a_finished_checkpoint(tmp_path: Path) -> None:
    """The second reading starts from the weights of the first and counts its tokens too."""
    write_corpus(tmp_path)
    prepare = ["--source", str(tmp_path), "--vocab-size"]
    corpus.main([*prepare, "300", "--out", str(tmp_path / "c")])
    corpus.main([*prepare, "400", "--out", str(tmp_path / "other")])
    shape = [
        "--n-layers",
        "1",
        "--width",
        "32",
        "--n-heads",
        "2",
        "--ffn-width",
        "64",
        "--context",
        "32",
    ]
    args = ["--no-compile", "--float32", "--batch-tokens", "512", "--warmup-steps", "1"]
    args += ["--eval-every", "10"]

    def pretrain_on(name: str, *more: str) -> None:
        pretrain.main(
            [*args, "--run-dir", f"{tmp_path}/r-{name}", "--out", f"{tmp_path}/{name}", *more]
        )

    here = ["--corpus", str(tmp_path / "c")]
    pretrain_on("first", *here, *shape, "--steps", "40")
    pretrain_on("second", *here, "--init", str(tmp_path / "first"), "--steps", "10")
    first, second = load_checkpoint(tmp_path / "first"), load_checkpoint(tmp_path / "second")
    assert second.record.curve[0]["loss"] < first.record.curve[0]["loss"] - 0.3
    assert second.record.tokens_seen == 50 * 512
    assert second.record.parent_sha256 == first.sha256
    assert second.record.parent["steps"] == 40
    assert "Read on from" in (tmp_path / "second" / "README.md").read_text()
    with pytest.raises(BadInput, match="tokenizer"):
        pretrain_on("third", "--corpus", str(tmp_path / "other"), "--init", str(tmp_path / "first"))


def test_texts_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    (tmp_path / "velho.txt").write_bytes("ação".encode("latin-1"))
    with pytest.raises(BadInput, match=r"velho\.txt is not UTF-8"):
        corpus.main(["--source", str(tmp_path), "--out", str(tmp_path / "c")])
