import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from model import decoder
from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.decoder import Decoder
from model.engine import Engine, Event, Request, generate
from model.errors import BadInput, QueueFull
from model.kv_cache import KVCache, Pass


def request(
    checkpoint: Checkpoint, text: str, seed: int, name: str = "base", **params: Any
) -> Request:
    sampling = SamplingParams(**{"max_tokens": 12, "temperature": 1.0, "seed": seed, **params})
    return Request(
        checkpoint=name, prompt_ids=raw_prompt(checkpoint.tokenizer, text), params=sampling
    )


def text_of(events: list[Event]) -> str:
    return "".join(e.text for e in events)


def exact(checkpoints: dict[str, Checkpoint], **limits: int) -> Engine:
    """An engine whose texts do not hang on rounding."""
    return Engine(checkpoints, is_exact=True, **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_exact", [True, False])
def test_the_same_seed_gives_the_same_text_whatever_else_runs(
    base: Checkpoint, tuned: Checkpoint, is_exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "MOST", sys.maxsize)  # an ARM gives large batches to torch
    pair = {"base": base, "tuned": tuned}

    def ids(*asked: Request, of: int = 0) -> list[int | None]:
        engine = Engine(pair, is_exact=is_exact, max_rows=4)
        return [e.token_id for e in generate(engine, asked)[of]]

    one = request(base, "O rei de Roma", 7)
    crowd = [request(base, "Pão " * (i % 5 + 1), i) for i in range(6)]
    others = [request(tuned, "A rainha", i, "tuned") for i in range(3)]
    assert ids(*crowd, one, *others, of=6) == ids(one)
    assert ids(request(base, "O rei de Roma", 8)) != ids(one)


def test_greedy_text_is_the_argmax_of_the_plain_network(base: Checkpoint) -> None:
    ids = raw_prompt(base.tokenizer, "A rainha, com raiva")
    events = generate(
        exact({"base": base}), [request(base, "A rainha, com raiva", 0, temperature=0)]
    )[0]
    for event in events:
        logits = base.model(torch.tensor([ids]))[0, -1]
        assert event.token_id == int(logits.argmax())
        assert event.logp == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)
        ids.append(event.token_id)


def test_a_text_ends_at_its_length_or_at_the_end_of_the_context(base: Checkpoint) -> None:
    engine = exact({"base": base})
    long = raw_prompt(base.tokenizer, "rato " * 200)[:60]
    prompt = Request(checkpoint="base", prompt_ids=long, params=SamplingParams(max_tokens=50))
    events = generate(engine, [prompt])[0]
    assert len(events) <= 4
    assert [e.finish for e in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].finish in {"length", "stop"}


def test_a_prompt_longer_than_the_context_is_refused(base: Checkpoint) -> None:
    with pytest.raises(BadInput, match="do not fit a context of 64"):
        exact({"base": base}).add(request(base, "rato " * 200, 0))


def test_cancelling_frees_the_row_and_leaves_the_others_alone(base: Checkpoint) -> None:
    expected = text_of(generate(exact({"base": base}), [request(base, "Pão de queijo", 3)])[0])
    engine = exact({"base": base}, max_rows=2)
    first = engine.add(request(base, "O rato", 1))
    second = engine.add(request(base, "Pão de queijo", 3))
    third = engine.add(request(base, "A rainha", 2))
    events = engine.step()
    engine.cancel(first)
    engine.cancel(third)  # still waiting
    assert engine.n_running == 1
    while engine.has_work:
        events += engine.step()
    assert text_of([e for e in events if e.sequence_id == second]) == expected
    assert not [e for e in events if e.sequence_id == third]


def test_anybody_of_a_crowd_can_leave(base: Checkpoint) -> None:
    """More rows than the cache begins with: one that leaves is replaced by the last."""
    alone = text_of(generate(exact({"base": base}), [request(base, "O rato", 19)])[0])
    engine = exact({"base": base})
    ids = [engine.add(request(base, "O rato", seed)) for seed in range(20)]
    text = text_of([e for e in engine.step() if e.sequence_id == ids[-1]])
    for left in ids[:-1]:
        engine.cancel(left)
    while engine.has_work:
        text += text_of(engine.step())
    assert text == alone


