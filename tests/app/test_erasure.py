"""What is forgotten, and what is not."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest
from classroom import START, Classroom
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db import Database
from app.security import hash_token
from app.services import rooms
from app.services.erasure import erase_expired, erase_participant, erase_room
from app.services.forgetting import forget_daily
from app.services.results import Share
from app.services.room_results import round_results
from app.tables import (
    AnswerKind,
    Author,
    Checkpoint,
    Choice,
    Exposure,
    Generation,
    HumanAnswer,
    KeyKind,
    Participant,
    Prompt,
    Role,
    Room,
    RoomKey,
    Round,
    SampleBatch,
    Side,
    Table,
    VoteEvent,
    now,
)

L, R = Side.LEFT, Side.RIGHT
OF_A_ROOM: tuple[type[Table], ...] = (
    *(Room, RoomKey, Participant, Prompt, Round, Generation),
    *(Exposure, VoteEvent, HumanAnswer, SampleBatch),
)


def full_room(session: Session, code: str, n: int = 3) -> tuple[Classroom, list[Participant]]:
    """Everybody answers, votes, and asks something of their own."""
    room = Classroom(session, code)
    people = room.people(n)
    round_ = room.round()
    room.samples(round_, Role.TUNED, ["37"])
    session.add(
        RoomKey(room_id=room.room.id, kind=KeyKind.HOST, token_hash=hash_token(f"host {code}"))
    )
    for i, person in enumerate(people):
        exposure = room.show(round_, person)
        room.thumb(exposure, L, 1)
        room.prefer(exposure, Choice.LEFT)
        room.answer(round_, person, f"{i} {code}")
        own_question(room, person, f"pergunta {i} de {code}")
    return room, people


def own_question(room: Classroom, person: Participant | None, text: str) -> Prompt:
    assert person is not None
    prompt = room.prompt(text, AnswerKind.TEXT, Author.STUDENT, person)
    base, tuned = (room.generation(prompt, role, f"{text} …") for role in Role)
    exposure = Exposure(
        public_id=f"own{prompt.id}",
        participant_id=person.id,
        prompt_id=prompt.id,
        left_id=base.id,
        right_id=tuned.id,
    )
    room.session.add(exposure)
    room.session.flush()
    room.thumb(exposure, L, -1)
    return prompt


def counts(session: Session) -> dict[str, int]:
    return {
        table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
        for table in OF_A_ROOM
    }


def on_the_open_page(session: Session, room: Classroom) -> None:
    """A visitor without a room, with a prompt and a vote."""
    visitor = Participant(token_hash="visitor")
    session.add(visitor)
    session.flush()
    prompt = own_question(room, visitor, "da página aberta")
    prompt.room_id = None
    session.flush()


def test_a_room_goes_with_all_its_rows_and_no_others(db: Database) -> None:
    def work(session: Session) -> None:
        kept, _ = full_room(session, "KEEP22")
        on_the_open_page(session, kept)
        before = counts(session)
        gone, _ = full_room(session, "GONE22")
        assert all(after > before[name] for name, after in counts(session).items())
        erase_room(session, gone.room)
        assert counts(session) == before
        assert session.scalar(select(func.count(Checkpoint.id))) == 2
        assert session.scalars(select(Room.code)).all() == ["KEEP22"]
        assert not any("GONE22" in text for text in session.scalars(select(Prompt.text)))

    db.write_now(work)


def test_one_student_goes_and_the_class_stays(db: Database) -> None:
    def work(session: Session) -> None:
        _, (ana, bia, caio) = full_room(session, "SALA22")
        round_ = session.scalars(select(Round)).one()
        before = counts(session)
        erase_participant(session, bia)
        after = counts(session)
        assert {
            name: before[name] - after[name] for name in before if before[name] - after[name]
        } == {
            "participant": 1,
            "prompt": 1,
            "generation": 2,
            "exposure": 2,
            "vote_event": 3,
            "human_answer": 1,
        }
        found = round_results(session, round_.id)
        assert found.first.up[Role.TUNED] == Share(2, 2)
        assert found.n_human_answers == 2
        assert set(session.scalars(select(Participant.id))) == {ana.id, caio.id}
        assert set(session.scalars(select(HumanAnswer.text))) == {"0 SALA22", "2 SALA22"}

    db.write_now(work)


def test_a_question_that_the_class_voted_on_loses_its_words_and_its_author(db: Database) -> None:
    def work(session: Session) -> None:
        room, (ana, bia, _) = full_room(session, "SALA22")
        prompt = session.scalars(select(Prompt).where(Prompt.participant_id == ana.id)).one()
        round_ = room.round(prompt)
        exposure = room.show(round_, bia)
        room.thumb(exposure, L, -1)
        room.room.shown_prompt_id = prompt.id
        session.flush()
        erase_participant(session, ana)
        session.expire_all()
        found = round_results(session, round_.id)
        assert found.first.up[Role.TUNED] == Share(0, 1)
        assert found.prompt == "…"
        assert session.scalars(select(Room.shown_prompt_id)).one() is None
        kept = session.get(Prompt, prompt.id)
        assert kept is not None
        assert kept.participant_id is None
        left = session.scalars(select(Generation).where(Generation.prompt_id == kept.id)).all()
        assert all(generation.prompt_ids == [] for generation in left)

    db.write_now(work)


def test_a_visitor_of_the_open_page_can_be_forgotten_too(db: Database) -> None:
    def work(session: Session) -> None:
        room, _ = full_room(session, "SALA22")
        before = counts(session)
        on_the_open_page(session, room)
        visitor = session.scalars(select(Participant).where(Participant.room_id.is_(None))).one()
        erase_participant(session, visitor)
        assert counts(session) == before

    db.write_now(work)


def test_only_rooms_whose_time_is_over_are_purged(db: Database) -> None:
    def work(session: Session) -> None:
        for code, days in (("OLDER2", 1), ("OLD222", 30), ("NEW222", 31)):
            room, _ = full_room(session, code)
            room.room.erase_at = START + timedelta(days=days)
        session.flush()
        assert erase_expired(session, START + timedelta(days=30)) == 2
        assert session.scalars(select(Room.code)).all() == ["NEW222"]
        assert erase_expired(session, START + timedelta(days=30)) == 0
        assert counts(session)["exposure"] == 6

    db.write_now(work)


def test_a_room_goes_on_its_day_without_a_new_start(db: Database) -> None:
    async def run() -> None:
        room, _ = await db.write(rooms.create)
        job = asyncio.create_task(forget_daily(db, every_s=0.1))
        await asyncio.sleep(0.3)  # the look at the start is over
        assert await db.read(lambda s: s.scalar(select(func.count(Room.id)))) == 1
        await db.write(lambda s: expire(s, room.id))
        deadline = time.monotonic() + 10
        while await db.read(lambda s: s.scalar(select(func.count(Room.id)))):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    asyncio.run(run())


def expire(session: Session, room_id: int) -> None:
    session.get_one(Room, room_id).erase_at = now()


def test_what_is_erased_is_not_in_the_file_either(tmp_path: Path) -> None:
    path = tmp_path / "room.db"
    db = Database(f"sqlite:///{path}")
    db.upgrade()
    db.write_now(lambda s: full_room(s, "SEGRED", 40))
    assert [f for f in tmp_path.iterdir() if b"SEGRED" in f.read_bytes()]  # the file, or its log

    def erase(session: Session) -> None:
        erase_room(session, session.scalars(select(Room)).one())

    asyncio.run(db.erase(erase))  # as the running server does
    assert not [f for f in tmp_path.iterdir() if b"SEGRED" in f.read_bytes()]
    db.close()


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_room_can_be_erased(db: Database, n: int) -> None:
    def work(session: Session) -> None:
        room = Classroom(session, "VAZIA2")
        room.people(n)
        erase_room(session, room.room)
        assert set(counts(session).values()) == {0}

    db.write_now(work)
