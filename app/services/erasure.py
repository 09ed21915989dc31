"""Forgetting: a whole room, one student, every room whose time is over. What the open page keeps is left alone.

Rows go in the order of their foreign keys, in one transaction; a vote that comes at the same moment finds nothing.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Delete, Update, and_, delete, or_, select, update
from sqlalchemy.orm import Session

from app.events import phase_topic, room_topic, touch
from app.tables import (
    Exposure,
    Generation,
    HumanAnswer,
    Participant,
    Prompt,
    Room,
    RoomKey,
    Round,
    SampleBatch,
    VoteEvent,
)

BLANK = "…"  # in the place of an erased prompt that the whole class was asked


def erase_room(session: Session, room: Room) -> None:
    """All that was ever kept of a room, and the room."""
    room_id = room.id
    session.execute(select(Room.id).where(Room.id == room_id).with_for_update())
    rounds = select(Round.id).where(Round.room_id == room_id)
    people = select(Participant.id).where(Participant.room_id == room_id)
    is_its_prompt = or_(Prompt.room_id == room_id, Prompt.participant_id.in_(people))
    prompts = select(Prompt.id).where(is_its_prompt)
    _erase_exposures(
        session,
        or_(
            Exposure.participant_id.in_(people),
            Exposure.round_id.in_(rounds),
            Exposure.prompt_id.in_(prompts),
        ),
    )
    _run(session, delete(HumanAnswer).where(HumanAnswer.round_id.in_(rounds)))
    _run(session, delete(SampleBatch).where(SampleBatch.round_id.in_(rounds)))
    _run(session, delete(Round).where(Round.room_id == room_id))
    _run(session, delete(Generation).where(Generation.prompt_id.in_(prompts)))
    _run(session, delete(Prompt).where(is_its_prompt))
    _run(session, delete(RoomKey).where(RoomKey.room_id == room_id))
    _run(session, delete(Participant).where(Participant.room_id == room_id))
    _run(session, delete(Room).where(Room.id == room_id))
    session.expunge(room)
    touch(session, room_topic(room_id), phase_topic(room_id))


def erase_participant(session: Session, participant: Participant) -> None:
    """One student's answers, votes, exposures and own prompts with what the models wrote to them; and the student.

    A prompt of theirs that the host put to the whole class loses its words and its author: the others' votes on the
    answers are not theirs to erase.
    """
    id_, room_id = participant.id, participant.room_id
    asked = select(Round.prompt_id)
    is_own = Prompt.participant_id == id_
    is_private = and_(is_own, Prompt.id.not_in(asked))
    private = select(Prompt.id).where(is_private)
    public = select(Prompt.id).where(and_(is_own, Prompt.id.in_(asked)))
    own = select(Prompt.id).where(is_own)
    unshow = update(Room).where(Room.shown_prompt_id.in_(own)).values(shown_prompt_id=None)
    _run(session, unshow)
    _erase_exposures(session, or_(Exposure.participant_id == id_, Exposure.prompt_id.in_(private)))
    _run(session, delete(HumanAnswer).where(HumanAnswer.participant_id == id_))
    _run(session, delete(Generation).where(Generation.prompt_id.in_(private)))
    _run(session, delete(Prompt).where(is_private))
    _run(session, update(Generation).where(Generation.prompt_id.in_(public)).values(prompt_ids=[]))
    _run(session, update(Prompt).where(is_own).values(text=BLANK, participant_id=None))
    _run(session, delete(Participant).where(Participant.id == id_))
    session.expunge(participant)
    if room_id is not None:
        touch(session, room_topic(room_id), phase_topic(room_id))


def erase_expired(session: Session, at: datetime) -> int:
    """Every room whose time is over; how many there were."""
    expired = session.scalars(select(Room).where(Room.erase_at <= at)).all()
    for room in expired:
        erase_room(session, room)
    return len(expired)


def _erase_exposures(session: Session, which: ColumnElement[bool]) -> None:
    exposures = select(Exposure.id).where(which)
    _run(session, delete(VoteEvent).where(VoteEvent.exposure_id.in_(exposures)))
    _run(session, delete(Exposure).where(which))


def _run(session: Session, statement: Delete | Update) -> None:
    session.execute(statement, execution_options={"synchronize_session": False})
