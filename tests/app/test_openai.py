"""The OpenAI-compatible API, asked by OpenAI's own client."""

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from fastapi.testclient import TestClient
from support import by_role

from app.config import Settings
from app.db import Database
from app.main import create_app
from model.chat import chat_prompt, raw_prompt
from model.config import SamplingParams
from model.engine import Engine, Event, Request, generate
from model.inspect import score_tokens
from model.pair import Pair


@pytest.fixture
def client(openai_server: str) -> Any:
    """OpenAI's own client; Any, because its overloads are many."""
    return openai.OpenAI(base_url=openai_server, api_key="none", max_retries=0)


def events_alone(pair: Pair, text: str, seed: int, **params: float) -> list[Event]:
    request = Request(
        checkpoint="it",
        prompt_ids=raw_prompt(pair.base.tokenizer, text),
        params=SamplingParams(**{"seed": seed, "top_k": 0, "temperature": 1.0, **params}),  # type: ignore[arg-type]
    )
    return generate(Engine({"it": pair.base}, is_exact=True), [request])[0]


def alone(pair: Pair, text: str, seed: int, **params: float) -> str:
    return "".join(e.text for e in events_alone(pair, text, seed, **params))


def test_both_models_are_listed(client: Any) -> None:
    assert [m.id for m in client.models.list()] == ["base", "tuned"]
    assert client.models.retrieve("tuned").id == "tuned"
    with pytest.raises(openai.NotFoundError, match="gpt"):
        client.models.retrieve("gpt")


def test_a_text_is_continued_by_its_seed(client: Any, pair: Pair) -> None:
    found = client.completions.create(
        model="base", prompt="O rei de", seed=5, max_tokens=9, n=2, temperature=1.0
    )
    assert [c.text for c in found.choices] == [
        alone(pair, "O rei de", seed, max_tokens=9) for seed in (5, 6)
    ]
    n = len(raw_prompt(pair.base.tokenizer, "O rei de"))
    n_written = sum(len(events_alone(pair, "O rei de", seed, max_tokens=9)) for seed in (5, 6))
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (n, n_written)


def test_several_prompts_as_texts_or_as_tokens_keep_their_order(client: Any, pair: Pair) -> None:
    texts = ["O rei", "A rainha e o rato", "Pão"]
    ids = [raw_prompt(pair.base.tokenizer, t) for t in texts]
    by_text = client.completions.create(model="base", prompt=texts, temperature=0, max_tokens=6)
    by_ids = client.completions.create(model="base", prompt=ids, temperature=0, max_tokens=6)
    assert [c.index for c in by_text.choices] == [0, 1, 2]
    assert [c.text for c in by_ids.choices] == [c.text for c in by_text.choices]
    assert [c.text for c in by_text.choices] == [
        alone(pair, t, 0, temperature=0, max_tokens=6) for t in texts
    ]


