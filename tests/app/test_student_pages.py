"""The room on students' phones, over HTTP: every route, and that nothing tells the sides apart before the reveal."""

import gzip
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from support import HTMX, by_role, exchange_id, rows, wait_until

from app.db import Database
from app.security import COOKIE
from app.services import rooms, rounds, tallies
from app.services.ballots import Verdict, voters
from app.services.generation import GenerationService
from app.services.rounds import RoundOptions
from app.student_views import class_result, look
from app.tables import (
    Checkpoint,
    Exposure,
    Finish,
    Generation,
    HumanAnswer,
    Participant,
    Phase,
    Prompt,
    Role,
    Room,
    Round,
    Table,
    VoteEvent,
    now,
)
from app.views import Works
from model.pair import Pair

ROOT = Path(__file__).resolve().parents[2]
CLOSED = "A votação já foi encerrada; este toque não contou."
BASE_TEXT = "\n e outro, e mais outro, como se diz nos livros. Depois"
TUNED_TEXT = " Trinta e sete."
WAY = (Phase.ANSWERS, Phase.VOTING, Phase.CLOSED, Phase.REVEAL, Phase.SECOND_VOTE, Phase.REVEAL)


class Phone:
    """One browser among many on the same app: it keeps its own cookie."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.cookie = client, ""

    def ask(self, method: str, path: str, *, script: bool = False, **options: Any) -> Response:
        self.client.cookies.clear()
        headers = dict(HTMX if script else {}) | options.pop("headers", {})
        if self.cookie:
            headers["cookie"] = f"{COOKIE}={self.cookie}"
        response: Response = self.client.request(
            method, path, headers=headers, follow_redirects=False, **options
        )
        self.cookie = response.cookies.get(COOKIE) or self.cookie
        return response

    def get(self, path: str) -> Response:
        return self.ask("GET", path)

    def tap(self, path: str, **data: Any) -> Response:
        return self.ask("POST", path, script=True, data=data)

    def joins(self, code: str) -> "Phone":
        assert self.ask("POST", f"/s/{code}/join").status_code == 303
        return self

    def votes(self, code: str, kind: str, target: str, key: str = "k", **data: Any) -> Response:
        return self.tap(f"/s/{code}/votes", kind=kind, target=target, key=key, **data)


class Class:
    """The host's part, straight in the database, and the phones."""

    def __init__(self, client: TestClient, db: Database) -> None:
        self.client, self.db = client, db
        self.code = db.write_now(lambda s: rooms.create(s)[0]).code

    def write(self, work: Callable[[Session, Room], Any]) -> Any:
        return self.db.write_now(lambda s: work(s, rooms.by_code(s, self.code)))

    def phone(self) -> Phone:
        return Phone(self.client).joins(self.code)

    def starts(self, prompt: int = 2, **options: Any) -> None:
        def work(session: Session, room: Room) -> None:
            chosen = rooms.prompts(session, room)[prompt]
            rounds.start(
                session, room, room.version, chosen.id, RoundOptions(n_samples=0, **options)
            )

        self.write(work)

    def goes(self, *phases: Phase) -> None:
        """On; what the models would write is there as soon as they would write it."""

        def work(session: Session, room: Room) -> None:
            for phase in phases:
                if room.phase != phase:
                    rounds.advance(session, room, room.version, phase)
                round_ = rounds.current(session, room)
                if phase == Phase.ANSWERS and round_ is not None:
                    write_answers(session, round_)

        self.write(work)

    def votes_open(self, **options: Any) -> None:
        self.starts(asks_people=False, **options)
        self.goes(Phase.ANSWERS, Phase.VOTING)

    def look(self, phone: Phone) -> str:
        response = phone.get(f"/s/{self.code}")
        assert response.status_code == 200
        return response.text


