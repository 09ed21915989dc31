import pytest

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.engine import Engine, Event, Request, generate
from model.errors import BadInput


def request(
    checkpoint: Checkpoint, text: str, seed: int, name: str = "base", **params: float
) -> Request:
    sampling = SamplingParams(**{"max_tokens": 12, "temperature": 1.0, "seed": seed, **params})  # type: ignore[arg-type]
    return Request(
        checkpoint=name, prompt_ids=raw_prompt(checkpoint.tokenizer, text), params=sampling
    )


def text_of(events: list[Event]) -> str:
    return "".join(e.text for e in events)


def test_the_same_seed_gives_the_same_text_whatever_else_runs(
    base: Checkpoint, tuned: Checkpoint
) -> None:
    one = request(base, "O rei de Roma", 7)
    crowd = [request(base, "Pão " * (i % 5 + 1), i) for i in range(6)]
    others = [request(tuned, "A rainha", i, "tuned") for i in range(3)]
    alone = generate(Engine({"base": base}), [one])[0]
    in_crowd = generate(Engine({"base": base, "tuned": tuned}, max_rows=4), [*crowd, one, *others])[
        6
    ]
    assert [e.token_id for e in in_crowd] == [e.token_id for e in alone]
    assert [
        e.token_id for e in generate(Engine({"base": base}), [request(base, "O rei de Roma", 8)])[0]
    ] != [e.token_id for e in alone]


def test_greedy_text_is_the_argmax_of_the_plain_network(base: Checkpoint) -> None:
    import torch

    ids = raw_prompt(base.tokenizer, "A rainha, com raiva")
    events = generate(
        Engine({"base": base}), [request(base, "A rainha, com raiva", 0, temperature=0)]
    )[0]
    for event in events:
        logits = base.model(torch.tensor([ids]))[0, -1]
        assert event.token_id == int(logits.argmax())
        assert event.logp == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)
        ids.append(event.token_id)


def test_a_text_ends_at_its_length_or_at_the_end_of_the_context(base: Checkpoint) -> None:
    engine = Engine({"base": base})
    long = raw_prompt(base.tokenizer, "rato " * 200)[:60]
    prompt = Request(checkpoint="base", prompt_ids=long, params=SamplingParams(max_tokens=50))
    events = generate(engine, [prompt])[0]
    assert len(events) <= 4
    assert [e.finish for e in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].finish in {"length", "stop"}


def test_a_prompt_longer_than_the_context_is_refused(base: Checkpoint) -> None:
    with pytest.raises(BadInput, match="do not fit a context of 64"):
        Engine({"base": base}).add(request(base, "rato " * 200, 0))


def test_cancelling_frees_the_row_and_leaves_the_others_alone(base: Checkpoint) -> None:
    expected = text_of(generate(Engine({"base": base}), [request(base, "Pão de queijo", 3)])[0])
    engine = Engine({"base": base}, max_rows=2)
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
