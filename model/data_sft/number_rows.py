"""Rows of numbers for the tables: every result is computed, none typed.

The ranges are small enough to be learned by heart, and they are whole: all sums of numbers up to 20, all differences
within 20, the multiplication tables to 10. What people need more often has more `fame`.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from model.data_sft.make_sums import in_words

Row = dict[str, Any]
TWENTY = range(21)
TENS = range(10, 101, 10)
EVERYDAY = 3  # fame of the sums that come up in life


def numbers(**values: int) -> Row:
    """Each number as a slot, and the same in words under its name with `w`: a, aw."""
    words = {f"{name}w": in_words(n) for name, n in values.items() if 0 <= n <= 100}
    return {**values, **words}


def addition() -> Iterator[Row]:
    for a in TWENTY:
        for b in TWENTY:
            yield {**numbers(a=a, b=b, r=a + b), "fame": EVERYDAY if a + b <= 20 else 1}
    for a in TENS:
        for b in range(10, 101 - a, 10):
            if max(a, b) > 20:
                yield numbers(a=a, b=b, r=a + b)


def subtraction() -> Iterator[Row]:
    for a in TWENTY:
        for b in range(a + 1):
            yield {**numbers(a=a, b=b, r=a - b), "fame": EVERYDAY}
    for a in range(30, 101, 10):
        for b in range(10, a + 1, 10):
            yield numbers(a=a, b=b, r=a - b)


def multiplication() -> Iterator[Row]:
    for a in range(11):
        for b in range(11):
            yield {**numbers(a=a, b=b, r=a * b), "fame": 1 if 0 in (a, b) else EVERYDAY}


def division() -> Iterator[Row]:
    for b in range(1, 11):
        for r in range(1, 11):
            yield numbers(a=b * r, b=b, r=r)


def missing_addend() -> Iterator[Row]:
    for whole in range(2, 21):
        for a in range(1, whole):
            yield numbers(a=a, b=whole, r=whole - a)


def three_addends() -> Iterator[Row]:
    for a in range(1, 6):
        for b in range(1, 6):
            for c in range(1, 6):
                yield numbers(a=a, b=b, c=c, r=a + b + c)


def doubles() -> Iterator[Row]:
    for a in (*range(1, 31), 40, 50):
        yield {**numbers(a=a, r=2 * a), "fame": EVERYDAY if a <= 12 or a % 10 == 0 else 1}


def halves() -> Iterator[Row]:
    for r in (*range(1, 31), 35, 40, 45, 50):
        yield {**numbers(a=2 * r, r=r), "fame": EVERYDAY if r <= 10 or r % 5 == 0 else 1}


def triples() -> Iterator[Row]:
    return (numbers(a=a, r=3 * a) for a in range(1, 21))


def comparison() -> Iterator[Row]:
    """All pairs up to 20, and as many again up to 100, either number first."""
    rng = random.Random(0)
    small = [(a, b) for a in range(1, 21) for b in range(1, 21) if a != b]
    large = [(a, b) for a in range(101) for b in range(101) if a != b and max(a, b) > 20]
    for a, b in [*small, *rng.sample(large, len(small))]:
        yield numbers(a=a, b=b, hi=max(a, b), lo=min(a, b))


def neighbours() -> Iterator[Row]:
    return (numbers(a=a, next=a + 1, prev=a - 1) for a in range(1, 100))


def parity() -> Iterator[Row]:
    for a in range(1, 101):
        kind, other = ("ímpar", "par") if a % 2 else ("par", "ímpar")
        yield {**numbers(a=a), "k": kind, "other": other}


def written() -> Iterator[Row]:
    return (numbers(a=a) for a in range(101))


def counting() -> Iterator[Row]:
    """Sequences of four numbers and the one that follows."""
    for step, starts in (
        (1, range(1, 40)),
        (2, range(1, 21)),
        (3, (0, 1, 2, 3, 6, 9)),
        (4, (0, 4, 8)),
        (5, range(0, 61, 5)),
        (10, range(0, 51, 10)),
        (-1, range(5, 31)),
        (-2, (10, 12, 14, 20)),
        (-10, range(50, 101, 10)),
    ):
        for start in starts:
            terms = [start + step * place for place in range(5)]
            yield {"seen": ", ".join(map(str, terms[:4])), "r": terms[4], "step": abs(step)}


def claims(rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """Wrong results near the right one, for questions that ask whether a sum is right."""
    for row in rows():
        near = [row["r"] + d for d in (-2, -1, 1, 2, 10)]
        yield {**row, "w": [n for n in near if n >= 0]}


def story(rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """Rows whose numbers are all at least 2, so that what is counted is plural."""
    for row in rows():
        if min(row["a"], row["b"], row["r"]) >= 2 and row["r"] <= 40:
            yield row


NUMBER_ROWS: dict[str, Callable[[], list[Row]]] = {
    "addition": lambda: list(addition()),
    "subtraction": lambda: list(subtraction()),
    "multiplication": lambda: list(multiplication()),
    "division": lambda: list(division()),
    "missing_addend": lambda: list(missing_addend()),
    "three_addends": lambda: list(three_addends()),
    "doubles": lambda: list(doubles()),
    "halves": lambda: list(halves()),
    "triples": lambda: list(triples()),
    "comparison": lambda: list(comparison()),
    "neighbours": lambda: list(neighbours()),
    "parity": lambda: list(parity()),
    "written": lambda: list(written()),
    "counting": lambda: list(counting()),
    "addition_claims": lambda: list(claims(addition)),
    "multiplication_claims": lambda: list(claims(multiplication)),
    "addition_story": lambda: list(story(addition)),
    "subtraction_story": lambda: list(story(subtraction)),
    "multiplication_story": lambda: list(story(multiplication)),
    "division_story": lambda: list(story(division)),
}
