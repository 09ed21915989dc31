"""Files of a class: what is in them, and above all what is not."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from classroom import PROMPT, START, Classroom
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app.cli import main
from app.db import Database
from app.security import hash_token
from app.services.exports import Format, defused, export
from app.services.exports import table as table_text
from app.tables import (
    AnswerKind,
    Author,
    Choice,
    Exposure,
    Finish,
    KeyKind,
    Reason,
    Role,
    RoomKey,
    Side,
    now,
)

L, R = Side.LEFT, Side.RIGHT


def lines(session: Session, room: Classroom, format: Format, **options: Any) -> list[Any]:
    text = export(session, room.room, format, **options).text
    return [json.loads(line) for line in text.splitlines()]


def table(session: Session, room: Classroom) -> list[dict[str, str]]:
    text = export(session, room.room, Format.CSV).text
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


def free_play(room: Classroom, approved: bool, text: str) -> Exposure:
    """A student's own prompt, with a thumb."""
    (person,) = room.people(1)
    prompt = room.prompt(text, AnswerKind.TEXT, Author.STUDENT, person, START if approved else None)
    base = room.generation(prompt, Role.BASE, f"{text} e mais")
    tuned = room.generation(prompt, Role.TUNED, "sim")
    exposure = Exposure(
        public_id=f"free{person.id}",
        participant_id=person.id,
        prompt_id=prompt.id,
        left_id=base.id,
        right_id=tuned.id,
        revealed_at=START,
    )
    room.session.add(exposure)
    room.session.flush()
    room.thumb(exposure, R, 1, late=True)
    return exposure