def test_streamed_pieces_are_the_whole_text(client: Any) -> None:
    how = {"model": "base", "prompt": "O rei de Roma", "seed": 3, "max_tokens": 12}
    whole = client.completions.create(**how)
    parts = list(
        client.completions.create(**how, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.text for p in parts for c in p.choices) == whole.choices[0].text
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert parts[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len(parts) > 5


def test_a_text_can_be_scored_without_writing(client: Any, pair: Pair) -> None:
    """What lm-eval asks: every token's log-probability and whether it was the likeliest."""
    ids = raw_prompt(pair.base.tokenizer, "O rei de Roma")
    found = client.completions.create(
        model="base", prompt=[ids[1:]], max_tokens=0, echo=True, logprobs=2
    )
    choice = found.choices[0]
    assert choice.text == "O rei de Roma"
    scores = score_tokens(pair.base, ids[1:], 2)
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(
        [s.logp for s in scores[1:]], abs=1e-4
    )
    assert choice.logprobs.tokens == [pair.base.tokenizer.decode([i]) for i in ids[1:]]
    assert len(choice.logprobs.top_logprobs[1]) == 2
    assert found.usage.completion_tokens == 0


def test_a_written_text_comes_with_its_scores(client: Any) -> None:
    found = client.completions.create(
        model="base", prompt="O rei", max_tokens=5, temperature=0, logprobs=1, echo=True
    )
    logprobs = found.choices[0].logprobs
    assert found.choices[0].text.startswith("O rei")
    written = list(zip(logprobs.token_logprobs, logprobs.top_logprobs, strict=True))[-5:]
    for logp, top in written:
        assert logp == pytest.approx(max(top.values()), abs=1e-4)


def test_the_tuned_one_answers_and_the_base_refuses_a_conversation(client: Any, pair: Pair) -> None:
    messages = [{"role": "user", "content": "Quem é o rei?"}]
    found = client.chat.completions.create(
        model="tuned",
        messages=messages,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
    )
    choice = found.choices[0]
    assert choice.message.role == "assistant"
    expected = Request(
        checkpoint="it",
        prompt_ids=chat_prompt(
            pair.tuned.tokenizer, [{"role": "user", "content": "Quem é o rei?"}]
        ),
        params=SamplingParams(temperature=0, max_tokens=1000),
    )
    events = generate(Engine({"it": pair.tuned}, is_exact=True), [expected])[0]
    assert choice.message.content == "".join(e.text for e in events)
    assert choice.finish_reason == events[-1].finish
    assert len(choice.logprobs.content) == found.usage.completion_tokens
    assert len(choice.logprobs.content[0].top_logprobs) == 3
    stream = client.chat.completions.create(
        model="tuned",
        messages=messages,
        temperature=0,
        stream=True,
    )
    pieces = [c.delta.content or "" for part in stream for c in part.choices]
    assert "".join(pieces) == choice.message.content
    with pytest.raises(openai.BadRequestError, match="base"):
        client.chat.completions.create(model="base", messages=messages)


def test_a_stop_text_ends_it(client: Any) -> None:
    how = {"model": "base", "prompt": "O rei", "seed": 1, "max_tokens": 30}
    whole = client.completions.create(**how).choices[0].text
    stop = whole[6:9]
    cut = client.completions.create(**how, stop=[stop, "nunca"]).choices[0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"model": "gpt-5", "prompt": "Oi"}, 404, "gpt-5"),
        ({"model": "base", "prompt": ["Oi"] * 200}, 400, "De 1 a 128"),
        ({"model": "base", "prompt": []}, 400, "vazio"),
        ({"model": "base", "prompt": [[999_999]]}, 400, "não conhece"),
        ({"model": "base", "prompt": "rato " * 500}, 400, "tokens"),
        ({"model": "base", "prompt": "Oi", "n": 1000}, 400, "n:"),
        ({"model": "base", "prompt": "Oi", "temperature": -1}, 400, "temperature"),
        ({"model": "base", "prompt": {"a": 1}}, 400, "prompt"),
        ({"prompt": "Oi"}, 400, "model"),
        ({"model": "base", "prompt": "Oi", "stream": True, "logprobs": 1}, 400, "stream"),
    ],
)
def test_what_cannot_be_done_is_said_in_openais_form(
    openai_server: str, body: dict[str, object], status: int, message: str
) -> None:
    response = httpx2.post(
        f"{openai_server}/completions", json=body, headers={"accept-language": "pt-BR"}
    )
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_a_path_that_does_not_exist_answers_in_json(openai_server: str) -> None:
    response = httpx2.get(f"{openai_server}/nada")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_who_leaves_frees_the_row(openai_server: str) -> None:
    body = {
        "model": "base",
        "prompt": ["O rei"] * 100,
        "max_tokens": 40,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx2.stream("POST", f"{openai_server}/completions", json=body) as response:
        next(response.iter_lines())
    started = time.monotonic()
    small = {"model": "base", "prompt": "O rei", "max_tokens": 1}
    assert httpx2.post(f"{openai_server}/completions", json=small, timeout=30).status_code == 200
    assert time.monotonic() - started < 30


def test_the_pages_errors_stay_pages(tmp_path: Path, pair: Pair) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'test.db'}")
    db = Database(settings.database_url)
    db.upgrade()
    with TestClient(create_app(settings, db, by_role(pair))) as client:
        assert "text/html" in client.get("/nada").headers["content-type"]
        assert json.loads(client.get("/v1/models").text)["object"] == "list"
