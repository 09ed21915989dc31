"""The host's and the projector's pages over HTTP: what moves a room, who may, and what is not shown too early."""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy.orm import Session
from support import HTMX, answer, cast, rows, slow_down, wait_until

from app.db import Database
from app.routes.host import PARTS
from app.security import hash_token
from app.services import rooms, rounds
from app.services.room_votes import Ballot
from app.services.rooms import RoomTokens
from app.tables import (
    AnswerKind,
    Author,
    Choice,
    Exposure,
    Generation,
    Participant,
    Phase,
    Prompt,
    Room,
    Round,
    SampleBatch,
    Target,
    VoteKind,
    now,
)

NUMBER = 2  # the deck's third: a number from 1 to 100
TELLTALE = re.compile(r"base|fine-tuned|tuned|envelope|checkpoint", re.IGNORECASE)


@dataclass
class Host:
    """A host's window on a room of its own."""

    client: TestClient
    db: Database
    tokens: RoomTokens
    room_id: int

    def room(self) -> Room:
        return self.db.read_now(lambda session: session.get_one(Room, self.room_id))

    def post(self, path: str, headers: dict[str, str] | None = None, **form: Any) -> Response:
        return self.client.post(f"/host/{self.tokens.host}/{path}", data=form, headers=headers)

    def page(self) -> str:
        return self.client.get(f"/host/{self.tokens.host}").text

    def projector(self) -> str:
        return self.client.get(f"/projector/{self.tokens.projector}").text

    def prompts(self) -> list[Prompt]:
        return [p for p in rows(self.db, Prompt) if p.room_id == self.room_id]

    def start(self, number: int = NUMBER, **options: Any) -> Response:
        form = {"asks_people": "true", "is_blind": "true", "n_samples": 4, **options}
        form = {name: value for name, value in form.items() if value is not None}
        prompt_id = self.prompts()[number].id
        return self.post("rounds", version=self.room().version, prompt_id=prompt_id, **form)

    def step(self, to: Phase) -> Response:
        return self.post("phase", version=self.room().version, to=to)

    def write(self, work: Callable[[Session, Room], object]) -> None:
        """As the phones would."""
        self.db.write_now(lambda session: work(session, session.get_one(Room, self.room_id)))

    def until_voting(self, **options: Any) -> None:
        """A round whose answers are in view."""
        self.start(**options)
        if self.room().phase == Phase.HUMAN:
            self.step(Phase.ANSWERS)
        wait_until(lambda: rows(self.db, Round)[-1].released_at is not None)
        self.write(lambda session, room: _release_long_ago(session, room))
        self.step(Phase.VOTING)
        assert self.room().phase == Phase.VOTING


def _release_long_ago(session: Session, room: Room) -> None:
    round_ = rounds.current(session, room)
    assert round_ is not None
    round_.released_at = now() - timedelta(minutes=1)


def _new_host(client: TestClient, db: Database) -> Host:
    room, tokens = db.write_now(rooms.create)
    return Host(client, db, tokens, room.id)


@pytest.fixture
def host(client: TestClient, db: Database) -> Host:
    return _new_host(client, db)


def _join(session: Session, room: Room, cookies: str) -> list[Participant]:
    found = [rooms.join(session, room, cookie) for cookie in cookies]
    for participant in found:
        participant.last_seen_at = now()
    return found


def phase_of(html: str) -> str:
    match = re.search(r'data-testid="phase" data-phase="([\w-]+)"', html)
    assert match, html[:500]
    return match[1]


def test_a_new_room_is_ready_for_its_first_round(host: Host) -> None:
    page = host.page()
    assert phase_of(page) == Phase.LOBBY
    assert page.count('data-testid="prompt"') == 5
    assert host.room().code in page
    assert f"/projector/{host.tokens.projector}" in page
    assert "http://turma.test/s/" + host.room().code in page
    assert host.tokens.host not in host.projector()  # the projector cannot become the host
    assert re.search(r'<button[^>]*data-testid="next-phase"', page)


