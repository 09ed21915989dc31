"""Everything of a room, one record a line, so that each number on a page can be made again from it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from app.services.export_rows import Seen, is_public
from app.services.grouping import group, number_in
from app.services.picture import HIGH, LOW, named
from app.tables import (
    AnswerKind,
    Checkpoint,
    Exposure,
    Generation,
    HumanAnswer,
    Participant,
    Prompt,
    Room,
    Round,
    SampleBatch,
    Table,
    VoteEvent,
    now,
)

FORMAT_VERSION = 1
KEPT_BACK = {  # what opens an address, or says who somebody is
    *("public_id", "participant_id", "idempotency_key", "room_id", "offered_at"),
}
Row = dict[str, Any]


def all_rows(session: Session, room: Room, seen: Sequence[Seen]) -> Iterator[Row]:
    """The room, checkpoints, prompts, rounds, generations, samples, people's answers as counts, exposures, votes."""
    prompts = session.scalars(
        select(Prompt).where(Prompt.room_id == room.id, is_public()).order_by(Prompt.id)
    ).all()
    prompt_ids = [prompt.id for prompt in prompts]
    rounds = session.scalars(
        select(Round)
        .where(Round.room_id == room.id, Round.prompt_id.in_(prompt_ids))
        .order_by(Round.number)
    ).all()
    round_ids = [round_.id for round_ in rounds]
    generations = session.scalars(
        select(Generation).where(Generation.prompt_id.in_(prompt_ids)).order_by(Generation.id)
    ).all()
    batches = session.scalars(
        select(SampleBatch).where(SampleBatch.round_id.in_(round_ids)).order_by(SampleBatch.id)
    ).all()
    checkpoint_ids = {g.checkpoint_id for g in generations} | {b.checkpoint_id for b in batches}
    yield _room(session, room)
    for checkpoint in session.scalars(
        select(Checkpoint).where(Checkpoint.id.in_(checkpoint_ids)).order_by(Checkpoint.id)
    ):
        yield _plain(checkpoint)
    for row in (*prompts, *rounds, *generations, *batches):
        yield _plain(row)
    yield from _people(session, rounds, prompts)
    yield from _votes(session, room, seen)


def _room(session: Session, room: Room) -> Row:
    n = session.scalar(
        select(func.count(Participant.id)).where(
            Participant.room_id == room.id, Participant.removed_at.is_(None)
        )
    )
    return {
        "type": "room",
        "format_version": FORMAT_VERSION,
        "code": room.code,
        "created_at": room.created_at.isoformat(),
        "exported_at": now().isoformat(timespec="seconds"),
        "n_participants": n,
    }


def _plain(row: Table) -> Row:
    """A row's columns as JSON has them, under their own names."""
    mapper = inspect(type(row))
    names = [column.key for column in mapper.column_attrs if column.key not in KEPT_BACK]
    return {"type": row.__tablename__} | {name: _json(getattr(row, name)) for name in names}


def _json(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _people(session: Session, rounds: Sequence[Round], prompts: Sequence[Prompt]) -> Iterator[Row]:
    """What the students answered, as counts: a text that only one of them wrote is not given out."""
    kinds = {prompt.id: prompt.answer_kind for prompt in prompts}
    query = (
        select(HumanAnswer.round_id, HumanAnswer.text)
        .join(Participant, Participant.id == HumanAnswer.participant_id)
        .where(
            HumanAnswer.round_id.in_([round_.id for round_ in rounds]),
            Participant.removed_at.is_(None),
        )
    )
    texts: dict[int, list[str]] = {}
    for round_id, text in session.execute(query):
        texts.setdefault(round_id, []).append(text)
    for round_ in rounds:
        answers = texts.get(round_.id, [])
        if answers:
            yield {
                "type": "human_answers",
                "round_id": round_.id,
                "n": len(answers),
                **_counts(answers, kinds[round_.prompt_id]),
            }


def _counts(answers: Sequence[str], kind: str) -> Row:
    if kind == AnswerKind.NUMBER:
        found = [number_in(answer, LOW, HIGH) for answer in answers]
        numbers = sorted(n for n in found if n is not None)
        return {
            "counts": {str(n): numbers.count(n) for n in numbers},
            "n_without_number": found.count(None),
        }
    if kind in (AnswerKind.WORDS, AnswerKind.LIST):
        groups = group(thing for things in named(AnswerKind(kind), answers) for thing in things)
        return {
            "counts": {g.label: g.n for g in groups if g.n > 1},
            "n_given_once": sum(g.n == 1 for g in groups),
        }
    return {}


def _votes(session: Session, room: Room, seen: Sequence[Seen]) -> Iterator[Row]:
    for item in seen:
        yield _plain(item.exposure) | {"participant": item.participant}
    exposure_ids = {item.exposure.id for item in seen}
    query = (
        select(VoteEvent)
        .join(Exposure, Exposure.id == VoteEvent.exposure_id)
        .join(Participant, Participant.id == Exposure.participant_id)
        .where(Participant.room_id == room.id)
        .order_by(VoteEvent.id)
    )
    for event in session.scalars(query):
        if event.exposure_id in exposure_ids:
            yield _plain(event)