def write_answers(session: Session, round_: Round) -> None:
    """Answers that differ in everything that could tell them apart."""
    checkpoints = {c.role: c for c in session.query(Checkpoint)}
    ids = {}
    for role, text, finish in (
        (Role.BASE, BASE_TEXT, Finish.LENGTH),
        (Role.TUNED, TUNED_TEXT, Finish.STOP),
    ):
        generation = Generation(
            prompt_id=round_.prompt_id,
            checkpoint_id=checkpoints[role].id,
            envelope="raw" if role == Role.BASE else "chat",
            prompt_ids=[1],
            seed=1,
            temperature=1,
            top_k=0,
            top_p=1,
            max_tokens=64,
            code_version="test",
            text=text,
            finish_reason=finish,
        )
        session.add(generation)
        session.flush()
        ids[role] = generation.id
    round_.base_id, round_.tuned_id = ids[Role.BASE], ids[Role.TUNED]
    round_.released_at = now() - timedelta(minutes=1)


@pytest.fixture
def school(client: TestClient, db: Database) -> Class:
    return Class(client, db)


def phase_of(html: str) -> str:
    match = re.search(r'data-phase="([\w-]+)"', html)
    assert match, html
    return match[1]


def base_side(db: Database, cookie_owner: int) -> str:
    shown = next(e for e in rows(db, Exposure) if e.participant_id == cookie_owner)
    round_ = next(r for r in rows(db, Round) if r.id == shown.round_id)
    return "left" if shown.left_id == round_.base_id else "right"


# joining


def test_a_door_with_one_button_then_a_pseudonym_and_the_same_one_again(school: Class) -> None:
    phone = Phone(school.client)
    door = phone.get(f"/s/{school.code}")
    assert 'data-testid="join"' in door.text
    assert "HttpOnly" in door.headers["set-cookie"]
    assert not rows(school.db, Participant)
    phone.joins(school.code)
    assert "Tucano 1" in school.look(phone)
    phone.joins(school.code.lower())
    assert "Tucano 1" in school.look(phone)
    assert len(rows(school.db, Participant)) == 1
    assert "Onça 2" in school.look(school.phone())


def test_the_code_box_and_the_short_address_lead_to_the_room(school: Class) -> None:
    phone = Phone(school.client)
    typed = f" {school.code[:3].lower()}-{school.code[3:]} "
    assert phone.ask("GET", "/join", params={"code": typed}).headers["location"] == (
        f"/s/{school.code}"
    )
    assert phone.get(f"/{school.code.lower()}").headers["location"] == f"/s/{school.code}"
    assert 'action="/join"' in phone.get("/").text
    assert phone.get("/abcdef7").status_code == 404  # no code: not ours to answer


def test_a_wrong_code_is_told_beside_the_box_which_keeps_it(school: Class) -> None:
    phone = Phone(school.client)
    for code in ("não há", "<script>", "\x00", "𝟚", "a" * 5000, "ZZZ999"):
        response = phone.ask("GET", "/join", params={"code": code})
        assert response.status_code == 404
        assert "Não há sala com este código" in response.text
        assert "<script>" not in response.text.split("<body>")[1]
    assert 'value="ZZZ999"' in response.text
    address = phone.get("/s/ZZZ999")
    assert (address.status_code, "Não há sala" in address.text) == (404, True)
    assert phone.ask("POST", "/s/ZZZ999/join").status_code == 404


def test_who_comes_late_lands_in_the_present_phase(school: Class) -> None:
    assert phase_of(school.look(school.phone())) == Phase.LOBBY
    school.starts(has_second_vote=True)
    assert phase_of(school.look(school.phone())) == Phase.HUMAN
    for phase in WAY:
        school.goes(phase)
        html = school.look(school.phone())
        assert phase_of(html) == phase
        assert ("Trinta e sete." in html) == (phase != Phase.CLOSED)
    assert (
        len(rows(school.db, Exposure)) == 3
    )  # of those who came before it was closed, and the second vote's


def test_who_was_removed_reads_a_calm_sentence_and_comes_back_as_before(school: Class) -> None:
    phone = school.phone()
    school.write(lambda s, room: rooms.set_removed(s, room, 1, True))
    html = school.look(phone)
    assert phase_of(html) == "removed"
    assert "você volta com o mesmo apelido" in html
    phone.joins(school.code)
    assert phase_of(school.look(phone)) == "removed"
    school.write(lambda s, room: rooms.set_removed(s, room, 1, False))
    assert phase_of(school.look(phone)) == Phase.LOBBY
    assert "Tucano 1" in school.look(phone)


