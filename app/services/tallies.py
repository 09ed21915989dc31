"""Counting votes: pure functions of what each student said, one vote per student and question."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from app.services.ballots import Verdict, Voter
from app.services.results import (
    Preferences,
    Share,
    blinding_index,
    bootstrap_share,
    fisher_p,
    mcnemar_p,
)
from app.tables import Reason, Role, Side

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All that may be shown before the reveal: nothing of it says which answer is whose."""

    n_thumbs: int
    n_up: int
    n_decided: int
    ties: int
    both_bad: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessSplit:
    """The preferences of those who knew where the base stood, of those who were wrong, and of those who did not say."""

    right: Preferences
    wrong: Preferences
    silent: Preferences

    @property
    def compares(self) -> bool:
        """Whether enough of both groups chose; one alone is no group, and is left alone."""
        return min(self.right.share.n, self.wrong.share.n) > 1

    @property
    def p(self) -> float:
        """That both groups choose alike; of one round, in which each vote is another person's."""
        right, wrong = self.right.share, self.wrong.share
        return fisher_p(right.k, right.n, wrong.k, wrong.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """The first or the second vote of a round."""

    n_voted: int  # students with at least one vote
    up: Mapping[Role, Share]  # thumbs up among thumbs
    reasons: Mapping[Role, list[tuple[Reason, int]]]  # most frequent first
    preferences: Preferences
    guess: Share  # students who knew where the base stood, among those who guessed
    by_guess: GuessSplit

    @property
    def blinding_index(self) -> float | None:
        return blinding_index(self.guess.k, self.guess.n - self.guess.k)

    @property
    def totals(self) -> Totals:
        return Totals(
            n_thumbs=sum(share.n for share in self.up.values()),
            n_up=sum(share.k for share in self.up.values()),
            n_decided=self.preferences.share.n,
            ties=self.preferences.ties,
            both_bad=self.preferences.both_bad,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Of the students who said yes or no both times: how many said yes, and who changed which way."""

    n: int
    before: int
    after: int
    gained: int  # from no to yes
    lost: int  # from yes to no

    @property
    def p(self) -> float:
        return mcnemar_p(self.gained, self.lost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """From the first vote to the second, among the students who voted in both."""

    up: Mapping[Role, Change]
    preferred: Mapping[Role, Change]  # chosen, among all four choices
    n_changed: int  # students with another preference than before
    moves: list[tuple[Verdict, Verdict, int]]  # from, to, how many students; most frequent first


def count_votes(voters: Sequence[Voter], vote_round: int = 1) -> Votes:
    ballots = [voter.ballot(vote_round) for voter in voters]
    guesses = [b.guessed_right for b in ballots if b.guessed_right is not None]
    return Votes(
        n_voted=sum(not ballot.is_empty for ballot in ballots),
        up={
            role: share_of([b.thumbs[role] == 1 for b in ballots if role in b.thumbs])
            for role in Role
        },
        reasons={
            role: _most_frequent(Counter(r for b in ballots for r in b.reasons.get(role, [])))
            for role in Role
        },
        preferences=count_preferences(voters, vote_round),
        guess=share_of(guesses),
        by_guess=split_by_guess(voters, vote_round),
    )


def share_of(answers: Collection[bool]) -> Share:
    return Share(sum(answers), len(answers))


def _most_frequent(counts: Counter[str]) -> list[tuple[Reason, int]]:
    order = list(Reason)
    found = [(Reason(reason), n) for reason, n in counts.items()]
    return sorted(found, key=lambda item: (-item[1], order.index(item[0])))


def count_preferences(voters: Sequence[Voter], vote_round: int = 1) -> Preferences:
    """Where the fine-tuned stood, and whether it was chosen."""
    n = Counter((voter.ballot(vote_round).verdict, voter.tuned_side) for voter in voters)
    return Preferences(
        wins_left=n[Verdict.TUNED, Side.LEFT],
        losses_left=n[Verdict.BASE, Side.LEFT],
        wins_right=n[Verdict.TUNED, Side.RIGHT],
        losses_right=n[Verdict.BASE, Side.RIGHT],
        ties=sum(n[Verdict.TIE, side] for side in Side),
        both_bad=sum(n[Verdict.BOTH_BAD, side] for side in Side),
    )


def split_by_guess(voters: Sequence[Voter], vote_round: int = 1) -> GuessSplit:
    def those(guess: bool | None) -> Preferences:
        return count_preferences(
            [voter for voter in voters if voter.ballot(vote_round).guessed_right is guess],
            vote_round,
        )

    return GuessSplit(right=those(True), wrong=those(False), silent=those(None))


def count_shift(voters: Sequence[Voter]) -> Shift | None:
    """None where nobody answered anything twice."""
    verdicts = [
        (before, after)
        for voter in voters
        if (before := voter.ballot(1).verdict) and (after := voter.ballot(2).verdict)
    ]
    thumbs = {
        role: [
            (voter.ballot(1).thumbs[role] == 1, voter.ballot(2).thumbs[role] == 1)
            for voter in voters
            if role in voter.ballot(1).thumbs and role in voter.ballot(2).thumbs
        ]
        for role in Role
    }
    if not verdicts and not any(thumbs.values()):
        return None
    moves = Counter(pair for pair in verdicts if pair[0] != pair[1])
    return Shift(
        up={role: _change(pairs) for role, pairs in thumbs.items()},
        preferred={
            role: _change([(a == Verdict(role), b == Verdict(role)) for a, b in verdicts])
            for role in Role
        },
        n_changed=moves.total(),
        moves=[(a, b, n) for (a, b), n in sorted(moves.items(), key=lambda m: (-m[1], m[0]))],
    )


def _change(pairs: Sequence[tuple[bool, bool]]) -> Change:
    n = Counter(pairs)
    return Change(
        n=len(pairs),
        before=n[True, True] + n[True, False],
        after=n[True, True] + n[False, True],
        gained=n[False, True],
        lost=n[True, False],
    )


def by_person(voters: Sequence[Voter]) -> list[list[Voter]]:
    """Each person before all the rounds that it saw."""
    found: defaultdict[int, list[Voter]] = defaultdict(list)
    for voter in voters:
        found[voter.participant_id].append(voter)
    return list(found.values())


def people_interval(
    voters: Sequence[Voter], said: Callable[[Voter], bool | None], *, seed: int
) -> tuple[Share, Interval | None, int]:
    """The share of yes over all rounds, its interval drawing people with all their votes, and how many people."""
    votes: defaultdict[Hashable, list[bool]] = defaultdict(list)
    for voter in voters:
        if (answer := said(voter)) is not None:
            votes[voter.participant_id].append(answer)
    all_ = [answer for theirs in votes.values() for answer in theirs]
    return share_of(all_), bootstrap_share(votes, seed=seed), len(votes)
