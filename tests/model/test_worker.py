import queue
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.device import use_cores
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


class Mortal(Engine):
    """A real engine whose steps of these numbers fail, as where memory runs out."""

    def __init__(
        self, base: Checkpoint, *fatal_steps: int, error: type[BaseException] = MemoryError
    ) -> None:
        super().__init__({"base": base}, max_rows=2, is_exact=True)
        self.fatal_steps, self.error = fatal_steps, error
        self.n_steps = self.n_failed_restarts = 0

    def step(self) -> list[Event]:
        self.n_steps += 1
        if self.n_steps in self.fatal_steps:
            raise self.error
        return super().step()

    def restart(self) -> None:
        if self.n_failed_restarts:
            self.n_failed_restarts -= 1
            raise MemoryError
        super().restart()


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
def test_an_engine_that_dies_is_made_anew_and_who_had_not_begun_gets_the_whole_text(
    base: Checkpoint, error: type[BaseException]
) -> None:
    worker, inbox = started(Mortal(base, 4, error=error))
    ready = queue.SimpleQueue[None]()
    worker.call(lambda: ready.get(timeout=20))  # all four are there before the first step
    for name, seed in (("first", 1), ("second", 2), ("waits", 3), ("waits too", 4)):
        worker.submit(name, a_request(base, seed, 30))
    ready.put(None)
    found = until_all_ended(inbox, 4)
    assert found["first"][-1] == found["second"][-1] == "failed"
    assert len(found["first"]) == 4  # three tokens, then the failure
    for name, seed in (("waits", 3), ("waits too", 4)):
        alone = generate(Engine({"base": base}, is_exact=True), [a_request(base, seed, 30)])[0]
        got = [e for e in found[name] if isinstance(e, Event)]
        assert [e.token_id for e in got] == [e.token_id for e in alone]
    assert worker.n_restarts == 1
    assert worker.is_alive
    worker.stop()


def test_a_request_that_ends_two_engines_does_not_get_a_third(base: Checkpoint) -> None:
    worker, inbox = started(Mortal(base, 1, 2))
    worker.submit("poison", a_request(base, 1))
    assert until_all_ended(inbox, 1)["poison"] == ["failed"]
    worker.submit("next", a_request(base, 1))
    assert isinstance(until_all_ended(inbox, 1)["next"][-1], Event)
    assert worker.n_restarts == 2
    worker.stop()


def test_an_engine_that_cannot_be_made_anew_at_once_is_tried_again(
    base: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.worker.RETRY_S", 0.01)
    engine = Mortal(base, 1)
    engine.n_failed_restarts = 3
    worker, inbox = started(engine)
    worker.submit("reader", a_request(base, 1))
    assert until_all_ended(inbox, 1)["reader"] == ["failed"]  # does not wait for who knows how long
    worker.submit("next", a_request(base, 1))
    assert isinstance(until_all_ended(inbox, 1)["next"][-1], Event)
    worker.stop()


def test_an_engine_that_stays_dead_does_not_hold_up_the_end(base: Checkpoint) -> None:
    engine = Mortal(base, 1)
    engine.n_failed_restarts = 10**9
    worker, inbox = started(engine)
    worker.submit("reader", a_request(base, 1))
    while worker.is_alive:
        time.sleep(0.01)
    worker.stop()
    assert inbox.get(timeout=20) == ("reader", "failed")


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


def test_the_engine_has_the_cores_and_every_other_thread_has_one(base: Checkpoint) -> None:
    use_cores(2)
    worker: EngineThread[str] = EngineThread(Engine({"base": base}), lambda _: None, n_cores=3)
    worker.start()
    assert worker.call(torch.get_num_threads).result(10) == 3
    assert torch.get_num_threads() == 1
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 1
    assert worker.call(torch.get_num_threads).result(10) == 3
    worker.stop()