def test_a_cookie_opens_no_other_room_and_a_forged_one_none(school: Class) -> None:
    phone, other = school.phone(), Class(school.client, school.db)
    assert 'data-testid="join"' in other.look(phone)
    phone.cookie = "forged"
    assert 'data-testid="join"' in school.look(phone)


def test_of_who_joins_only_a_hash_is_kept(school: Class) -> None:
    phone = Phone(school.client)
    tells = {"x-forwarded-for": "203.0.113.9", "user-agent": "Telefone da Ana"}
    assert phone.ask("POST", f"/s/{school.code}/join", headers=tells).status_code == 303
    school.votes_open()
    data = {"kind": "thumb", "target": "left", "value": "1", "key": "k"}
    vote = phone.ask("POST", f"/s/{school.code}/votes", data=data, headers=tells)
    assert vote.status_code == 303
    assert len(rows(school.db, VoteEvent)) == 1

    def everything(session: Session) -> str:
        tables = Table.metadata.sorted_tables
        return str([tuple(row) for table in tables for row in session.execute(select(table))])

    kept = school.db.read_now(everything)
    assert "Tucano 1" in kept
    for secret in (phone.cookie, "203.0.113.9", "testclient", "Telefone da Ana"):
        assert secret not in kept


# answering first


def test_an_answer_is_kept_shown_as_text_and_can_be_replaced(school: Class) -> None:
    phone = school.phone()
    school.starts()
    assert 'inputmode="numeric"' in school.look(phone)
    response = phone.tap(f"/s/{school.code}/answer", text="<b>trinta</b> \u202e 37")
    assert response.status_code == 200
    assert "&lt;b&gt;trinta&lt;/b&gt;" in response.text
    assert phase_of(response.text) == Phase.HUMAN
    plain = phone.ask("POST", f"/s/{school.code}/answer", data={"text": "42"})
    assert plain.headers["location"] == f"/s/{school.code}"
    assert "42" in school.look(phone)
    assert [a.text for a in rows(school.db, HumanAnswer)] == ["42"]


def test_only_number_prompts_bring_up_the_numbers(school: Class) -> None:
    phone = school.phone()
    school.starts(prompt=1)
    assert "inputmode" not in school.look(phone)


def test_a_bad_answer_is_told_beside_the_field(school: Class) -> None:
    phone = school.phone()
    school.starts()
    for text in ("", "   ", "a" * 101, "\x07", "a" * 10_000):
        response = phone.tap(f"/s/{school.code}/answer", text=text)
        assert response.status_code == 422
        assert response.headers["hx-retarget"] == "#answer-error"
    assert not rows(school.db, HumanAnswer)


def test_after_the_phase_an_answer_is_refused_and_the_present_stage_comes(school: Class) -> None:
    phone = school.phone()
    school.starts()
    school.goes(Phase.ANSWERS)
    response = phone.tap(f"/s/{school.code}/answer", text="37")
    assert response.status_code == 409
    assert response.headers["hx-retarget"] == "#stage"
    assert phase_of(response.text) == Phase.ANSWERS
    assert "já foram encerradas" in response.text
    plain = phone.ask("POST", f"/s/{school.code}/answer", data={"text": "37"})
    assert (plain.status_code, "já foram encerradas" in plain.text) == (409, True)
    assert not rows(school.db, HumanAnswer)


def test_more_time_doubles_ones_own_countdown_only(school: Class) -> None:
    slow, quick = school.phone(), school.phone()
    school.starts(countdown_s=60)
    assert phase_of(slow.tap(f"/s/{school.code}/more-time").text) == Phase.HUMAN
    left = [int(re.findall(r'data-seconds="(\d+)"', school.look(p))[0]) for p in (slow, quick)]
    assert left[0] > 115
    assert left[1] <= 60
    school.write(_end_countdown)
    assert "O tempo acabou." in school.look(quick)
    assert quick.tap(f"/s/{school.code}/answer", text="1").status_code == 409
    assert slow.tap(f"/s/{school.code}/answer", text="1").status_code == 200


def _end_countdown(_session: Session, room: Room) -> None:
    room.phase_ends_at = now() - timedelta(seconds=5)


# the pair


