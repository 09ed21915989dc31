"""Honest statistics of a class: pure functions of counts, every interval and p-value with its source.

Nothing here is a ranking: with two models there is a share and how sure one can be of it.
"""

import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

MIN_FOR_PERCENT = 10  # below, people are shown as dots: a percentage would sound surer than it is
Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Share:
    """k of n, with the 95 % interval of Wilson (1927); no interval of nothing."""

    k: int
    n: int

    @property
    def value(self) -> float | None:
        return self.k / self.n if self.n else None

    @property
    def shows_percent(self) -> bool:
        return self.n >= MIN_FOR_PERCENT

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.k, self.n) if self.n else None


def wilson(k: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927; Newcombe 1998, method 3)."""
    if not 0 <= k <= n or n < 1:
        raise ValueError(f"{k} of {n} is no proportion")
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else middle - half
    high = 1.0 if k == n else middle + half
    return low, high


def bootstrap_share(
    votes: Mapping[Hashable, Sequence[bool]], *, seed: int, n_draws: int = 2000
) -> tuple[float, float] | None:
    """95 % interval of a share of votes, drawing people with all their votes (Davison & Hinkley 1997, 3.8).

    Many votes of one person are not many persons. Where all agree, every draw is the same and would claim to be sure: then
    it is Wilson's interval of so many people. None where there is no vote.
    """
    people = [(sum(theirs), len(theirs)) for theirs in votes.values() if theirs]
    if not people:
        return None
    yes, all_ = np.array(people).T
    if yes.sum() in (0, all_.sum()):
        return wilson(len(people) if yes.sum() else 0, len(people))
    draws = np.random.default_rng(seed).integers(len(people), size=(n_draws, len(people)))
    shares = yes[draws].sum(axis=1) / all_[draws].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def uniformity_p(
    counts: Sequence[int], n_values: int, *, seed: int, n_draws: int = 10_000
) -> float:
    """How often fair dice with `n_values` faces would look at least this uneven: a Monte-Carlo chi-squared test.

    Exact for small numbers, where the table of chi-squared is not (Davison & Hinkley 1997, 4.2: the observed draw
    counts as one of the draws, so that p is never 0). `counts` are those of the values that came up.
    """
    n = sum(counts)
    if n == 0:
        return 1.0
    dice = np.random.default_rng(seed).multinomial(n, [1 / n_values] * n_values, size=n_draws)
    observed = sum(count**2 for count in counts)  # chi-squared, but for constants
    at_least = int(((dice.astype(np.int64) ** 2).sum(axis=1) >= observed).sum())
    return (1 + at_least) / (1 + n_draws)


def expected_top(n: int, n_values: int, *, seed: int, n_top: int = 3, n_draws: int = 2000) -> float:
    """How many of n throws of fair dice show one of their own `n_top` most frequent values, by drawing."""
    if n_top >= n_values:
        return float(n)
    dice = np.random.default_rng(seed).multinomial(n, [1 / n_values] * n_values, size=n_draws)
    return float(np.partition(dice, n_values - n_top)[:, -n_top:].sum(axis=1).mean())


def expected_distinct(n: int, n_values: int) -> float:
    """How many different values fair dice would show in n throws."""
    return n_values * -math.expm1(n * math.log1p(-1 / n_values)) if n_values > 1 else float(n > 0)


@dataclass(frozen=True, slots=True)
class Spread:
    """How different some answers are."""

    n: int
    n_distinct: int
    most_frequent: list[tuple[str, int]]  # answer, how often; at most ten
    top_3: int  # answers that are one of the three most frequent


def spread(answers: Iterable[str]) -> Spread:
    counts = Counter(answers)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Spread(counts.total(), len(counts), ordered[:10], sum(count for _, count in ordered[:3]))


@dataclass(frozen=True, slots=True)
class Effect:
    """In log-odds, 0 where there is none, with its 95 % interval; no interval where it would sound too sure."""

    value: float
    interval: tuple[float, float] | None = None

    @property
    def is_seen(self) -> bool:
        """Whether it is more than chance would give."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What was chosen when one had to choose, seen from the tuned checkpoint, by the side on which it stood."""

    wins_left: int = 0  # tuned stood left and was chosen
    losses_left: int = 0
    wins_right: int = 0  # tuned stood right and was chosen
    losses_right: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def share(self) -> Share:
        """Tuned chosen among the decided."""
        wins = self.wins_left + self.wins_right
        return Share(wins, wins + self.losses_left + self.losses_right)

    @property
    def left_share(self) -> Share:
        """The left side chosen among the decided, whatever stood there."""
        decided = self.share.n
        return Share(self.wins_left + self.losses_right, decided)

    @property
    def n(self) -> int:
        return self.share.n + self.ties + self.both_bad

    @property
    def tuned_left(self) -> Share:
        """Tuned chosen among the decided who had it on the left."""
        return Share(self.wins_left, self.wins_left + self.losses_left)

    @property
    def tuned_right(self) -> Share:
        return Share(self.wins_right, self.wins_right + self.losses_right)

    @property
    def effects(self) -> tuple[Effect, Effect]:
        """Of the side and of the model: logit P(left chosen) = side + s · model, s = +1 with tuned on the left.

        Two groups and two parameters, so the fit is exact; half a vote is added to each cell (Haldane 1956), and the
        variance is that of Gart & Zweifel (1967). The interval takes each vote for another person's.
        """
        cells = np.array(self.cells, dtype=float)
        half = Z_95 * math.sqrt((1 / (cells + 0.5)).sum()) / 2
        side, model = (float(value) for value in _effects(cells))
        return Effect(side, (side - half, side + half)), Effect(model, (model - half, model + half))

    @property
    def cells(self) -> tuple[int, int, int, int]:
        return self.wins_left, self.losses_left, self.wins_right, self.losses_right

    @property
    def balanced_share(self) -> float | None:
        """Tuned chosen, with both sides weighing the same, so that a crowded side cannot tilt it."""
        left, right = self.tuned_left.value, self.tuned_right.value
        return self.share.value if left is None or right is None else (left + right) / 2