def test_a_whole_round_from_the_class_to_the_result(host: Host) -> None:
    host.write(lambda session, room: _join(session, room, "abc"))
    assert 'data-n="3"' in host.page()
    host.start(has_second_vote="true", countdown_s=60)
    assert phase_of(host.page()) == phase_of(host.projector()) == Phase.HUMAN

    def say(session: Session, room: Room) -> None:
        for person, text in zip(rooms.participants(session, room), ["7", "37"], strict=False):
            answer(session, room, person, text)

    host.write(say)
    assert "2 de 3 responderam" in host.page()
    assert "2 de 3 responderam" in host.projector()
    host.step(Phase.ANSWERS)
    wait_until(lambda: rows(host.db, Round)[-1].released_at is not None)
    assert 'data-testid="next-phase"' not in host.page()  # they are still coming into view
    assert host.step(Phase.VOTING).status_code == 409
    host.write(_release_long_ago)
    host.step(Phase.VOTING)
    host.write(vote_of_two)
    for page in (host.page(), host.projector()):
        assert "2 de 3 votaram" in page
    assert "result-row" not in host.page()
    host.step(Phase.CLOSED)
    for role in ("base", "tuned"):
        assert f'data-testid="result-row" data-checkpoint="{role}"' in host.page()
    assert "result-row" not in host.projector()
    seeds = re.findall(r"rodada 1: base (\d+), fine-tuned (\d+)", host.page())
    round_ = rows(host.db, Round)[-1]
    written = {g.id: str(g.seed) for g in rows(host.db, Generation)}
    assert seeds == [(written[round_.base_id], written[round_.tuned_id])]
    assert f"/host/{host.tokens.host}/report#models" in host.page()
    host.step(Phase.REVEAL)
    for role in ("base", "tuned"):
        assert f'data-testid="result-row" data-checkpoint="{role}"' in host.projector()
    host.step(Phase.SECOND_VOTE)
    assert "result-row" not in host.projector()
    assert "0 de 3 votaram" in host.projector()
    host.step(Phase.REVEAL)
    host.step(Phase.LOBBY)
    assert phase_of(host.projector()) == Phase.LOBBY
    assert "result-row" in host.projector()  # the last result, on demand
    assert {len(batch.texts) for batch in rows(host.db, SampleBatch)} <= {1, 2, 3, 4}


def vote_of_two(session: Session, room: Room) -> None:
    for person in rooms.participants(session, room)[:2]:
        up = Ballot(kind=VoteKind.THUMB, target=Target.LEFT, value=1)
        left = Ballot(kind=VoteKind.PREFERENCE, target=Target.PAIR, choice=Choice.LEFT)
        cast(session, room, person, up, f"a{person.id}")
        cast(session, room, person, left, f"b{person.id}")


def stage_of(html: str) -> str:
    """What is in the stage, without the page around it."""
    return html[html.index('id="stage"') : html.index("<dialog")]


def test_nothing_on_the_projector_tells_who_is_who_before_the_reveal(host: Host) -> None:
    host.write(lambda session, room: _join(session, room, "abc"))
    host.start()
    seen = [host.projector()]
    host.step(Phase.ANSWERS)
    wait_until(lambda: rows(host.db, Round)[-1].released_at is not None)
    seen.append(host.projector())
    host.write(_release_long_ago)
    for phase in (Phase.VOTING, Phase.CLOSED):
        host.step(phase)
        if phase == Phase.VOTING:
            host.write(vote_of_two)
            voting = stage_of(host.projector())
            assert "Polegares" not in voting  # a tally
            assert "chart" not in voting
        seen.append(host.projector())
    for html in seen:
        prompt = host.prompts()[NUMBER].text
        assert not TELLTALE.search(stage_of(html).replace(prompt, ""))
    host.step(Phase.REVEAL)
    assert TELLTALE.search(stage_of(host.projector()))


