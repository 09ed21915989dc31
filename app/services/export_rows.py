"""What an export is made of: the votes that count, who may be in them, and under which number.

Left out are students who were removed, and prompts of students that the host has not approved, with all that belongs
to them. A student is a number that has nothing to do with the pseudonym or the order of joining.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from app.services.ballots import Verdict, verdict_of
from app.tables import (
    Author,
    Choice,
    Exposure,
    Generation,
    Participant,
    Prompt,
    Role,
    Room,
    Round,
    Side,
    VoteEvent,
    current_vote,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one student was shown, and the current votes on it, oldest first."""

    participant: str
    consents: bool
    exposure: Exposure
    round: Round | None  # none for a student's own prompt
    votes: Sequence[VoteEvent]

    @property
    def prompt(self) -> Prompt:
        return self.exposure.prompt

    def side_of(self, role: Role) -> Side:
        return Side.LEFT if self.exposure.left.checkpoint.role == role else Side.RIGHT

    def generation(self, role: Role) -> Generation:
        is_left = self.side_of(role) == Side.LEFT
        return self.exposure.left if is_left else self.exposure.right

    def role_on(self, side: str) -> Role:
        return Role.TUNED if side == self.side_of(Role.TUNED) else Role.BASE

    def verdict(self, vote: VoteEvent) -> Verdict | None:
        return verdict_of(vote.choice, self.side_of(Role.TUNED))

    def guessed_right(self, vote: VoteEvent) -> bool:
        return vote.choice == Choice(self.side_of(Role.BASE))


def read_seen(session: Session, room: Room) -> list[Seen]:
    """Everything that was shown in a room and may be exported, in the order of showing."""
    numbers = participant_numbers(session, room)
    query = (
        select(Exposure, Round, Participant.consents_to_training)
        .join(Participant, Participant.id == Exposure.participant_id)
        .join(Prompt, Prompt.id == Exposure.prompt_id)
        .outerjoin(Round, Round.id == Exposure.round_id)
        .where(Participant.room_id == room.id, Participant.removed_at.is_(None), is_public())
        .order_by(Exposure.id)
        .options(
            joinedload(Exposure.prompt),
            selectinload(Exposure.left).joinedload(Generation.checkpoint),
            selectinload(Exposure.right).joinedload(Generation.checkpoint),
        )
    )
    shown = session.execute(query).all()
    votes = (
        select(VoteEvent)
        .join(current_vote, current_vote.c.id == VoteEvent.id)
        .join(Exposure, Exposure.id == VoteEvent.exposure_id)
        .join(Participant, Participant.id == Exposure.participant_id)
        .where(Participant.room_id == room.id)
        .order_by(VoteEvent.id)
    )
    by_exposure: dict[int, list[VoteEvent]] = {}
    for vote in session.scalars(votes):
        if vote.value is not None or vote.choice is not None or vote.reasons:
            by_exposure.setdefault(vote.exposure_id, []).append(vote)
    return [
        Seen(
            participant=numbers[exposure.participant_id],
            consents=consents,
            exposure=exposure,
            round=round_,
            votes=by_exposure.get(exposure.id, []),
        )
        for exposure, round_, consents in shown
    ]


def is_public() -> ColumnElement[bool]:
    """A prompt of the lecture or the teacher, or an approved one of a student who is still there."""
    here = select(Participant.id).where(Participant.removed_at.is_(None))
    is_approved = and_(Prompt.approved_at.is_not(None), Prompt.participant_id.in_(here))
    return or_(Prompt.author != Author.STUDENT, is_approved)


def participant_numbers(session: Session, room: Room) -> dict[int, str]:
    """A number for each student, always the same, that nobody in the room can put a pseudonym to."""
    query = select(Participant.id, Participant.token_hash).where(Participant.room_id == room.id)
    secret = {
        id_: hashlib.sha256(f"export {room.code} {token_hash}".encode()).hexdigest()
        for id_, token_hash in session.execute(query)
    }
    order = sorted(secret, key=lambda id_: secret[id_])
    return {id_: f"p{i}" for i, id_ in enumerate(order, 1)}
