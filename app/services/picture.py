"""Class, base and fine-tuned in one picture: who says which number, who says which word, and how often."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from app.services.grouping import fold, group, items, number_in, tidy
from app.services.results import expected_distinct, expected_top, spread, uniformity_p
from app.tables import AnswerKind

LOW, HIGH = 1, 100
MAX_BARS = 8
LABEL_WIDTH = 6  # of a number over its column, in columns


class Who(StrEnum):
    CLASS = "class"
    BASE = "base"
    TUNED = "tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one of the three answered."""

    who: Who
    n: int  # answers that count
    n_named: int  # what they name: as many, but where each is a list
    n_without_number: int = 0  # answers in which no number from 1 to 100 was found
    n_distinct: int
    top_3: int  # answers that are one of this one's three most frequent
    favourite: tuple[str, int] | None  # answer, how often; none where all came once
    counts: tuple[int, ...] = ()  # of the numbers from 1 to 100
    expected_distinct: float | None = None  # of fair dice thrown as often
    expected_top_3: float | None = None
    uniformity_p: float | None = None  # how often fair dice would look at least this uneven

    @property
    def peaks(self) -> list[tuple[int, int]]:
        """Up to three of the most frequent numbers and how often they came, not too near for a label each."""
        found: list[tuple[int, int]] = []
        ordered = sorted(enumerate(self.counts, LOW), key=lambda item: -item[1])
        for value, times in ordered:
            if times > 1 and all(abs(value - other) > LABEL_WIDTH for other, _ in found):
                found.append((value, times))
        return found[:3]


@dataclass(frozen=True, slots=True)
class Bar:
    """One answer, and how often each of the three gave it."""

    label: str
    counts: Mapping[Who, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Nothing was drawn or asked where `series` is empty."""

    kind: AnswerKind
    series: Sequence[Series]
    bars: Sequence[Bar] = ()  # words only
    others: Bar | None = None  # words only: all that is named without a bar
    once: Sequence[
        str
    ] = ()  # words only: what one student wrote, and nobody else; in no order of theirs

    @property
    def max_share(self) -> float:
        """The highest column of the histogram, as a share of its series."""
        return max((max(s.counts) / s.n for s in self.series if s.n), default=0.0)

    @property
    def max_word_share(self) -> float:
        """The longest bar, as a share of its series; 1 where there is none."""
        shares = (bar.counts[s.who] / s.n for s in self.series if s.n for bar in self.bars)
        return max(shares, default=0.0) or 1.0


def picture(kind: AnswerKind, answers: Mapping[Who, Sequence[str]], *, seed: int) -> Picture:
    """The picture of some answers; who was not asked is left out."""
    asked = {who: answers[who] for who in Who if answers.get(who)}
    if kind == AnswerKind.NUMBER:
        return Picture(kind=kind, series=[_numbers(w, a, seed) for w, a in asked.items()])
    if kind in (AnswerKind.WORDS, AnswerKind.LIST):
        return _words(kind, {who: named(kind, theirs) for who, theirs in asked.items()})
    return Picture(kind=kind, series=[])


def _numbers(who: Who, answers: Iterable[str], seed: int) -> Series:
    found = [number_in(answer, LOW, HIGH) for answer in answers]
    numbers = Counter(n for n in found if n is not None)
    n_values = HIGH - LOW + 1
    throws = tuple(sorted(numbers.values()))
    return _series(
        who,
        Counter({str(n): times for n, times in numbers.items()}),
        numbers.total(),
        n_without_number=found.count(None),
        counts=tuple(numbers[n] for n in range(LOW, HIGH + 1)),
        expected_distinct=expected_distinct(numbers.total(), n_values),
        **_dice(throws, n_values, seed),
    )


@lru_cache(maxsize=256)  # a page that is drawn again and again throws the dice once
def _dice(counts: tuple[int, ...], n_values: int, seed: int) -> dict[str, float]:
    if not counts:
        return {}
    return {
        "uniformity_p": uniformity_p(counts, n_values, seed=seed),
        "expected_top_3": expected_top(sum(counts), n_values, seed=seed),
    }


def named(kind: AnswerKind, answers: Iterable[str]) -> list[list[str]]:
    """What each answer names: one thing, or those of its list; an answer without any is left out."""
    of = (
        items
        if kind == AnswerKind.LIST
        else (lambda answer: [t] if fold(t := tidy(answer)) else [])
    )
    return [things for answer in answers if (things := of(answer))]


def _words(kind: AnswerKind, answers: Mapping[Who, Sequence[Sequence[str]]]) -> Picture:
    """Bars of the most frequent answers, each at its largest share, so that a few people stand beside many samples.

    What a single student wrote, and no model, gets no bar: it may be a name, or a joke at somebody's expense.
    """
    groups = group(thing for theirs in answers.values() for things in theirs for thing in things)
    label_of = {spelling: g.label for g in groups for spelling in g.spellings}
    counts = {
        who: Counter(label_of[thing] for things in theirs for thing in things)
        for who, theirs in answers.items()
    }
    totals = {who: max(1, len(theirs)) for who, theirs in answers.items()}
    bars = [Bar(g.label, {who: n[g.label] for who, n in counts.items()}) for g in groups]
    once = [bar.label for bar in bars if _is_of_one_student(bar)]
    shown = sorted(
        (bar for bar in bars if not _is_of_one_student(bar)),
        key=lambda bar: -max(n / totals[who] for who, n in bar.counts.items()),
    )[:MAX_BARS]
    labels = {bar.label for bar in shown}
    rest = {
        who: sum(times for label, times in n.items() if label not in labels)
        for who, n in counts.items()
    }
    return Picture(
        kind=kind,
        series=[_series(who, n, len(answers[who])) for who, n in counts.items()],
        bars=shown,
        others=Bar("", rest) if any(rest.values()) else None,
        once=sorted(once, key=fold),
    )


def _is_of_one_student(bar: Bar) -> bool:
    return bar.counts.get(Who.CLASS) == 1 == sum(bar.counts.values())


def _series(who: Who, answers: Counter[str], n: int, **numbers: Any) -> Series:
    found = spread(answers.elements())
    often = [(label, times) for label, times in found.most_frequent if times > 1]
    return Series(
        who=who,
        n=n,
        n_named=found.n,
        n_distinct=found.n_distinct,
        top_3=found.top_3,
        favourite=often[0] if often else None,
        **numbers,
    )