def test_the_order_on_the_projector_stays_within_a_round_and_changes_between_rounds(
    host: Host,
) -> None:
    firsts = []
    for _ in range(12):
        host.until_voting(asks_people=None, n_samples=0)
        texts = re.findall(r'class="duo__text"[^>]*>([^<]*)<', host.projector())
        host.step(Phase.CLOSED)
        assert re.findall(r'class="duo__text"[^>]*>([^<]*)<', host.projector()) == texts
        host.step(Phase.REVEAL)
        firsts.append(re.findall(r"duo__one--(base|tuned)", host.projector())[0])
        host.step(Phase.LOBBY)
    assert set(firsts) == {"base", "tuned"}  # one in two thousand times they are all the same


def test_an_open_round_has_names_from_the_start_and_no_closing(host: Host) -> None:
    host.until_voting(is_blind=None, asks_people=None)
    assert "duo__one--base" in host.projector()
    assert host.step(Phase.CLOSED).status_code == 409
    host.step(Phase.REVEAL)
    assert phase_of(host.page()) == Phase.REVEAL


def test_a_window_that_is_behind_moves_nothing_and_says_so(host: Host) -> None:
    version = host.room().version
    host.start()
    late = host.post("phase", version=version, to=Phase.ANSWERS)
    assert late.status_code == 409
    assert "já está em outro passo" in late.text
    assert phase_of(late.text) == Phase.HUMAN  # with the present state
    by_script = host.post("phase", headers=HTMX, version=version, to=Phase.ANSWERS)
    assert by_script.status_code == 409
    assert by_script.text.count("<hx-partial") == len(PARTS) + 1
    assert "já está em outro passo" in by_script.text
    assert host.room().phase == Phase.HUMAN


def test_two_hosts_in_the_same_instant_take_one_step(host: Host) -> None:
    host.start()
    version, statuses, start = host.room().version, [], threading.Barrier(4)

    def tap() -> None:
        start.wait()
        statuses.append(host.post("phase", version=version, to=Phase.ANSWERS).status_code)

    threads = [threading.Thread(target=tap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409, 409, 409]
    assert host.room().version == version + 1


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("rounds", {"version": 0, "prompt_id": 0}),
        ("phase", {"version": 0, "to": "lobby"}),
        ("prompts", {"text": "Diga uma cor", "kind": "words"}),
        ("people/1/name", {"pseudonym": "Ana"}),
        ("people/1/removed", {"is_removed": "true"}),
        ("free-play", {"is_allowed": "true"}),
        ("offers/1/approved", {"is_approved": "true"}),
        ("shown", {"prompt_id": 1}),
        ("kept", {"days": 3}),
        ("erase", {}),
    ],
)
def test_only_the_hosts_own_token_moves_a_room(
    host: Host, client: TestClient, db: Database, path: str, form: dict[str, Any]
) -> None:
    tokens = ["adivinhado", host.tokens.projector, host.room().code, hash_token(host.tokens.host)]
    for token in tokens:
        response = client.post(f"/host/{token}/{path}", data=form)
        assert response.status_code == 404
        assert "não existe" in response.text
    foreign = client.post(
        f"/host/{host.tokens.host}/{path}", data=form, headers={"origin": "http://mau.test"}
    )
    assert foreign.status_code == 403
    room = host.room()
    assert (room.version, room.allows_free_play, len(host.prompts())) == (0, False, 5)


def test_the_rooms_of_others_stay_theirs(host: Host, client: TestClient, db: Database) -> None:
    """With the right token of one room and the ids of another."""
    other = _new_host(client, db)
    other.write(lambda session, room: _join(session, room, "a"))
    (person,) = rows(db, Participant)
    prompt = other.prompts()[0]
    assert host.post(f"people/{person.id}/name", pseudonym="Ana").status_code == 404
    assert host.post(f"people/{person.id}/removed", is_removed="true").status_code == 404
    assert host.post("rounds", version=0, prompt_id=prompt.id).status_code == 404
    assert host.post("shown", prompt_id=prompt.id).status_code == 404
    assert host.post(f"offers/{prompt.id}/approved", is_approved="true").status_code == 404
    (after,) = rows(db, Participant)
    assert (after.pseudonym, after.removed_at) == (person.pseudonym, None)


