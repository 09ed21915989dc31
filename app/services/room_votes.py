"""What students do in a round: their own answer first, then thumbs and choices on what they were shown.

Each checks the phase in the transaction that writes, and holds the room's row: nothing counts after closing.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.errors import N_, AppError, Conflict, Invalid
from app.events import room_topic, touch
from app.services import exposures, rooms, rounds
from app.services.exchanges import clean_prompt
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
    Table,
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

    def add(self, ballot: Ballot) -> None:
        """One more tap: what it says goes before what was said, and nothing withdraws it."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """A ballot as it comes in: the cookie says whose it is, the key makes it one vote however often it is sent."""

    cookie: str | None
    ballot: Ballot
    key: str


def answer_all(
    session: Session, code: str, said: Sequence[tuple[str | None, str]]
) -> list[AppError | None]:
    """What came together, each with its cookie, in their order: why it was not kept, if it was not."""
    room = rooms.by_code(session, code, holds=True)
    members = rooms.members(session, room, [cookie for cookie, _ in said])
    return keep_answers(session, room, [(members.get(cookie), text) for cookie, text in said])


def keep_answers(
    session: Session, room: Room, said: Sequence[tuple[Participant | None, str]]
) -> list[AppError | None]:
    """The same where the room is held and the people are known."""
    round_ = rounds.current_row(session, room)
    refused: list[AppError | None] = []
    kept: list[dict[str, Any]] = []
    for member, text in said:
        try:
            whose = rooms.active(member)
            if room.phase != Phase.HUMAN or round_ is None:
                raise Conflict(N_("As respostas da turma já foram encerradas."))
            rounds.check_time(room, round_, whose)
            text = clean_prompt(text, MAX_ANSWER_CHARACTERS)
            ids = {"round_id": round_.id, "participant_id": whose.id}
            kept.append({**ids, "text": text, "created_at": now()})
            refused.append(None)
        except AppError as error:
            refused.append(error)
    if kept:
        statement = _insert(session, HumanAnswer)
        unique = (HumanAnswer.round_id, HumanAnswer.participant_id)
        new = {"text": statement.excluded.text}
        replaced = statement.on_conflict_do_update(index_elements=unique, set_=new)
        session.connection().execute(replaced, kept)
        touch(session, room_topic(room.id))
    return refused


def _insert(session: Session, table: type[Table]) -> sqlite.Insert | postgresql.Insert:
    """Of rows as they are, not as objects."""
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    insert = postgresql.insert if is_postgresql else sqlite.insert
    return insert(table.metadata.tables[table.__tablename__])


def answers_of(session: Session, round_: Round, members: Collection[Participant]) -> dict[int, str]:
    """What each of them said, by participant."""
    query = select(HumanAnswer.participant_id, HumanAnswer.text).where(
        HumanAnswer.round_id == round_.id,
        HumanAnswer.participant_id.in_([member.id for member in members]),
    )
    return {row.participant_id: row.text for row in session.execute(query)}


def cast_all(session: Session, code: str, taps: Sequence[Tap]) -> list[MyVotes | AppError]:
    """The taps of one room that came together, in their order: what then counts of each student's, or why not."""
    room = rooms.by_code(session, code, holds=True)
    members = rooms.members(session, room, [tap.cookie for tap in taps])
    return keep_taps(
        session, room, [(members.get(tap.cookie), tap.ballot, tap.key) for tap in taps]
    )


