"""An engine in a thread of its own: nobody who waits for something else ever waits for a token.

Requests go in under a key of the caller's choice; what they yield comes out in lists, one list a step. An engine that
fails is made anew: texts that had begun end as failed, the others are written as if nothing had happened.
"""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from model.device import CORES, use_cores
from model.engine import Engine, Event, Request, prepare
from model.errors import QueueFull

log = logging.getLogger(__name__)

Ending = Literal[
    "cancelled", "failed", "unreachable", "timeout", "rubbish"
]  # the last three: of other servers
K = TypeVar("K")
T = TypeVar("T")

MAX_STARTS = 2  # of one request: what ends two engines does not get a third
RETRY_S = 1.0  # between tries to make an engine anew


@dataclass(slots=True)
class _Asked(Generic[K]):
    key: K
    request: Request
    n_starts: int = 0
    has_begun: bool = False  # a reader has seen some of it


class EngineThread(Generic[K]):
    """Runs one engine. Every key gets events up to one with a finish, or an `Ending`, and then no more."""

    def __init__(
        self,
        engine: Engine,
        deliver: Callable[[list[tuple[K, Event | Ending]]], None],
        n_cores: int = CORES,
    ) -> None:
        """`deliver` is called in the engine's thread and must return at once."""
        self._engine, self._deliver, self._n_cores = engine, deliver, n_cores
        self._running: dict[int, _Asked[K]] = {}  # by the engine's sequence id
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._is_well, self._is_stopping = True, threading.Event()
        self._has_cores = threading.Event()
        self.n_restarts = 0

    def start(self) -> None:
        """Begin; the caller, and threads that come later, compute on one core each from then on."""
        self._thread.start()
        self._has_cores.wait()
        use_cores(1)

    def stop(self) -> None:
        """End the thread, and with it all that still runs; waits for the running step."""
        self._is_stopping.set()
        self._inbox.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether requests are worked on now; not while a failed engine is made anew."""
        return self._is_well and self._thread.is_alive()

    def submit(self, key: K, request: Request) -> None:
        self._inbox.put(lambda: self._add(_Asked(key, request)))

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
        use_cores(self._n_cores)
        self._has_cores.set()
        prepare()
        while True:
            try:
                self._work()
                break
            except BaseException:  # not even what ends a thread may leave readers waiting
                log.exception("the engine failed; it is made anew")
                self._restart()
        self._deliver([(asked.key, "cancelled") for asked in self._running.values()])

    def _work(self) -> None:
        """Commands and steps, until `stop`."""
        while True:
            try:
                command = self._inbox.get(block=not self._engine.has_work)
            except queue.Empty:
                self._step()
                continue
            if command is None:
                return
            command()

    def _restart(self) -> None:
        """An engine without work, then again the requests of which nobody has seen anything."""
        self._is_well = False
        asked = list(self._running.values())
        self._running.clear()
        again = [a for a in asked if not a.has_begun and a.n_starts < MAX_STARTS]
        self._deliver([(a.key, "failed") for a in asked if a not in again])
        while not self._is_well:
            try:
                self._engine.restart()
                self._is_well = True
            except Exception:  # no memory, say; it may come back
                log.exception("the engine could not be made anew yet")
                self._deliver([(a.key, "failed") for a in again])
                again = []
                if self._is_stopping.wait(RETRY_S):
                    break
        self.n_restarts += 1
        for one in again:
            self._add(one)

    def _step(self) -> None:
        events = self._engine.step()
        self._deliver([(self._running[e.sequence_id].key, e) for e in events])
        for event in events:
            self._running[event.sequence_id].has_begun = True
            if event.finish:
                del self._running[event.sequence_id]

    def _add(self, asked: _Asked[K]) -> None:
        asked.n_starts += 1
        try:
            self._running[self._engine.add(asked.request)] = asked
        except QueueFull:
            self._deliver([(asked.key, "failed")])
        except Exception:
            log.exception("a request could not be added to the engine")
            self._deliver([(asked.key, "failed")])

    def _cancel(self, key: K) -> None:
        for sequence_id, asked in list(self._running.items()):
            if asked.key is key:
                self._engine.cancel(sequence_id)
                del self._running[sequence_id]
                self._deliver([(key, "cancelled")])