@pytest.mark.parametrize("path", ["", "/stream", "/erase"])
def test_a_guessed_address_shows_nothing(host: Host, client: TestClient, path: str) -> None:
    for token in ("adivinhado", host.tokens.projector, "ção"):
        assert client.get(f"/host/{token}{path}").status_code == 404
    if path != "/erase":
        for token in ("adivinhado", host.tokens.host):
            assert client.get(f"/projector/{token}{path}").status_code == 404


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("rounds", {"version": "x", "prompt_id": 1}),
        ("rounds", {"version": 0, "prompt_id": 10**30}),
        ("phase", {"version": 0, "to": "nowhere"}),
        ("phase", {"to": "voting"}),
        ("prompts", {"text": " ", "kind": "words"}),
        ("prompts", {"text": "a" * 501, "kind": "words"}),
        ("prompts", {"text": "Uma cor", "kind": "colour"}),
        ("people/1/removed", {}),
        ("kept", {"days": 0}),
        ("kept", {"days": 366}),
    ],
)
def test_what_makes_no_sense_gets_a_sentence(host: Host, path: str, form: dict[str, Any]) -> None:
    response = host.post(path, **form)
    assert response.status_code == 422
    assert re.search(r"<p class=\"host__error\"|error__title", response.text)
    assert (host.room().version, len(host.prompts())) == (0, 5)


@pytest.mark.parametrize("options", [{"n_samples": 201}, {"countdown_s": 4}])
def test_impossible_options_start_nothing(host: Host, options: dict[str, Any]) -> None:
    assert host.start(**options).status_code == 422
    assert not rows(host.db, Round)


def test_an_own_prompt_is_added_with_its_kind_and_shown_as_text(host: Host) -> None:
    text = "Diga <b>bem</b> rápido: uma cor 🎨 ‮x"
    assert host.post("prompts", text=text, kind="words").status_code == 200
    added = host.prompts()[-1]
    assert (added.text, added.answer_kind, added.author) == (text, "words", Author.TEACHER)
    assert "&lt;b&gt;bem&lt;/b&gt;" in host.page()
    host.start(5)
    assert "&lt;b&gt;bem&lt;/b&gt;" in host.projector()


def test_a_prompt_that_the_models_cannot_read_is_refused_when_it_is_added(host: Host) -> None:
    response = host.post("prompts", text="🦜" * 60, kind="text")  # few letters, many tokens
    assert response.status_code == 422
    assert "tokens" in response.text
    assert len(host.prompts()) == 5


def test_people_are_renamed_removed_and_let_in_again(host: Host) -> None:
    host.write(lambda session, room: _join(session, room, "ab"))
    first = rows(host.db, Participant)[0]
    host.post(f"people/{first.id}/name", pseudonym=" <i>Capivara</i>  feliz ")
    assert "&lt;i&gt;Capivara&lt;/i&gt; feliz" in host.page()
    host.post(f"people/{first.id}/removed", is_removed="true")
    assert "Fora da sala" in host.page()
    assert 'data-testid="n-present" data-n="1"' in host.page()
    host.post(f"people/{first.id}/removed", is_removed="false")
    assert "Fora da sala" not in host.page()
    assert host.post(f"people/{first.id}/name", pseudonym="x" * 31).status_code == 422