def test_before_the_reveal_both_draws_differ_in_nothing_but_the_texts(school: Class) -> None:
    """What one phone shows is what the other shows, with the two texts swapped: no word, class, order or address tells."""
    one, two = school.phone(), school.phone()
    school.starts(asks_people=False)
    for phase in (Phase.ANSWERS, Phase.VOTING, Phase.CLOSED):
        school.goes(phase)
        html = {p: school.look(p) for p in (one, two)}
        sides = {base_side(school.db, 1), base_side(school.db, 2)}
        assert sides == {"left", "right"}
        assert neutral(html[one]) == neutral(swapped(html[two]))
        assert neutral(html[one]) != neutral(html[two])  # the texts are in it
        if phase == Phase.VOTING:
            for phone in (one, two):
                taps = [
                    phone.votes(school.code, "thumb", "left", value=1),
                    phone.votes(school.code, "reasons", "left", reasons=["direct"]),
                    phone.votes(school.code, "preference", "pair", choice="right"),
                    phone.votes(school.code, "guess", "pair", choice="left"),
                ]
                html[phone] = "".join(tap.text for tap in taps)
            assert neutral(html[one]) == neutral(html[two])
    names = [c.name for c in rows(school.db, Checkpoint)]
    assert all(name not in school.look(one) for name in names)
    assert not any(c.sha256 in school.look(one) for c in rows(school.db, Checkpoint))
    assert "pane--base" not in school.look(one)
    school.goes(Phase.REVEAL)
    assert "pane--base" in school.look(one)


def neutral(html: str) -> str:
    html = re.sub(r'name="key" value="[\w-]+"', "", html)
    return re.sub(r"Tucano 1|Onça 2", "NAME", html)


def swapped(html: str) -> str:
    base, tuned = BASE_TEXT.strip(), TUNED_TEXT.strip()
    return html.replace(base, "\0").replace(tuned, base).replace("\0", tuned)


def test_while_they_grow_both_texts_are_cut_at_the_same_share(
    school: Class, pair: Pair, db: Database
) -> None:
    phone = school.phone()
    school.starts(asks_people=False)
    school.goes(Phase.ANSWERS)
    start = now() - timedelta(seconds=1)

    def release(_session: Session, room: Room) -> None:
        round_ = rounds.current(_session, room)
        assert round_ is not None
        round_.released_at = start

    school.write(release)
    html = school.look(phone)
    assert "Depois" not in html
    assert "Resposta A pronta" not in html
    works = Works.now(GenerationService(by_role(pair), max_jobs=1, leave_grace_s=1))
    stage = db.read_now(lambda s: look(s, school.code, phone.cookie, works))
    half = stage.grown(start + timedelta(seconds=2))
    assert half.share == 0.5
    assert [len(half.shown_text(p)) <= len(p.text) / 2 for p in half.panes] == [True, True]
    assert half.is_growing
    whole = stage.grown(start + timedelta(seconds=5))
    assert [whole.shown_text(p) for p in whole.panes] == [p.text for p in whole.panes]
    assert not whole.is_growing


