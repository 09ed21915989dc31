import queue
from typing import Any

import pytest

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.engine import Engine, Event, Request, generate
from model.worker import Ending, EngineThread

Inbox = queue.SimpleQueue[tuple[str, Event | Ending]]


def a_request(base: Checkpoint, seed: int, max_tokens: int = 8) -> Request:
    return Request(
        checkpoint="base",
        prompt_ids=raw_prompt(base.tokenizer, "O rei de Roma"),
        params=SamplingParams(max_tokens=max_tokens, seed=seed),
    )


def started(engine: Engine) -> tuple[EngineThread[str], Inbox]:
    inbox: Inbox = queue.SimpleQueue()

    def deliver(pairs: list[tuple[str, Event | Ending]]) -> None:
        for pair in pairs:
            inbox.put(pair)

    worker = EngineThread(engine, deliver)
    worker.start()
    return worker, inbox


def until_all_ended(inbox: Inbox, n: int) -> dict[str, list[Event | Ending]]:
    found: dict[str, list[Event | Ending]] = {}
    n_ended = 0
    while n_ended < n:
        key, event = inbox.get(timeout=20)
        found.setdefault(key, []).append(event)
        n_ended += isinstance(event, str) or event.finish is not None
    return found


def test_each_key_gets_its_own_text(base: Checkpoint) -> None:
    worker, inbox = started(Engine({"base": base}, is_exact=True))
    for seed in range(3):
        worker.submit(f"reader {seed}", a_request(base, seed))
    found = until_all_ended(inbox, 3)
    worker.stop()
    for seed in range(3):
        alone = generate(Engine({"base": base}, is_exact=True), [a_request(base, seed)])[0]
        got = [e for e in found[f"reader {seed}"] if isinstance(e, Event)]
        assert [e.token_id for e in got] == [e.token_id for e in alone]


def test_who_leaves_gets_nothing_more_and_the_others_go_on(base: Checkpoint) -> None:
    engine = Engine({"base": base})
    worker, inbox = started(engine)
    worker.submit("stays", a_request(base, 1, 30))
    worker.submit("leaves", a_request(base, 2, 30))
    worker.cancel("leaves")
    found = until_all_ended(inbox, 2)
    worker.cancel("stays")  # ended already
    assert worker.call(lambda: engine.n_running).result(timeout=20) == 0
    worker.stop()
    assert found["leaves"][-1] == "cancelled"
    assert isinstance(found["stays"][-1], Event)
    assert inbox.empty()


def test_a_step_that_fails_is_told_to_all_and_the_next_request_works(
    base: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine({"base": base})
    step = engine.step

    def fail_once() -> list[Event]:
        monkeypatch.setattr(engine, "step", step)
        raise MemoryError

    monkeypatch.setattr(engine, "step", fail_once)
    worker, inbox = started(engine)
    worker.submit("first", a_request(base, 1))
    assert until_all_ended(inbox, 1)["first"] == ["failed"]
    worker.submit("second", a_request(base, 1))
    assert isinstance(until_all_ended(inbox, 1)["second"][-1], Event)
    worker.stop()


def test_what_runs_at_the_end_is_told_so(base: Checkpoint) -> None:
    worker, inbox = started(Engine({"base": base}))
    worker.submit("reader", a_request(base, 1, 40))
    inbox.get(timeout=20)
    worker.stop()
    last = None
    while not inbox.empty():
        last = inbox.get()[1]
    assert not worker.is_alive
    assert last == "cancelled" or (isinstance(last, Event) and last.finish)


def test_a_function_runs_between_two_steps(base: Checkpoint) -> None:
    worker, _ = started(Engine({"base": base}))
    assert worker.call(lambda: 6 * 7).result(timeout=20) == 42

    def fail() -> Any:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        worker.call(fail).result(timeout=20)
    worker.stop()