def blinding_index(n_right: int, n_wrong: int, n_unsure: int = 0) -> float | None:
    """From -1 to 1: 0 where people guess which is which as by a coin, 1 where all know (Bang et al. 2004)."""
    n = n_right + n_wrong + n_unsure
    return (n_right - n_wrong) / n if n else None


def mcnemar_p(n_only_first: int, n_only_second: int) -> float:
    """Exact two-sided p of paired yes-or-no answers that changed one way or the other (McNemar 1947)."""
    n, k = n_only_first + n_only_second, min(n_only_first, n_only_second)
    tail: float = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)


def fisher_p(k_first: int, n_first: int, k_second: int, n_second: int) -> float:
    """Exact two-sided p that two groups have one share: all tables that are no likelier than this one (Fisher 1935)."""
    k, n = k_first + k_second, n_first + n_second
    possible = range(max(0, k - n_second), min(k, n_first) + 1)
    ways = [math.comb(n_first, i) * math.comb(n_second, k - i) for i in possible]
    seen = math.comb(n_first, k_first) * math.comb(n_second, k_second)
    return sum(way for way in ways if way <= seen) / math.comb(n, k)


def bootstrap_effects(
    people: Collection[Preferences], *, seed: int, n_draws: int = 2000
) -> tuple[Effect, Effect]:
    """The effects of side and model over many votes of each person, drawing people with all their votes.

    Where one of the four cells is empty every draw is as one-sided, and there is no interval.
    """
    cells = np.array([person.cells for person in people], dtype=float).reshape(-1, 4)
    whole = [float(value) for value in _effects(cells.sum(axis=0))]
    if not cells.sum(axis=0).all():
        return Effect(whole[0]), Effect(whole[1])
    draws = np.random.default_rng(seed).integers(len(cells), size=(n_draws, len(cells)))
    drawn = _effects(cells[draws].sum(axis=1))
    side, model = (np.quantile(values, [0.025, 0.975]) for values in drawn)
    return (
        Effect(whole[0], (float(side[0]), float(side[1]))),
        Effect(whole[1], (float(model[0]), float(model[1]))),
    )


def _effects(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the side and of the model, in log-odds. cells (…, 4): tuned on the left chosen or not, on the right chosen or not."""
    won_left, lost_left, won_right, lost_right = np.moveaxis(cells + 0.5, -1, 0)
    with_tuned_left = np.log(won_left / lost_left)  # that the left was chosen
    with_tuned_right = np.log(lost_right / won_right)
    return (with_tuned_left + with_tuned_right) / 2, (with_tuned_left - with_tuned_right) / 2