def keep_taps(
    session: Session, room: Room, taps: Sequence[tuple[Participant | None, Ballot, str]]
) -> list[MyVotes | AppError]:
    """The same where the room is held and the people are known: a few statements, however many taps there are."""
    round_ = rounds.current_row(session, room)
    refused: dict[int, AppError] = {}
    voters: dict[int, Participant] = {}
    for i, (member, ballot, _) in enumerate(taps):
        try:
            voter = rooms.active(member)
            _check(room, round_, voter, ballot)
            voters[voter.id] = voter
        except AppError as error:
            refused[i] = error
    if not voters or round_ is None:
        return list(refused.values())
    shown = exposures.draw(session, round_, list(voters.values()))
    votes, keys = _read(session, [exposure.id for exposure in shown.values()])
    results: list[MyVotes | AppError] = []
    events: list[dict[str, Any]] = []
    for i, (member, ballot, key) in enumerate(taps):
        if i in refused or member is None:
            results.append(refused[i])
            continue
        seen = shown[member.id]
        mine = votes[seen.id, room.vote_round]
        results.append(mine)
        event = _event(seen, room, round_, ballot, key)
        if (seen.id, event["idempotency_key"]) in keys:
            continue
        keys.add((seen.id, event["idempotency_key"]))
        events.append(event)
        turns = ballot.kind == VoteKind.THUMB and mine.thumbs.get(ballot.target) != ballot.value
        if turns and ballot.target in mine.reasons:  # they were said of the other thumb
            cleared = Ballot(kind=VoteKind.REASONS, target=ballot.target)
            events.append(_event(seen, room, round_, cleared, f"{key} cleared"))
            mine.add(cleared)
        mine.add(ballot)
    if events:
        unique = (VoteEvent.exposure_id, VoteEvent.idempotency_key)
        # not those whose key another process has kept in the meantime
        added = _insert(session, VoteEvent).on_conflict_do_nothing(index_elements=unique)
        session.connection().execute(added, events)
        touch(session, room_topic(room.id))
    return results


def _check(room: Room, round_: Round | None, member: Participant, ballot: Ballot) -> None:
    if room.phase not in OPEN_TO_VOTES or round_ is None:
        raise Conflict(N_("A votação já foi encerrada; este toque não contou."))
    if ballot.kind == VoteKind.GUESS and (round_.revealed_at or not round_.is_blind):
        raise Conflict(N_("Os nomes já estão à vista."))
    rounds.check_time(room, round_, member)


def _event(shown: Exposure, room: Room, round_: Round, ballot: Ballot, key: str) -> dict[str, Any]:
    is_reasons = ballot.kind == VoteKind.REASONS
    at = now()
    return {
        "exposure_id": shown.id,
        "kind": ballot.kind,
        "target": ballot.target,
        "vote_round": room.vote_round,
        "value": ballot.value if ballot.kind == VoteKind.THUMB else None,
        "choice": ballot.choice if ballot.kind in OF_THE_PAIR else None,
        "reasons": list(dict.fromkeys(map(str, ballot.reasons))) if is_reasons else None,
        "ms_since_shown": round((at - shown.shown_at).total_seconds() * 1000, 1),
        "is_after_reveal": round_.revealed_at is not None or not round_.is_blind,
        "idempotency_key": (
            f"{room.vote_round} {ballot.kind} {ballot.target} {ballot.value} {ballot.choice} "
            f"{' '.join(sorted(ballot.reasons))} {key}"
        ),
        "created_at": at,
    }


Votes = dict[tuple[int, int], MyVotes]  # by exposure and vote, the first or the second


def votes_on(session: Session, exposure_ids: Collection[int]) -> Votes:
    """The votes that count; what was withdrawn is not among them."""
    return _read(session, exposure_ids)[0]


def _read(session: Session, exposure_ids: Collection[int]) -> tuple[Votes, set[tuple[int, str]]]:
    """The same, with the keys that were used on each exposure: every tap in its order, as `current_vote` has the last."""
    events = VoteEvent.metadata.tables[VoteEvent.__tablename__]
    mine = events.c.exposure_id.in_(exposure_ids)
    votes: Votes = defaultdict(MyVotes)
    keys = set()
    for row in session.execute(select(events).where(mine).order_by(events.c.id)):
        ballot = Ballot(
            kind=VoteKind(row.kind),
            target=Target(row.target),
            value=row.value,
            choice=Choice(row.choice) if row.choice else None,
            reasons=tuple(map(Reason, row.reasons or ())),
        )
        votes[row.exposure_id, row.vote_round].add(ballot)
        keys.add((row.exposure_id, row.idempotency_key))
    return votes, keys


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