def offer(session: Session, room: Room) -> None:
    """A student's own exchange, offered to the class."""
    (student,) = _join(session, room, "a")
    prompt = Prompt(
        room_id=room.id,
        participant_id=student.id,
        author=Author.STUDENT,
        answer_kind=AnswerKind.TEXT,
        text="Quem descobriu <o> Brasil?",
        is_from_deck=False,
        offered_at=now(),
    )
    session.add(prompt)
    session.flush()
    round_ = session.query(Round).one()
    assert round_.base_id
    assert round_.tuned_id
    session.add(
        Exposure(
            public_id="oferta",
            participant_id=student.id,
            prompt_id=prompt.id,
            left_id=round_.base_id,
            right_id=round_.tuned_id,
            revealed_at=now(),
        )
    )


def test_an_offer_reaches_the_projector_only_when_approved_and_shown(host: Host) -> None:
    host.until_voting(asks_people=None)
    host.step(Phase.CLOSED)
    host.step(Phase.REVEAL)
    host.step(Phase.LOBBY)
    host.write(offer)
    prompt_id = host.prompts()[-1].id
    assert "Quem descobriu &lt;o&gt; Brasil?" in host.page()
    assert "Quem descobriu" not in host.projector()
    assert host.post("shown", prompt_id=prompt_id).status_code == 409  # not approved
    host.post(f"offers/{prompt_id}/approved", is_approved="true")
    assert "Quem descobriu" not in host.projector()
    host.post("shown", prompt_id=prompt_id)
    assert "Quem descobriu &lt;o&gt; Brasil?" in host.projector()
    host.post(f"offers/{prompt_id}/approved", is_approved="false")
    assert "Quem descobriu" not in host.projector()


def test_free_play_and_the_days_kept_are_the_hosts_to_set(host: Host) -> None:
    host.post("free-play", is_allowed="true")
    assert host.room().allows_free_play
    assert "Fechar as perguntas livres" in host.page()
    host.post("kept", days=7)
    room = host.room()
    assert (room.erase_at - room.created_at).days == 7
    assert 'name="days" value="7"' in host.page()


def test_erasing_asks_first_and_leaves_nothing(host: Host, client: TestClient) -> None:
    host.write(lambda session, room: _join(session, room, "ab"))
    host.until_voting()
    host.write(vote_of_two)
    assert f'href="/host/{host.tokens.host}/erase"' in host.page()
    asked = client.get(f"/host/{host.tokens.host}/erase")
    assert "2 pessoas" in asked.text
    assert len(rows(host.db, Room)) == 1
    host.post("erase")
    for table in (Room, Participant, Prompt, Round, Exposure, SampleBatch):
        assert not rows(host.db, table)
    assert client.get(f"/host/{host.tokens.host}").status_code == 404
    assert client.get(f"/projector/{host.tokens.projector}").status_code == 404


def test_the_summary_waits_for_an_open_vote(host: Host, client: TestClient) -> None:
    address = f"/projector/{host.tokens.projector}/summary"
    host.write(lambda session, room: _join(session, room, "ab"))
    host.until_voting()
    host.write(vote_of_two)
    for _ in range(2):  # voting, then closed
        assert "summary-row" not in client.get(address).text
        if host.room().phase == Phase.VOTING:
            host.step(Phase.CLOSED)
    host.step(Phase.REVEAL)
    assert client.get(address, headers=HTMX).text.count("summary-row") == 2
    assert client.get("/projector/adivinhado/summary").status_code == 404


def test_a_round_that_is_cancelled_leaves_the_models_alone(
    host: Host, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(client, monkeypatch, 0.02)
    host.start(asks_people=None)
    assert "Os modelos estão escrevendo" in host.page()
    host.step(Phase.LOBBY)
    assert phase_of(host.page()) == Phase.LOBBY
    wait_until(lambda: rows(host.db, Round)[-1].released_at is not None)
    assert phase_of(host.page()) == Phase.LOBBY
    assert "result-row" not in host.projector()


def test_pages_with_secrets_in_their_address_are_not_kept(host: Host, client: TestClient) -> None:
    for path in (f"/host/{host.tokens.host}", f"/projector/{host.tokens.projector}", "/teacher"):
        assert client.get(path).headers["cache-control"] == "no-store"
