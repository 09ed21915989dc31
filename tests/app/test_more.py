"""Checkpoints beside the pair: listed, asked by name, read at their first use."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import uvicorn
from conftest import new_model
from fastapi import FastAPI
from fastapi.testclient import TestClient
from support import serving

from app.cli import main
from app.config import Settings
from app.errors import Unusable
from app.main import from_settings
from app.services import generation
from model.chat import raw_prompt
from model.checkpoint import Checkpoint, TrainingRecord, load_checkpoint, save_checkpoint
from model.config import ModelConfig, SamplingParams
from model.engine import Engine, Request, generate
from model.evaluate import prompt_ids
from model.inspect import score_tokens
from model.tokenizer import END, Tokenizer

N_STEPS = 5  # of which four fit in one MB


@pytest.fixture
def steps(tmp_path: Path, tokenizer: Tokenizer, tiny_config: ModelConfig) -> Path:
    """A run's snapshots, each with weights of its own."""
    for step in range(1, N_STEPS + 1):
        folder = tmp_path / "snapshots" / f"finetune-{step:06}"
        model, record = new_model(tiny_config, 10 + step), TrainingRecord(stage="finetune")
        save_checkpoint(folder, model, tokenizer, record, end_token=END)
    return tmp_path / "snapshots"


@pytest.fixture
def settings(steps: Path, pair_folder: Path, tmp_path: Path) -> Settings:
    return Settings(
        database_url=f"sqlite:///{tmp_path / 'test.db'}",
        dois_treinos_base=pair_folder / "base",
        dois_treinos_tuned=pair_folder / "tuned",
        dois_treinos_more=f"lida={pair_folder / 'base'}, passo={steps}",
        dois_treinos_more_mb=1,
        dois_treinos_exact=True,
    )


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return from_settings(settings)


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    with serving(app) as address:
        yield f"{address}/v1"


@pytest.fixture
def client(address: str) -> Any:
    return openai.OpenAI(base_url=address, api_key="none", max_retries=0)


def loaded(app: FastAPI) -> list[str]:
    names: list[str] = app.state.services.generation.engine.loaded
    return names


def alone(folder: Path, ids: Callable[[Checkpoint], list[int]], **params: Any) -> str:
    """What a checkpoint writes with nobody beside it."""
    checkpoint = load_checkpoint(folder)
    request = Request(
        checkpoint="it", prompt_ids=ids(checkpoint), params=SamplingParams(top_k=0, **params)
    )
    events = generate(Engine({"it": checkpoint}, is_exact=True), [request])[0]
    return "".join(event.text for event in events)


def test_they_are_listed_and_none_is_read_before_it_is_asked(client: Any, app: FastAPI) -> None:
    names = [f"passo/finetune-{step:06}" for step in range(1, N_STEPS + 1)]
    listed = list(client.models.list())
    assert [m.id for m in listed] == ["base", "tuned", "lida", *names]
    assert {m.object for m in listed} == {"model"}
    assert client.models.retrieve("passo/finetune-000002").id == "passo/finetune-000002"
    with pytest.raises(openai.NotFoundError, match="passo/finetune-9"):
        client.models.retrieve("passo/finetune-9")
    assert loaded(app) == ["base", "tuned"]


def test_each_answers_with_its_own_weights(client: Any, app: FastAPI, steps: Path) -> None:
    for name in ("finetune-000001", "finetune-000003"):
        found = client.completions.create(
            model=f"passo/{name}", prompt="O rei de", seed=5, max_tokens=9, temperature=1.0
        )
        assert found.model == f"passo/{name}"
        assert found.choices[0].text == alone(
            steps / name,
            lambda c: raw_prompt(c.tokenizer, "O rei de"),
            seed=5,
            max_tokens=9,
            temperature=1.0,
        )
    assert loaded(app)[-2:] == ["passo/finetune-000001", "passo/finetune-000003"]


def test_one_holds_a_conversation_and_streams_it(client: Any, steps: Path) -> None:
    expected = alone(
        steps / "finetune-000002", lambda c: prompt_ids(c, "Quem é o rei?"), temperature=0
    )
    parts = client.chat.completions.create(
        model="passo/finetune-000002",
        messages=[{"role": "user", "content": "Quem é o rei?"}],
        temperature=0,
        max_tokens=64,
        stream=True,
    )
    assert "".join(part.choices[0].delta.content for part in parts) == expected


