"""Which waiting requests join the running batch, and in what order. Pure Python: no tensor, no clock.

The oldest come first, one of each owner in turn, so that a reader with ten requests does not hold up the others.
A step reads at most so many prompt tokens, so that those who already read an answer do not wait long for its next word.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from model.errors import QueueFull


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request that waits: whose it is and what it begins with."""

    id: int
    owner: str
    prompt: tuple[int, ...]  # tokens


class Scheduler:
    """The waiting line of one checkpoint."""

    def __init__(self, max_waiting: int, max_prefill_tokens: int) -> None:
        self.max_waiting, self.max_prefill_tokens = max_waiting, max_prefill_tokens
        self._lines: OrderedDict[str, deque[Ticket]] = OrderedDict()  # by owner, next owner first

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def add(self, ticket: Ticket) -> None:
        """Stand in line; QueueFull where it is as long as it may be."""
        if len(self) >= self.max_waiting:
            raise QueueFull(f"{len(self)} requests are waiting already.")
        self._lines.setdefault(ticket.owner, deque()).append(ticket)

    def cancel(self, ticket_id: int) -> bool:
        """Leave the line; False for one that does not stand in it."""
        for owner, line in self._lines.items():
            for ticket in line:
                if ticket.id == ticket_id:
                    line.remove(ticket)
                    if not line:
                        del self._lines[owner]
                    return True
        return False

    def admit(self, n_free: int, read: Iterable[tuple[int, ...]] = ()) -> list[int]:
        """The requests that start now: at most `n_free`, and no more prompt tokens than a step may read.

        The first always starts, however long it is. A prompt that many send is read, and counted, once; not at all if it
        is among those that were `read`.
        """
        admitted: list[int] = []
        prompts = set(read)
        n_tokens = 0
        while self._lines and len(admitted) < n_free:
            owner, line = next(iter(self._lines.items()))
            n_more = 0 if line[0].prompt in prompts else len(line[0].prompt)
            if admitted and n_tokens + n_more > self.max_prefill_tokens:
                break
            ticket = line.popleft()
            admitted.append(ticket.id)
            prompts.add(ticket.prompt)
            n_tokens += n_more
            if line:
                self._lines.move_to_end(owner)
            else:
                del self._lines[owner]
        return admitted
