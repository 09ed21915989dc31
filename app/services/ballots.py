"""What each student of a room was shown and said, turned from left and right into base and fine-tuned."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import (
    Choice,
    Exposure,
    Participant,
    Role,
    Round,
    Side,
    Target,
    VoteKind,
    current_vote,
)

Cast = Mapping[tuple[VoteKind, Target], Any]  # rows of current votes, by what they are about

NEEDED = ("kind", "target", "vote_round", "value", "choice", "reasons")


class Verdict(StrEnum):
    """A preference, once it is known who stood where."""

    TUNED = "tuned"
    BASE = "base"
    TIE = "tie"
    BOTH_BAD = "both-bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One student's votes on one round, in one vote. What was taken back is not there."""

    thumbs: Mapping[Role, int] = field(default_factory=dict)  # +1 or -1
    reasons: Mapping[Role, list[str]] = field(default_factory=dict)
    verdict: Verdict | None = None
    guessed_right: bool | None = None  # where the base stands

    @property
    def is_empty(self) -> bool:
        return not self.thumbs and self.verdict is None and self.guessed_right is None


NO_BALLOT = Ballot()


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """One student before the two answers of one round."""

    participant_id: int
    tuned_side: Side
    ballots: Mapping[int, Ballot]  # 1, and 2 for the second vote

    def ballot(self, vote_round: int) -> Ballot:
        return self.ballots.get(vote_round, NO_BALLOT)


def voters(session: Session, round_ids: Collection[int]) -> dict[int, list[Voter]]:
    """By round, all that were shown its answers and are still in the room, with their current votes. One query."""
    query = (
        select(
            Round.id,
            Exposure.id,
            Exposure.participant_id,
            Exposure.left_id == Round.tuned_id,
            *(current_vote.c[name] for name in NEEDED),
        )
        .select_from(Exposure)
        .join(Round, Round.id == Exposure.round_id)
        .join(Participant, Participant.id == Exposure.participant_id)
        .outerjoin(current_vote, current_vote.c.exposure_id == Exposure.id)
        .where(Round.id.in_(round_ids), Participant.removed_at.is_(None))
        .order_by(Exposure.id)
    )
    casts: defaultdict[tuple[int, int, int, bool], dict[int, dict[Any, Any]]] = defaultdict(dict)
    for row in session.execute(query):
        round_id, exposure_id, participant_id, tuned_is_left = row[:4]
        cast = casts[round_id, exposure_id, participant_id, tuned_is_left]
        if row.kind is not None:
            cast.setdefault(row.vote_round, {})[row.kind, row.target] = row
    found: dict[int, list[Voter]] = {round_id: [] for round_id in round_ids}
    for (round_id, _, participant_id, tuned_is_left), cast in casts.items():
        side = Side.LEFT if tuned_is_left else Side.RIGHT
        ballots = {number: _ballot(rows, side) for number, rows in cast.items()}
        voter = Voter(participant_id=participant_id, tuned_side=side, ballots=ballots)
        found[round_id].append(voter)
    return found


def _ballot(cast: Cast, tuned_side: Side) -> Ballot:
    thumbs, reasons = {}, {}
    for side in Side:
        role = Role.TUNED if side == tuned_side else Role.BASE
        thumb = cast.get((VoteKind.THUMB, Target(side)))
        if thumb is not None and thumb.value is not None:
            thumbs[role] = int(thumb.value)
        chips = cast.get((VoteKind.REASONS, Target(side)))
        if chips is not None and chips.reasons:
            reasons[role] = list(chips.reasons)
    choice = cast.get((VoteKind.PREFERENCE, Target.PAIR))
    guess = cast.get((VoteKind.GUESS, Target.PAIR))
    return Ballot(
        thumbs=thumbs,
        reasons=reasons,
        verdict=verdict_of(choice.choice, tuned_side) if choice is not None else None,
        guessed_right=guess.choice != tuned_side
        if guess is not None and guess.choice is not None
        else None,
    )


def verdict_of(choice: str | None, tuned_side: Side) -> Verdict | None:
    """Who was preferred; none where the vote was taken back."""
    match choice:
        case None:
            return None
        case Choice.TIE:
            return Verdict.TIE
        case Choice.BOTH_BAD:
            return Verdict.BOTH_BAD
        case _:
            return Verdict.TUNED if choice == tuned_side else Verdict.BASE