def test_a_text_is_scored_by_the_one_that_is_named(client: Any, steps: Path) -> None:
    found = client.completions.create(
        model="passo/finetune-000004", prompt="O rei de Roma", max_tokens=0, echo=True, logprobs=1
    )
    checkpoint = load_checkpoint(steps / "finetune-000004")
    scores = score_tokens(checkpoint, raw_prompt(checkpoint.tokenizer, "O rei de Roma"))
    assert found.choices[0].logprobs.token_logprobs == pytest.approx(
        [s.logp for s in scores[1:]], abs=1e-4
    )


def test_the_longest_unused_leaves_and_comes_back(client: Any, app: FastAPI) -> None:
    names = [f"passo/finetune-{step:06}" for step in range(1, N_STEPS + 1)]
    how = {"prompt": "O rei", "max_tokens": 4, "temperature": 0}
    texts = [client.completions.create(model=n, **how).choices[0].text for n in names]
    assert loaded(app) == ["base", "tuned", *names[1:]]
    assert client.completions.create(model=names[0], **how).choices[0].text == texts[0]
    assert loaded(app) == ["base", "tuned", *names[2:], names[0]]


def test_who_asks_together_has_it_read_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def load(folder: Path) -> Checkpoint:
        read.append(folder)
        return load_checkpoint(folder)

    monkeypatch.setattr(generation, "load_checkpoint", load)
    body = {"model": "passo/finetune-000001", "prompt": "O rei", "max_tokens": 3, "seed": 1}
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(httpx2.post, f"{address}/completions", json=body) for _ in range(8)]
        answers = [one.result() for one in asked]
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["choices"][0]["text"] for answer in answers}) == 1
    assert len(read) == 1


def test_one_that_was_damaged_since_the_start_is_said_and_the_others_go_on(
    client: Any, steps: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = steps / "finetune-000002" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model="passo/finetune-000002", prompt="O rei", max_tokens=4)
    assert "passo/finetune-000002" in str(caught.value)
    assert str(steps) not in str(caught.value)  # where it lies is for the terminal
    assert f"The weights in {weights.parent} are not those" in caplog.text
    for name in ("base", "passo/finetune-000003"):
        answer = client.completions.create(model=name, prompt="O rei", max_tokens=4, temperature=0)
        assert answer.choices[0].text  # drawn without a seed, it might end at once


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ("a={steps}/nowhere", "no checkpoint folder .*nowhere"),
        ("a={steps}/..", "neither a checkpoint nor"),
        ("base={steps}/finetune-000001", "Two checkpoints are called base"),
    ],
)
def test_the_start_says_what_cannot_be_used(
    settings: Settings, steps: Path, entry: str, sentence: str
) -> None:
    wrong = (entry.format(steps=steps),)
    with pytest.raises(Unusable, match=sentence):
        from_settings(settings.model_copy(update={"dois_treinos_more": wrong}))


def test_the_start_says_what_takes_too_much_memory(
    settings: Settings, tmp_path: Path, tokenizer: Tokenizer, tiny_config: ModelConfig
) -> None:
    config, record = replace(tiny_config, n_layers=30), TrainingRecord(stage="pretrain")
    save_checkpoint(tmp_path / "large", new_model(config), tokenizer, record, end_token=END)
    more = (f"grande={tmp_path / 'large'}",)
    with pytest.raises(Unusable, match=r"grande .* MB of memory; DOIS_TREINOS_MORE_MB allows 1\."):
        from_settings(settings.model_copy(update={"dois_treinos_more": more}))


def test_the_command_line_takes_them(
    settings: Settings,
    steps: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("database_url", "dois_treinos_base", "dois_treinos_tuned"):
        monkeypatch.setenv(name.upper(), str(getattr(settings, name)))
    served: list[FastAPI] = []

    def run(server: uvicorn.Server, sockets: list[Any]) -> None:
        sockets[0].close()
        served.append(server.config.app)  # type: ignore[arg-type]

    monkeypatch.setattr(uvicorn.Server, "run", run)
    one = str(steps / "finetune-000001")
    main(["serve", "--port", "0", "--more", f"passo={steps}", "--more", one])
    with TestClient(served[0]) as client:
        names = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert len(names) == 2 + N_STEPS + 1
    assert names[-1] == "finetune-000001"
    monkeypatch.setenv("DOIS_TREINOS_MORE", f"passo={steps}, outro={one}")
    capsys.readouterr()
    prompt = ["--prompt", "O rei", "--temperature", "0", "--max-tokens", "5"]
    main(["generate", "--model", "passo/finetune-000001", *prompt])
    main(["generate", "--model", "outro", *prompt])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == lines[1] != ""