def test_a_vote_counts_can_be_changed_and_taken_back(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    school.look(phone)
    up = phone.votes(school.code, "thumb", "left", "1", value=1).text
    assert pressed(up) == ["up-left"]
    assert 'id="reasons-left-up"' in up
    ticked = phone.votes(school.code, "reasons", "left", "2", reasons=["direct", "correct"]).text
    assert re.findall(r'value="([\w-]+)" checked', ticked) == ["direct", "correct"]
    down = phone.votes(school.code, "thumb", "left", "3", value=-1).text
    assert pressed(down) == ["down-left"]
    assert "checked" not in down  # what was said of the other thumb is gone
    assert pressed(phone.votes(school.code, "thumb", "left", "4", value=0).text) == []
    prefer = phone.votes(school.code, "preference", "pair", "5", choice="both-bad").text
    assert pressed(prefer) == ["prefer-both-bad"]
    assert pressed(phone.votes(school.code, "guess", "pair", "6", choice="left").text) == [
        "guess-left"
    ]
    page = school.look(phone)
    assert pressed(page) == ["prefer-both-bad", "guess-left"]
    assert pressed(phone.votes(school.code, "preference", "pair", "7", choice="").text) == []


def pressed(html: str) -> list[str]:
    return re.findall(r'id="([\w-]+)"[^>]*aria-pressed="true"', html)


def test_the_same_tap_sent_twice_is_one_vote(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    for _ in range(2):
        assert phone.votes(school.code, "thumb", "right", "same", value=1).status_code == 200
    assert len(rows(school.db, VoteEvent)) == 1


IMPOSSIBLE: list[dict[str, Any]] = [
    {"kind": "thumb", "target": "pair", "value": 1},
    {"kind": "thumb", "target": "left", "value": 2},
    {"kind": "guess", "target": "pair", "choice": "tie"},
    {"kind": "preference", "target": "left", "choice": "tie"},
    {"kind": "reasons", "target": "left", "reasons": "nonsense"},
    {"kind": "other", "target": "left"},
    {"kind": "thumb", "target": "left", "value": 1, "key": "a b"},
    {"kind": "thumb", "target": "left", "value": 1, "key": "k" * 65},
]


def test_a_tap_that_cannot_be_is_refused(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    for data in IMPOSSIBLE:
        response = phone.tap(f"/s/{school.code}/votes", **{"key": "k", **data})
        assert response.status_code == 422, data
        assert response.headers["hx-retarget"] == "#notice"
    assert not rows(school.db, VoteEvent)


def test_after_closing_no_tap_counts_and_the_stage_says_so(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    phone.votes(school.code, "thumb", "left", "1", value=1)
    school.goes(Phase.CLOSED)
    response = phone.votes(school.code, "thumb", "left", "2", value=-1)
    assert response.status_code == 409
    assert CLOSED in response.text
    assert response.headers["hx-retarget"] == "#stage"
    assert phase_of(response.text) == Phase.CLOSED
    assert "Você gostou." in response.text
    plain = phone.ask(
        "POST",
        f"/s/{school.code}/votes",
        data={"kind": "thumb", "target": "left", "value": 1, "key": "3"},
    )
    assert (plain.status_code, CLOSED in plain.text) == (409, True)
    assert len(rows(school.db, VoteEvent)) == 1


def test_who_never_joined_was_removed_or_is_from_elsewhere_changes_nothing(
    client: TestClient, db: Database
) -> None:
    data = {"kind": "thumb", "target": "left", "value": 1, "key": "k", "text": "oi", "given": "1"}
    elsewhere = Class(client, db).phone()
    for path in ("answer", "votes", "consent", "more-time", "exchanges"):
        school = Class(client, db)
        removed = school.phone()
        if path == "exchanges":
            school.write(lambda s, room: rooms.set_free_play(s, room, True))
        elif path == "answer":
            school.starts()
        else:
            school.votes_open()
        school.write(remove_the_first)
        for stranger in (Phone(client), elsewhere):
            response = stranger.tap(f"/s/{school.code}/{path}", **data)
            assert response.status_code == 404
            assert "Entre na sala primeiro." in response.text
        response = removed.tap(f"/s/{school.code}/{path}", **data)
        assert response.status_code == 409
        assert phase_of(response.text) == "removed"
        assert "tirou este aparelho da sala" in response.text
    members = rows(db, Participant)
    assert not any(m.has_more_time or m.consents_to_training for m in members)
    assert [rows(db, VoteEvent), rows(db, HumanAnswer)] == [[], []]


def remove_the_first(session: Session, room: Room) -> None:
    rooms.set_removed(session, room, rooms.participants(session, room)[0].id, True)


def test_a_form_of_another_site_is_refused(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    response = phone.ask(
        "POST",
        f"/s/{school.code}/votes",
        data={"kind": "thumb", "target": "left", "value": 1, "key": "k"},
        headers={"origin": "http://evil.test"},
    )
    assert response.status_code == 403
    assert not rows(school.db, VoteEvent)


def test_without_script_a_tap_leads_back_to_what_was_tapped(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    data = {"kind": "thumb", "target": "right", "value": "1", "key": "k"}
    response = phone.ask("POST", f"/s/{school.code}/votes", data=data)
    assert response.headers["location"] == f"/s/{school.code}#right"
    assert 'id="right"' in school.look(phone)
    given = phone.ask("POST", f"/s/{school.code}/consent", data={"given": "true"})
    assert given.headers["location"] == f"/s/{school.code}#consent"


def test_one_phone_that_taps_without_end_is_slowed_and_no_other(school: Class) -> None:
    fast, other = school.phone(), school.phone()
    school.votes_open()
    codes = [fast.votes(school.code, "thumb", "left", "k", value=1).status_code for _ in range(121)]
    assert codes == [200] * 120 + [429]
    assert other.votes(school.code, "thumb", "left", value=1).status_code == 200


def test_consent_is_off_until_it_is_given_and_can_be_taken_back(school: Class) -> None:
    phone = school.phone()
    school.votes_open()
    page = school.look(phone)
    assert "checked" not in page
    assert "Seu voto entra no placar desta aula. Só vira treino se você marcar a caixa." in page
    assert "checked" in phone.tap(f"/s/{school.code}/consent", given="true").text
    member = rows(school.db, Participant)[0]
    assert (member.consents_to_training, member.consent_version) == (True, 1)
    assert "checked" not in phone.tap(f"/s/{school.code}/consent").text
    assert not rows(school.db, Participant)[0].consents_to_training


# the reveal and after it


def test_the_reveal_says_who_was_who_and_what_one_had_guessed(school: Class) -> None:
    one, two = school.phone(), school.phone()
    school.votes_open()
    for phone in (one, two):
        school.look(phone)
        phone.votes(school.code, "guess", "pair", choice="left")
        phone.votes(school.code, "preference", "pair", choice="right")
    school.goes(Phase.CLOSED, Phase.REVEAL)
    right, wrong = (one, two) if base_side(school.db, 1) == "left" else (two, one)
    assert "Acertou:" in school.look(right)
    assert "você disse que o base era A, e era B." in school.look(wrong)
    assert "1 de 2 reconheceram o base." in school.look(one)
    late = school.look(school.phone())
    assert late.index("pane--base") < late.index("pane--tuned")
    assert "Sua escolha" not in late


def test_the_second_vote_is_fresh_has_names_and_takes_no_guess(school: Class) -> None:
    phone = school.phone()
    school.votes_open(has_second_vote=True)
    phone.votes(school.code, "preference", "pair", choice="left")
    school.goes(Phase.CLOSED, Phase.REVEAL, Phase.SECOND_VOTE)
    html = school.look(phone)
    assert pressed(html) == []
    assert "pane--tuned" in html
    assert 'id="guess"' not in html
    refused = phone.votes(school.code, "guess", "pair", choice="left")
    assert (refused.status_code, "Os nomes já estão à vista." in refused.text) == (409, True)
    phone.votes(school.code, "preference", "pair", choice="right")
    school.goes(Phase.REVEAL)
    html = school.look(phone)
    assert "Antes dos nomes, você escolheu:" in html
    school.goes(Phase.LOBBY)
    assert "Na última rodada" in school.look(phone)


def test_a_round_with_names_asks_for_no_guess(school: Class) -> None:
    phone = school.phone()
    school.votes_open(is_blind=False)
    html = school.look(phone)
    assert "pane--base" in html
    assert 'id="guess"' not in html


def test_the_class_result_is_that_of_the_other_pages(school: Class) -> None:
    school.votes_open(has_second_vote=True)
    phones = [school.phone() for _ in range(5)]
    choices = ("left", "left", "right", "tie", "both-bad")
    for phone, choice in zip(phones, choices, strict=True):
        phone.votes(school.code, "preference", "pair", choice=choice)
        phone.votes(school.code, "guess", "pair", choice="left")
    school.write(lambda s, room: rooms.set_removed(s, room, 1, True))
    school.goes(Phase.CLOSED, Phase.REVEAL, Phase.SECOND_VOTE)
    phones[1].votes(school.code, "preference", "pair", choice="right")
    for number in (1, 2):

        def work(session: Session, room: Room, number: int = number) -> None:
            round_ = rounds.current(session, room)
            assert round_ is not None
            mine = class_result(session, round_, number)
            theirs = tallies.count_votes(voters(session, [round_.id])[round_.id], number)
            assert mine.preferred[Verdict.TUNED] == theirs.preferences.share.k
            assert mine.preferred[Verdict.TIE] == theirs.preferences.ties
            assert mine.preferred[Verdict.BOTH_BAD] == theirs.preferences.both_bad
            assert mine.n_chosen == (4 if number == 1 else 1)
            assert mine.n_guessed == 4
            if number == 1:
                assert (mine.n_right, mine.n_guessed) == (theirs.guess.k, theirs.guess.n)

        school.write(work)


# free play


def test_own_prompts_only_where_the_host_allows_them_and_for_one_pair_of_eyes(
    school: Class,
) -> None:
    phone, other = school.phone(), school.phone()
    path = f"/s/{school.code}/exchanges"
    refused = phone.tap(path, text="Uma cor")
    assert (refused.status_code, "fechadas nesta sala" in refused.text) == (409, True)
    assert 'id="free-play"' not in school.look(phone)
    school.write(lambda s, room: rooms.set_free_play(s, room, True))
    empty = phone.tap(path, text=" ")
    assert (empty.status_code, empty.headers["hx-retarget"]) == (422, "#free-error")
    response = phone.tap(path, text="O rato <b>roeu</b>")
    public_id = exchange_id(response.text)
    assert "&lt;b&gt;roeu" in response.text
    wait_until(lambda: all(g.finish_reason for g in rows(school.db, Generation)))
    assert public_id in school.look(phone)
    assert public_id not in school.look(other)
    offer = f"/s/{school.code}/offers/{public_id}"
    assert other.tap(offer).status_code == 404
    assert "Oferecida" in phone.tap(offer).text
    assert rows(school.db, Prompt)[-1].offered_at is not None
    plain = phone.ask("POST", path, data={"text": "A rainha"})
    assert plain.headers["location"] == f"/s/{school.code}#free-play"
    assert "A rainha" in school.look(phone)


def test_a_rounds_pair_cannot_be_voted_on_as_if_it_were_ones_own(school: Class) -> None:
    """Its page would name the sides."""
    phone = school.phone()
    school.votes_open()
    school.look(phone)
    public_id = rows(school.db, Exposure)[0].public_id
    assert public_id not in school.look(phone)
    assert phone.get(f"/exchanges/{public_id}").status_code == 404
    assert phone.get(f"/exchanges/{public_id}/stream").status_code == 404
    data = {"side": "left", "value": "1", "key": "k"}
    assert phone.ask("POST", f"/exchanges/{public_id}/votes", data=data).status_code == 404


# leaving


def test_a_student_erases_only_what_is_their_own_and_only_if_sure(school: Class) -> None:
    mine, other = school.phone(), school.phone()
    school.votes_open()
    for phone in (mine, other):
        phone.votes(school.code, "thumb", "left", value=1)
    path = f"/s/{school.code}/erase-me"
    unsure = mine.ask("POST", path)
    assert (unsure.status_code, "Marque a caixa" in unsure.text) == (422, True)
    assert len(rows(school.db, VoteEvent)) == 2
    done = mine.ask("POST", path, data={"sure": "true"})
    assert done.headers["location"] == f"/s/{school.code}?erased=1"
    door = mine.get(done.headers["location"]).text
    assert "foi apagado" in door
    assert 'data-testid="join"' in door
    assert [p.pseudonym for p in rows(school.db, Participant)] == ["Onça 2"]
    assert len(rows(school.db, VoteEvent)) == 1
    assert mine.ask("POST", path, data={"sure": "true"}).status_code == 303  # again: nothing to do


def test_a_phone_that_comes_back_to_an_erased_room_is_told_and_let_go(school: Class) -> None:
    response = school.phone().get("/s/ZZZ999/stream")
    assert 'data-phase="gone"' in response.text
    assert "event: done" in response.text


def test_the_scripts_of_a_phone_weigh_less_than_60_kilobytes() -> None:
    names = re.findall(
        r'static_url\("([\w./-]+\.js)"\)', (ROOT / "templates/base.html").read_text()
    )
    names.append("js/room.js")
    assert len(names) >= 4
    sizes = [len(gzip.compress((ROOT / "static" / name).read_bytes())) for name in names]
    assert sum(sizes) < 60_000
