"""What students do in a round: their own answer first, then thumbs and choices on what they were shown.

Each checks the phase in the transaction that writes, and holds the room's row: nothing counts after closing.
"""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import N_, Conflict, Invalid
from app.events import room_topic, touch
from app.services import rounds
from app.services.exchanges import clean_prompt, new_public_id
from app.services.rounds import OPEN_TO_VOTES
from app.tables import (
    Choice,
    Exposure,
    HumanAnswer,
    Participant,
    Phase,
    Reason,
    Room,
    Round,
    Target,
    VoteEvent,
    VoteKind,
    current_vote,
    now,
)

MAX_ANSWER_CHARACTERS = 100
ONE_ANSWER = (Target.LEFT, Target.RIGHT)
OF_THE_PAIR = (VoteKind.PREFERENCE, VoteKind.GUESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One tap, as it was sent. What its kind does not need is left out; a withdrawal has nothing."""

    kind: VoteKind
    target: Target
    value: int | None = None
    choice: Choice | None = None
    reasons: tuple[Reason, ...] = ()

    def __post_init__(self) -> None:
        is_one = self.kind in (VoteKind.THUMB, VoteKind.REASONS)
        is_guess_of_none = self.kind == VoteKind.GUESS and self.choice in (
            Choice.TIE,
            Choice.BOTH_BAD,
        )
        if is_one != (self.target in ONE_ANSWER) or is_guess_of_none:
            raise Invalid(N_("O pedido veio incompleto ou errado."))


@dataclass(slots=True)
class MyVotes:
    """What counts of one person's taps on one exposure."""

    thumbs: dict[Target, int] = field(default_factory=dict)
    reasons: dict[Target, list[str]] = field(default_factory=dict)
    preference: Choice | None = None
    guess: Choice | None = None

    def with_ballot(self, ballot: Ballot) -> Self:
        """The same after one more tap."""
        match ballot.kind:
            case VoteKind.THUMB:
                self.thumbs.pop(ballot.target, None)
                if ballot.value is not None:
                    self.thumbs[ballot.target] = ballot.value
            case VoteKind.REASONS:
                self.reasons.pop(ballot.target, None)
                if ballot.reasons:
                    self.reasons[ballot.target] = list(dict.fromkeys(map(str, ballot.reasons)))
            case VoteKind.PREFERENCE:
                self.preference = ballot.choice
            case VoteKind.GUESS:
                self.guess = ballot.choice
        return self


def answer(session: Session, room: Room, member: Participant, text: str) -> HumanAnswer:
    """What a student says before any model; it can be replaced while the phase lasts."""
    rounds.hold(session, room)
    round_ = rounds.current_row(session, room)
    if room.phase != Phase.HUMAN or round_ is None:
        raise Conflict(N_("As respostas da turma já foram encerradas."))
    rounds.check_time(room, round_, member)
    text = clean_prompt(text, MAX_ANSWER_CHARACTERS)
    found = human_answer(session, round_, member)
    if found is None:
        found = HumanAnswer(round_id=round_.id, participant_id=member.id, text=text)
        with suppress(IntegrityError), session.begin_nested():  # a double tap
            session.add(found)
            session.flush()
    else:
        found.text = text
    touch(session, room_topic(room.id))
    return found


def human_answer(session: Session, round_: Round, member: Participant) -> HumanAnswer | None:
    query = select(HumanAnswer).where(
        HumanAnswer.round_id == round_.id, HumanAnswer.participant_id == member.id
    )
    return session.scalar(query)


def exposure(session: Session, round_: Round, member: Participant) -> Exposure | None:
    query = select(Exposure).where(
        Exposure.round_id == round_.id, Exposure.participant_id == member.id
    )
    return session.scalar(query)


def expose(session: Session, round_: Round, member: Participant) -> Exposure:
    """What this person is shown, and on which side: drawn once, half of the room each way."""
    found = exposure(session, round_, member)
    if found is not None:
        return found
    if round_.base_id is None or round_.tuned_id is None:
        raise Conflict(N_("As respostas ainda não estão prontas."))
    # one draw at a time: two would see the same counts
    session.execute(select(Round.id).where(Round.id == round_.id).with_for_update())
    n_all = session.scalar(select(func.count()).where(Exposure.round_id == round_.id)) or 0
    n_base_left = (
        session.scalar(
            select(func.count()).where(
                Exposure.round_id == round_.id, Exposure.left_id == round_.base_id
            )
        )
        or 0
    )
    is_even = 2 * n_base_left == n_all
    is_base_left = bool(secrets.randbits(1)) if is_even else 2 * n_base_left < n_all
    base, tuned = round_.base_id, round_.tuned_id
    drawn = Exposure(
        public_id=new_public_id(),
        participant_id=member.id,
        prompt_id=round_.prompt_id,
        round_id=round_.id,
        left_id=base if is_base_left else tuned,
        right_id=tuned if is_base_left else base,
        revealed_at=None if round_.is_blind else now(),
    )
    with suppress(IntegrityError), session.begin_nested():  # two windows of one phone
        session.add(drawn)
        session.flush()
        return drawn
    found = exposure(session, round_, member)
    assert found is not None
    return found


def cast(session: Session, room: Room, member: Participant, ballot: Ballot, key: str) -> MyVotes:
    """One tap; Conflict after closing. The same key sent twice is one vote."""
    rounds.hold(session, room)
    round_ = rounds.current_row(session, room)
    if room.phase not in OPEN_TO_VOTES or round_ is None:
        raise Conflict(N_("A votação já foi encerrada; este toque não contou."))
    if ballot.kind == VoteKind.GUESS and (round_.revealed_at or not round_.is_blind):
        raise Conflict(N_("Os nomes já estão à vista."))
    rounds.check_time(room, round_, member)
    shown = expose(session, round_, member)
    mine = my_votes(session, shown, room.vote_round)
    if not _add(session, shown, _event(shown, room, round_, ballot, key)):
        return mine  # this key was here before
    turns = ballot.kind == VoteKind.THUMB and mine.thumbs.get(ballot.target) != ballot.value
    if turns and ballot.target in mine.reasons:  # they were said of the other thumb
        del mine.reasons[ballot.target]
        cleared = Ballot(kind=VoteKind.REASONS, target=ballot.target)
        _add(session, shown, _event(shown, room, round_, cleared, f"{key} cleared"))
    touch(session, room_topic(room.id))
    return mine.with_ballot(ballot)


def _add(session: Session, shown: Exposure, values: dict[str, Any]) -> bool:
    """One event, in one statement; False where its key was here before."""
    dialect = session.get_bind().dialect.name
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(VoteEvent).values(exposure_id=shown.id, created_at=now(), **values)
    unique = (VoteEvent.exposure_id, VoteEvent.idempotency_key)
    added = statement.on_conflict_do_nothing(index_elements=unique).returning(VoteEvent.id)
    return session.scalar(added) is not None


def _event(shown: Exposure, room: Room, round_: Round, ballot: Ballot, key: str) -> dict[str, Any]:
    is_reasons = ballot.kind == VoteKind.REASONS
    return {
        "kind": ballot.kind,
        "target": ballot.target,
        "vote_round": room.vote_round,
        "value": ballot.value if ballot.kind == VoteKind.THUMB else None,
        "choice": ballot.choice if ballot.kind in OF_THE_PAIR else None,
        "reasons": list(dict.fromkeys(map(str, ballot.reasons))) if is_reasons else None,
        "ms_since_shown": round((now() - shown.shown_at).total_seconds() * 1000, 1),
        "is_after_reveal": round_.revealed_at is not None or not round_.is_blind,
        "idempotency_key": (
            f"{room.vote_round} {ballot.kind} {ballot.target} {ballot.value} {ballot.choice} "
            f"{' '.join(sorted(ballot.reasons))} {key}"
        ),
    }


def my_votes(session: Session, shown: Exposure, vote_round: int) -> MyVotes:
    """The votes that count; what was withdrawn is not among them."""
    columns = current_vote.c
    query = select(
        columns.kind, columns.target, columns.value, columns.choice, columns.reasons
    ).where(columns.exposure_id == shown.id, columns.vote_round == vote_round)
    mine = MyVotes()
    for kind, target, value, choice, reasons in session.execute(query):
        if kind == VoteKind.THUMB and value is not None:
            mine.thumbs[Target(target)] = value
        elif kind == VoteKind.REASONS and reasons:
            mine.reasons[Target(target)] = list(reasons)
        elif kind == VoteKind.PREFERENCE and choice:
            mine.preference = Choice(choice)
        elif kind == VoteKind.GUESS and choice:
            mine.guess = Choice(choice)
    return mine


def count_answers(session: Session, round_: Round) -> int:
    query = select(func.count()).select_from(HumanAnswer).join(Participant)
    return (
        session.scalar(
            query.where(HumanAnswer.round_id == round_.id, Participant.removed_at.is_(None))
        )
        or 0
    )


def count_voters(session: Session, round_: Round, vote_round: int) -> int:
    """People with a vote that counts."""
    columns = current_vote.c
    query = (
        select(func.count(Exposure.id.distinct()))
        .select_from(current_vote)
        .join(Exposure, Exposure.id == columns.exposure_id)
        .join(Participant, Participant.id == Exposure.participant_id)
        .where(
            Exposure.round_id == round_.id,
            Participant.removed_at.is_(None),
            columns.vote_round == vote_round,
            (columns.value.is_not(None)) | (columns.choice.is_not(None)),
        )
    )
    return session.scalar(query) or 0


def kinds_of(values: Sequence[str]) -> tuple[Reason, ...]:
    """Reasons as they were sent; Invalid where one is none."""
    try:
        return tuple(Reason(value) for value in values)
    except ValueError as error:
        raise Invalid(N_("O pedido veio incompleto ou errado.")) from error