@pytest.fixture
def n_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many prompts each pass reads."""
    n_read: list[int] = []
    hidden = Decoder.hidden

    def counting(self: Decoder, tokens: torch.Tensor, cache: KVCache, at: Pass) -> torch.Tensor:
        n_read.append(tokens.shape[0] if tokens.shape[1] > 1 else 0)
        return hidden(self, tokens, cache, at)

    monkeypatch.setattr(Decoder, "hidden", counting)
    return n_read


def test_equal_prompts_are_read_once_and_answered_each_by_its_own_seed(
    base: Checkpoint, n_read: list[int]
) -> None:
    alone = [
        text_of(generate(exact({"base": base}), [request(base, "O rei de Roma", seed)])[0])
        for seed in range(5)
    ]
    n_read.clear()
    together = generate(
        exact({"base": base}),
        [
            *[request(base, "O rei de Roma", seed) for seed in range(5)],
            request(base, "A rainha, com muita raiva, foi", 9),
        ],
    )
    assert [text_of(events) for events in together[:5]] == alone
    assert sum(n_read) == 2


def test_who_comes_later_with_the_prompt_of_an_answer_in_the_works_is_not_read_again(
    base: Checkpoint, n_read: list[int]
) -> None:
    other = "A rainha, com muita raiva, foi"
    requests = [request(base, text, seed) for seed, text in enumerate((other, "O rei", "O rei"))]
    alone = [text_of(generate(exact({"base": base}), [one])[0]) for one in requests]
    n_read.clear()
    engine, texts = exact({"base": base}), {1: "", 2: "", 3: ""}
    for one in requests:  # each three steps after the last
        engine.add(one)
        for _ in range(3):
            for event in engine.step():
                texts[event.sequence_id] += event.text
    assert sum(n_read) == 2
    while engine.has_work:
        for event in engine.step():
            texts[event.sequence_id] += event.text
    assert list(texts.values()) == alone
    engine.add(requests[1])  # nobody has it any more
    engine.step()
    assert sum(n_read) == 3


def test_prompts_of_different_lengths_are_read_together(base: Checkpoint) -> None:
    texts = ["O", "O rei de Roma e a rainha", "Pão de queijo", "A rainha"]
    alone = [
        text_of(generate(exact({"base": base}), [request(base, t, i)])[0])
        for i, t in enumerate(texts)
    ]
    together = generate(exact({"base": base}), [request(base, t, i) for i, t in enumerate(texts)])
    assert [text_of(events) for events in together] == alone


def test_readers_do_not_wait_for_a_crowd_of_newcomers(base: Checkpoint) -> None:
    """Each step reads a bounded number of prompt tokens and moves everyone who is reading already."""
    engine = exact({"base": base}, max_prefill_tokens=20)
    reader = engine.add(request(base, "O rei", 1, max_tokens=40))
    engine.step()
    for i in range(12):
        engine.add(request(base, f"A rainha {i} com muita raiva", i))
    n_steps = 0
    while len({e.sequence_id for e in engine.step()}) < 6:
        n_steps += 1
    assert n_steps >= 2
    assert reader in {e.sequence_id for e in engine.step()}


def test_too_many_waiting_is_said(base: Checkpoint) -> None:
    engine = exact({"base": base}, max_rows=1, max_waiting=2)
    for i in range(2):
        engine.add(request(base, "O rei", i))
    with pytest.raises(QueueFull):
        engine.add(request(base, "O rei", 3))
    while engine.has_work:
        engine.step()
    engine.add(request(base, "O rei", 3))


def test_a_stop_text_ends_an_answer_and_is_not_part_of_it(base: Checkpoint) -> None:
    whole = text_of(generate(exact({"base": base}), [request(base, "O rei", 5, max_tokens=30)])[0])
    stop = whole[8:11]
    one = request(base, "O rei", 5, max_tokens=30, stop=(stop,))
    events = generate(exact({"base": base}), [one])[0]
    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1].finish == "stop"
    assert len(events) < 30


def test_the_end_token_can_be_ignored_for_measurements(tuned: Checkpoint) -> None:
    ids = [next(iter(tuned.end_ids))] * 3
    for ignores_end in (False, True):
        params = SamplingParams(max_tokens=40, temperature=10, top_k=0, ignores_end=ignores_end)
        found = generate(
            Engine({"tuned": tuned}),
            [
                Request(checkpoint="tuned", prompt_ids=ids, params=replace(params, seed=i))
                for i in range(60)
            ],
        )
        assert any(len(events) < 40 for events in found) != ignores_end


def test_checkpoints_on_demand_are_loaded_and_the_longest_unused_leaves(
    base: Checkpoint, tuned: Checkpoint
) -> None:
    n_loaded: list[str] = []

    def loader(name: str) -> Callable[[], Checkpoint]:
        def load() -> Checkpoint:
            n_loaded.append(name)
            return tuned

        return load

    names = ["step 1", "step 2", "step 3"]
    engine = Engine({"base": base}, on_demand={name: loader(name) for name in names}, max_extra=2)
    for name in ("step 1", "step 2", "step 1", "step 3", "step 1", "step 2"):
        generate(engine, [request(tuned, "O rei", 1, name)])
    assert n_loaded == ["step 1", "step 2", "step 3", "step 2"]
    assert set(engine.loaded) == {"base", "step 1", "step 2"}
    assert engine.open("step 1") is tuned
    assert engine.loaded[-1] == "step 1"  # used just now
    with pytest.raises(BadInput, match="step 9"):
        engine.add(request(base, "O rei", 1, "step 9"))


def test_a_checkpoint_that_is_writing_stays_whatever_the_memory(
    base: Checkpoint, tuned: Checkpoint
) -> None:
    on_demand = {"step 1": lambda: tuned, "step 2": lambda: tuned}
    engine = Engine({"base": base}, is_exact=True, on_demand=on_demand, max_extra_bytes=1)
    alone = text_of(generate(exact({"it": tuned}), [request(tuned, "O rei", 1, "it")])[0])
    found = generate(
        engine, [request(tuned, "O rei", 1, "step 1"), request(tuned, "O rei", 1, "step 2")]
    )
    assert [text_of(events) for events in found] == [alone, alone]
    generate(engine, [request(tuned, "O rei", 1, "step 2")])
    assert engine.loaded == ["base", "step 2"]