def test_the_table_has_one_row_for_each_vote_that_counts(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        ana, bia = room.people(2)
        first, second = room.show(round_, ana, L), room.show(round_, bia, R)
        room.thumb(first, L, 1)
        last = room.thumb(first, L, -1)
        room.reasons(first, L, [Reason.OBVIOUS, Reason.INVENTED])
        room.prefer(first, Choice.RIGHT)
        room.guess(first, R)
        room.thumb(second, L, 1)
        room.thumb(second, L, None)
        rows = table(session, room)
        assert [(r["kind"], r["answer_of"]) for r in rows] == [
            ("thumb", "tuned"),
            ("reasons", "tuned"),
            ("preference", ""),
            ("guess", ""),
        ]
        assert rows[0]["value"] == "-1"
        assert rows[0]["vote_event_id"] == str(last.id)
        assert (rows[0]["answer"], rows[0]["prompt"], rows[0]["seed"]) == ("37", PROMPT, "42")
        assert rows[1]["reasons"] == "obvious invented"
        assert rows[2]["choice"] == "base"
        assert rows[3]["guess_right"] == "1"
        assert len({row["participant"] for row in rows}) == 1

    db.write_now(work)


def test_no_cell_is_a_formula(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        evil = '=HYPERLINK("http://x","a,b")'
        round_ = room.round(
            room.prompt(evil), texts={Role.BASE: "+1\nlinha", Role.TUNED: "@SUM(A1)"}
        )
        exposure = room.show(round_, room.people(1)[0])
        room.thumb(exposure, L, -1)
        room.thumb(exposure, R, 1)
        rows = table(session, room)
        assert rows[0]["prompt"] == f"'{evil}"
        assert [row["answer"] for row in rows] == ["'@SUM(A1)", "'+1\nlinha"]
        assert rows[0]["value"] == "-1"  # a number stays one

    db.write_now(work)


@pytest.mark.parametrize("text", ["=1", " =1", "+1", "-1", "@a", "\r1", "＝1", '"=1'])
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    assert defused(text) == f"'{text}"
    assert defused(f"a{text}") == f"a{text}"


@pytest.mark.parametrize("start", [";", "; ", "\n", "\r\n", "\t", ';"'])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_no_cell_is_a_formula_where_the_semicolon_parts_cells(start: str, sign: str) -> None:
    """A spreadsheet set to Brazil opens the file with the semicolon, and the quotes around a cell mean nothing to it."""
    line = table_text([{"round": 1, "prompt": f"uva{start}{sign}HYPERLINK(1);fim"}])
    cells = re.split(r"[;\t\r\n]", line)
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.lstrip(' "').startswith(("=", "+", "-", "@"))]


def test_a_text_in_a_cell_stays_itself() -> None:
    assert defused("1+1=2; e daí? a-b@c") == "1+1=2; e daí? a-b@c"
    assert defused(-1) == -1


def test_only_consented_blind_early_finished_votes_become_training_rows(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        (yes,), (no,) = room.people(1), room.people(1, consents=False)
        blind, other = room.round(), room.round(is_blind=False)
        failed = room.round(finish=Finish.ERROR)
        silent = room.round(texts={Role.BASE: "a b", Role.TUNED: " "})
        good = room.thumb(room.show(blind, yes), L, 1)
        room.thumb(room.show(blind, no), L, -1)
        for round_ in (other, failed, silent):
            exposure = room.show(round_, yes)
            room.thumb(exposure, L, 1)
            room.prefer(exposure, Choice.LEFT)
        third = room.round()
        late = room.show(third, yes)
        room.thumb(late, L, 1, late=True)
        room.thumb(late, L, 1, 2)
        free_play(room, approved=True, text="o que é amor?")
        kto = lines(session, room, Format.KTO)
        assert len(kto) == 1
        assert kto[0]["prompt"] == [{"role": "user", "content": PROMPT}]
        assert kto[0]["completion"] == [{"role": "assistant", "content": "37"}]
        assert kto[0]["label"] is True
        source = kto[0]["provenance"]
        assert source["vote_event_id"] == good.id
        assert (source["is_blind"], source["is_after_reveal"]) == (True, False)
        assert source["answer"]["envelope"] == "chat"
        assert source["answer"]["checkpoint_sha256"] == "tuned" * 8
        assert source["answer"]["prompt_ids"] == [1, 2, 3]
        assert lines(session, room, Format.DPO) == []
        yes.consents_to_training = False  # taken back
        session.flush()
        assert lines(session, room, Format.KTO) == []

    db.write_now(work)


def test_both_bad_is_two_falses_and_no_pair(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        ana, bia = room.people(2)
        room.prefer(room.show(round_, ana), Choice.BOTH_BAD)
        thumbed = room.show(round_, bia, R)
        room.prefer(thumbed, Choice.BOTH_BAD)
        room.thumb(thumbed, R, 1)  # of the fine-tuned: what was said of one answer goes first
        tuned = lines(session, room, Format.KTO)
        both = lines(session, room, Format.KTO, roles=tuple(Role))
        assert [row["label"] for row in tuned] == [False, True]
        found = [
            (row["provenance"]["participant"], row["provenance"]["answer"]["checkpoint_role"])
            for row in both
            if not row["label"]
        ]
        people = {row["provenance"]["participant"] for row in both}
        assert len(people) == 2
        assert sorted(role for _, role in found) == ["base", "base", "tuned"]
        assert lines(session, room, Format.DPO) == []

    db.write_now(work)


def test_pairs_come_from_a_choice_or_from_opposite_thumbs(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        people = room.people(6)
        shown = [room.show(round_, p, L if i % 2 else R) for i, p in enumerate(people)]
        room.prefer(shown[0], Choice.RIGHT)  # the fine-tuned
        room.prefer(shown[1], Choice.RIGHT)  # the base
        room.thumb(shown[2], L, 1)  # the base
        room.thumb(shown[2], R, -1)
        room.thumb(shown[3], L, 1)
        room.thumb(shown[3], R, 1)
        room.thumb(shown[4], L, 1)
        room.thumb(shown[4], R, -1)
        room.prefer(shown[4], Choice.TIE)
        room.thumb(shown[5], L, 1)  # alone it is no pair
        rows = lines(session, room, Format.DPO)
        chosen = [row["provenance"]["chosen"]["checkpoint_role"] for row in rows]
        assert chosen == ["tuned", "base", "base"]
        assert rows[0]["chosen"] == [{"role": "assistant", "content": "37"}]
        assert rows[0]["rejected"][0]["content"].startswith(" e mais um")
        assert rows[2]["provenance"]["vote"] == "thumb"

    db.write_now(work)


def test_two_equal_texts_are_no_pair(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round(texts={Role.BASE: " 37", Role.TUNED: "37"})
        exposure = room.show(round_, room.people(1)[0])
        room.prefer(exposure, Choice.LEFT)
        room.thumb(exposure, L, 1)
        assert lines(session, room, Format.DPO) == []
        assert len(lines(session, room, Format.KTO)) == 1

    db.write_now(work)


def test_everything_is_in_the_lines_but_nothing_that_says_who(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round(room.prompt("Uma fruta?", AnswerKind.WORDS))
        people = room.people(4)
        for person, text in zip(people, ["maçã", "Maçã", "sou o Zé da 3B", "uva"], strict=True):
            room.answer(round_, person, text)
        exposure = room.show(round_, people[0])
        room.thumb(exposure, L, 1)
        room.thumb(exposure, L, -1)
        room.samples(round_, Role.BASE, ["jaca"])
        gone = room.show(round_, people[3])
        room.thumb(gone, L, 1)
        people[3].removed_at = now()
        free_play(room, approved=False, text="meu segredo")
        free_play(room, approved=True, text="o que é amor?")
        session.flush()
        file = export(session, room.room, Format.JSONL)
        rows = [json.loads(line) for line in file.text.splitlines()]
        kinds = [row["type"] for row in rows]
        assert kinds[0] == "room"
        assert rows[0]["n_participants"] == 5
        assert {kind: kinds.count(kind) for kind in kinds} == {
            "room": 1,
            "checkpoint": 2,
            "prompt": 2,
            "round": 1,
            "generation": 4,
            "sample_batch": 1,
            "human_answers": 1,
            "exposure": 2,
            "vote_event": 3,
        }
        answers = rows[kinds.index("human_answers")]
        assert answers["counts"] == {"Maçã": 2}
        assert (answers["n"], answers["n_given_once"]) == (3, 1)
        generation = rows[kinds.index("generation")]
        assert (generation["seed"], generation["prompt_ids"]) == (42, [1, 2, 3])
        for secret in ("segredo", "Zé", "Tucano", "token_hash", "pseudonym", exposure.public_id):
            assert secret not in file.text
        assert "meu segredo" not in export(session, room.room, Format.CSV).text
        assert file.name == "dois-treinos-TUCAN2-2026-11-24-tudo.jsonl"

    db.write_now(work)


def test_a_number_does_not_follow_the_order_of_joining(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        for person in room.people(20):
            room.thumb(room.show(round_, person), L, 1)
        numbers = [row["participant"] for row in table(session, room)]
        assert sorted(numbers) == sorted(f"p{i}" for i in range(1, 21))
        assert numbers != [f"p{i}" for i in range(1, 21)]
        assert numbers == [row["participant"] for row in table(session, room)]

    db.write_now(work)


def test_the_comparison_knows_on_which_side_each_stood(db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        votes = [(L, Choice.LEFT), (R, Choice.LEFT), (R, Choice.RIGHT), (L, Choice.BOTH_BAD)]
        for person, (tuned, choice) in zip(room.people(4), votes, strict=True):
            exposure = room.show(round_, person, tuned)
            room.prefer(exposure, choice)
            room.thumb(exposure, tuned, 1)
        room.reasons(exposure, L, [Reason.DIRECT])
        room.round(room.prompt("Nunca mostrado"))
        found = json.loads(export(session, room.room, Format.LLM_COMPARATOR).text)
        assert [model["name"] for model in found["models"]] == ["tuned-abcdef12", "base-abcdef12"]
        (example,) = found["examples"]
        assert (example["output_text_a"], example["input_text"]) == ("37", PROMPT)
        assert example["score"] == 0.375  # 1.5, -1.5, 1.5 and 0
        ratings = example["individual_rater_scores"]
        assert [rating["is_flipped"] for rating in ratings] == [False, True, True, False]
        assert [rating["score"] for rating in ratings] == [1.5, -1.5, 1.5, 0.0]
        assert ratings[3]["rationale"] == "A: direct"
        assert example["custom_fields"]["n_thumbs"] == [4, 0]
        declared = {field["name"] for field in found["metadata"]["custom_fields_schema"]}
        assert declared == set(example["custom_fields"])

    db.write_now(work)


def test_files_are_fetched_with_the_hosts_token_only(client: TestClient, db: Database) -> None:
    def work(session: Session) -> None:
        room = Classroom(session)
        round_ = room.round()
        exposure = room.show(round_, room.people(1)[0])
        room.thumb(exposure, L, 1)
        room.prefer(exposure, Choice.LEFT)
        for kind, token in ((KeyKind.HOST, "hosttoken"), (KeyKind.PROJECTOR, "projtoken")):
            session.add(RoomKey(room_id=room.room.id, kind=kind, token_hash=hash_token(token)))

    db.write_now(work)
    for name, start in (
        ("csv", "\ufeffround,prompt"),
        ("jsonl", '{"type": "room"'),
        ("kto.jsonl", '{"prompt": [{"role": "user"'),
        ("dpo.jsonl", '{"prompt": [{"role": "user"'),
        ("llm-comparator", "{"),
    ):
        response = client.get(f"/host/hosttoken/export/{name}")
        assert response.status_code == 200
        assert response.content.decode().startswith(start)
        assert "TUCAN2-2026-11-24" in response.headers["content-disposition"]
        assert response.headers["cache-control"] == "no-store"
        assert client.get(f"/host/projtoken/export/{name}").status_code == 404
    assert client.get("/host/wrong/export/csv").status_code == 404
    assert client.get("/host/hosttoken/export/everything").status_code == 404
    both = client.get("/host/hosttoken/export/kto.jsonl?answers=both")
    assert len(both.text.splitlines()) == 1  # the base had no thumb


def test_the_command_writes_the_same_file(
    db: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(session: Session) -> str:
        room = Classroom(session)
        room.thumb(room.show(room.round(), room.people(1)[0]), L, 1)
        return export(session, room.room, Format.CSV).text

    wanted = db.write_now(work)
    monkeypatch.setenv("DATABASE_URL", database_url)
    out = tmp_path / "votos.csv"
    main(["export", "--room", "tucan2", "--format", "csv", "--out", str(out)])
    assert out.read_bytes().decode() == wanted
    main(["export", "--room", "TUCAN2", "--format", "kto"])
    assert json.loads(capsys.readouterr().out)["label"] is True
    with pytest.raises(SystemExit, match="No room here has the code NADA22"):
        main(["export", "--room", "NADA22", "--format", "csv"])
