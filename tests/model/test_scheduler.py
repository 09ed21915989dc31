import pytest

from model.errors import QueueFull
from model.scheduler import Scheduler, Ticket


def line(*tickets: tuple[int, str, int], max_prefill_tokens: int = 100) -> Scheduler:
    """A waiting line of (id, owner, length of the prompt); all prompts differ."""
    scheduler = Scheduler(max_waiting=10, max_prefill_tokens=max_prefill_tokens)
    for id, owner, n in tickets:
        scheduler.add(Ticket(id, owner, (id,) * n))
    return scheduler


@pytest.mark.parametrize(
    ("waiting", "n_free", "expected"),
    [
        ([], 4, []),
        ([(1, "ana", 5)], 0, []),
        ([(1, "ana", 5), (2, "bia", 5)], 4, [1, 2]),
        ([(1, "ana", 5), (2, "ana", 5), (3, "ana", 5), (4, "bia", 5)], 2, [1, 4]),
        ([(1, "ana", 5), (2, "ana", 5), (3, "bia", 5), (4, "caio", 5)], 9, [1, 3, 4, 2]),
        ([(1, "ana", 60), (2, "bia", 60), (3, "caio", 5)], 9, [1]),
        ([(1, "ana", 500), (2, "bia", 5)], 9, [1]),
        ([(1, "ana", 60), (2, "bia", 40), (3, "caio", 1)], 9, [1, 2]),
    ],
    ids=[
        "nobody",
        "no free row",
        "the oldest first",
        "one with many waits for the others",
        "in turn",
        "no more tokens than a step may read",
        "a long one goes alone",
        "exactly as many",
    ],
)
def test_who_starts(waiting: list[tuple[int, str, int]], n_free: int, expected: list[int]) -> None:
    assert line(*waiting).admit(n_free) == expected


def test_all_are_served_in_the_end_and_turns_go_on_between_steps() -> None:
    scheduler = line((1, "ana", 9), (2, "ana", 9), (3, "ana", 9), (4, "bia", 9), (5, "bia", 9))
    assert [scheduler.admit(1) for _ in range(6)] == [[1], [4], [2], [5], [3], []]
    assert len(scheduler) == 0


def test_a_prompt_that_many_send_is_counted_once() -> None:
    scheduler = Scheduler(max_waiting=10, max_prefill_tokens=100)
    for id in range(5):
        scheduler.add(Ticket(id, f"owner {id}", (7,) * 80))
    scheduler.add(Ticket(9, "other", (8,) * 30))
    assert scheduler.admit(10) == [0, 1, 2, 3, 4]
    assert scheduler.admit(10) == [9]


def test_a_prompt_that_was_read_before_is_not_counted() -> None:
    scheduler = Scheduler(max_waiting=10, max_prefill_tokens=100)
    for id, token in enumerate((7, 8, 7)):
        scheduler.add(Ticket(id, f"owner {id}", (token,) * 80))
    assert scheduler.admit(10, read=[(7,) * 80]) == [0, 1, 2]


def test_a_line_has_an_end() -> None:
    scheduler = line(*[(i, "ana", 1) for i in range(10)])
    with pytest.raises(QueueFull):
        scheduler.add(Ticket(11, "bia", (1,)))
    assert scheduler.cancel(4)
    scheduler.add(Ticket(11, "bia", (1,)))
    assert len(scheduler) == 10


def test_who_leaves_the_line_is_not_served() -> None:
    scheduler = line((1, "ana", 1), (2, "bia", 1))
    assert scheduler.cancel(1)
    assert not scheduler.cancel(1)
    assert scheduler.admit(5) == [2]
