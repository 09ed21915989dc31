"""An engine in a thread of its own: nobody who waits for something else ever waits for a token.

Requests go in under a key of the caller's choice; what they yield comes out in lists, one list a step.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, Literal, TypeVar

from model.engine import Engine, Event, Request
from model.errors import QueueFull

log = logging.getLogger(__name__)

Ending = Literal[
    "cancelled", "failed", "unreachable", "timeout", "rubbish"
]  # the last three: of other servers
K = TypeVar("K")
T = TypeVar("T")


class EngineThread(Generic[K]):
    """Runs one engine. Every key gets events up to one with a finish, or an `Ending`, and then no more."""

    def __init__(
        self, engine: Engine, deliver: Callable[[list[tuple[K, Event | Ending]]], None]
    ) -> None:
        """`deliver` is called in the engine's thread and must return at once."""
        self._engine, self._deliver = engine, deliver
        self._running: dict[int, K] = {}  # by the engine's sequence id
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and with it all that still runs; waits for the running step."""
        self._inbox.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, key: K, request: Request) -> None:
        self._inbox.put(lambda: self._add(key, request))

    def cancel(self, key: K) -> None:
        """Stop writing; a key that has ended already is left alone."""
        self._inbox.put(lambda: self._cancel(key))

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Run a function between two steps, for what needs the weights but no batch."""
        future: Future[T] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)

        self._inbox.put(work)
        return future

    def _run(self) -> None:
        while True:
            try:
                command = self._inbox.get(block=not self._engine.has_work)
            except queue.Empty:
                self._step()
                continue
            if command is None:
                break
            command()
        self._deliver([(key, "cancelled") for key in self._running.values()])

    def _step(self) -> None:
        try:
            events = self._engine.step()
        except Exception:
            log.exception("a step of the engine failed; its batch is dropped")
            self._engine.reset()
            failed = list(self._running.values())
            self._running.clear()
            self._deliver([(key, "failed") for key in failed])
            return
        self._deliver([(self._running[e.sequence_id], e) for e in events])
        for event in events:
            if event.finish:
                del self._running[event.sequence_id]

    def _add(self, key: K, request: Request) -> None:
        try:
            self._running[self._engine.add(request)] = key
        except QueueFull:
            self._deliver([(key, "failed")])
        except Exception:
            log.exception("a request could not be added to the engine")
            self._deliver([(key, "failed")])

    def _cancel(self, key: K) -> None:
        for sequence_id, running in list(self._running.items()):
            if running is key:
                self._engine.cancel(sequence_id)
                del self._running[sequence_id]
                self._deliver([(key, "cancelled")])
