"""The report for the school, through the running app."""

import re

import pytest
from classroom import PROMPT, START, Classroom
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session
from support import rows

from app.db import Database
from app.security import hash_token
from app.services.report import read_report
from app.tables import (
    AnswerKind,
    Author,
    Checkpoint,
    Choice,
    KeyKind,
    Reason,
    Role,
    RoomKey,
    Side,
)

L, R = Side.LEFT, Side.RIGHT


def opened(session: Session) -> Classroom:
    """A room whose report can be fetched."""
    room = Classroom(session)
    for kind, token in ((KeyKind.HOST, "hosttoken"), (KeyKind.PROJECTOR, "projtoken")):
        session.add(RoomKey(room_id=room.room.id, kind=kind, token_hash=hash_token(token)))
    return room


def a_class(session: Session) -> None:
    """Twelve students, two rounds, and one that never had answers."""
    room = opened(session)
    people = room.people(12)
    for prompt in (room.prompt(), room.prompt("Quem é <b>você</b>?", AnswerKind.TEXT)):
        round_ = room.round(prompt)
        for i, person in enumerate(people):
            tuned, base = (L, R) if i % 2 else (R, L)
            exposure = room.show(round_, person, tuned)
            room.thumb(exposure, tuned, 1 if i < 9 else -1)
            room.thumb(exposure, base, -1)
            room.prefer(exposure, Choice(tuned if i < 8 else base))
            room.guess(exposure, base)
            room.reasons(exposure, tuned, [Reason.DIRECT])
            room.answer(round_, person, str(i + 1))
        room.samples(round_, Role.TUNED, ["37"] * 10)
    unanswered = room.round(room.prompt("Ainda sem resposta"))
    unanswered.tuned_id = None


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_the_report_says_what_the_class_said_and_nobodys_name(
    client: TestClient, db: Database
) -> None:
    db.write_now(a_class)
    response = client.get("/host/hosttoken/report")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    html = response.text
    text = text_of(html)
    for part in (
        "12 pessoas votaram · 2 rodadas · 96 votos",
        PROMPT,
        "18 de 24: 75%",  # thumbs up of both rounds
        "9 de 12: 75% (47% a 91%)",
        "o fine-tuned teve 16 de 24: 67%",
        "acertou 24 de 24",
        "Direta (12)",
        "12 diferentes em 12; dado honesto: 11",
        *(f"SHA-256 {checkpoint.sha256}" for checkpoint in rows(db, Checkpoint)),
        "os modelos não aprenderam nada com esta aula",
    ):
        assert part in text, part
    assert "Tucano" not in text
    assert "Ainda sem resposta" not in text
    assert "<b>você</b>" not in html
    assert html.count('role="img"') == 7  # two of all rounds, three and two of the rounds
    assert "style=" not in html
    assert client.get("/host/projtoken/report").status_code == 404


def test_an_empty_room_has_a_report_that_says_so(client: TestClient, db: Database) -> None:
    db.write_now(lambda s: opened(s).room)
    text = text_of(client.get("/host/hosttoken/report").text)
    assert "Ainda não houve nenhuma rodada com respostas." in text


def test_the_report_is_in_english_for_who_reads_english(client: TestClient, db: Database) -> None:
    db.write_now(a_class)
    headers = {"accept-language": "en"}
    text = text_of(client.get("/host/hosttoken/report", headers=headers).text)
    assert "One model, two trainings: what the class saw" in text
    assert "70% (52% to 83%)" in text


@pytest.mark.parametrize("approved", [True, False])
def test_a_students_question_is_printed_only_when_it_was_approved(
    client: TestClient, db: Database, approved: bool
) -> None:
    def work(session: Session) -> None:
        room = opened(session)
        (person,) = room.people(1)
        at = START if approved else None
        prompt = room.prompt("minha pergunta", AnswerKind.TEXT, Author.STUDENT, person, at)
        texts = {Role.BASE: "minha pergunta continua", Role.TUNED: "sim"}
        room.show(room.round(prompt, texts=texts), person)

    db.write_now(work)
    text = text_of(client.get("/host/hosttoken/report").text)
    assert ("minha pergunta" in text) == approved
    assert ("(pergunta de um aluno, não revista)" in text) != approved


def test_that_nothing_was_learned_is_looked_up_not_written(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        room.round()
        assert read_report(session, room.room).are_same
        other = Checkpoint(
            role=Role.TUNED,
            name="tuned-other",
            sha256="other",
            n_parameters=600_000_000,
            tokens_seen=0,
            recipe={},
        )
        session.add(other)
        session.flush()
        room.checkpoints[Role.TUNED] = other
        room.round()
        found = read_report(session, room.room)
        assert [model.role for model in found.models] == [Role.BASE, Role.TUNED, Role.TUNED]
        assert not found.are_same
        assert not found.are_toys

    db.write_now(work)
