import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError
from support import HTMX, exchange_id, rows, slow_down, wait_until

from app.db import Database
from app.services import exchanges, jobs
from app.services.exchanges import DECK
from app.tables import Checkpoint, Exposure, Generation, Participant, Prompt
from model.chat import chat_prompt, raw_prompt
from model.config import SamplingParams
from model.engine import Engine, Request, generate
from model.pair import Pair


def test_the_front_page_shows_the_five_prompts_and_both_panes(client: TestClient) -> None:
    page = client.get("/").text
    assert page.count('data-testid="prompt-chip"') == 5
    assert all(prompt in page for prompt in DECK)
    assert "só leu" in page
    assert "leu e depois treinou com perguntas" in page


def test_without_script_the_form_answers_on_a_page_of_its_own(
    client: TestClient, db: Database
) -> None:
    response = client.post("/exchanges", data={"deck": "2"})
    assert response.status_code == 200
    assert str(response.url.path).startswith("/exchanges/")
    assert response.text.count('data-state="done"') == 2
    assert response.text.count('data-testid="thumb-up"') == 2
    assert rows(db, Prompt)[0].text == DECK[2]
    assert rows(db, Prompt)[0].is_from_deck


def test_every_answer_is_kept_with_what_makes_it_again(
    client: TestClient, db: Database, pair: Pair
) -> None:
    client.post("/exchanges", data={"text": "Roma"})
    exposure = rows(db, Exposure)[0]
    kept = {g.id: g for g in rows(db, Generation)}
    checkpoints = {c.id: c for c in rows(db, Checkpoint)}
    base, tuned = kept[exposure.left_id], kept[exposure.right_id]
    assert [checkpoints[g.checkpoint_id].role for g in (base, tuned)] == ["base", "tuned"]
    assert (base.envelope, tuned.envelope) == ("raw", "chat")
    assert base.prompt_ids == raw_prompt(pair.base.tokenizer, "Roma")
    assert tuned.prompt_ids == chat_prompt(
        pair.tuned.tokenizer, [{"role": "user", "content": "Roma"}]
    )
    for row, checkpoint in ((base, pair.base), (tuned, pair.tuned)):
        params = SamplingParams(
            temperature=row.temperature,
            top_k=row.top_k,
            top_p=row.top_p,
            max_tokens=row.max_tokens,
            seed=row.seed,
        )
        again = generate(
            Engine({"it": checkpoint}),
            [Request(checkpoint="it", prompt_ids=row.prompt_ids, params=params)],
        )[0]
        assert "".join(e.text for e in again).replace("\x00", "\ufffd") == row.text
        assert [e.token_id for e in again] == row.completion_ids
        assert len(row.logps) == len(row.completion_ids)
        assert row.finish_reason == again[-1].finish
        assert 0 <= row.queue_ms <= row.first_token_ms <= row.total_ms


def test_one_stream_carries_both_sides_and_ends(client: TestClient, db: Database) -> None:
    panes = client.post("/exchanges", data={"text": "O rato"}, headers=HTMX).text
    assert 'data-state="writing"' in panes
    stream = client.get(f"/exchanges/{exchange_id(panes)}/stream").text
    assert stream.rstrip().endswith("event: done\ndata: 1")
    exposure = rows(db, Exposure)[0]
    for side, generation_id in (("left", exposure.left_id), ("right", exposure.right_id)):
        assert f'hx-target="#answer-{side}-{exposure.public_id}"' in stream
        assert next(g for g in rows(db, Generation) if g.id == generation_id).finish_reason


def test_a_stream_goes_on_where_the_page_stopped(client: TestClient, db: Database) -> None:
    """Whether it comes in time for the text or only for the end, nothing is shown twice."""
    public_id = exchange_id(client.post("/exchanges", data={"text": "O rato"}, headers=HTMX).text)
    stream = client.get(f"/exchanges/{public_id}/stream?left=100000&right=100000").text
    assert 'hx-target="#text-' not in stream
    assert stream.count('data-state="done"') == 2


def test_a_finished_exchange_streams_its_end_at_once(client: TestClient) -> None:
    page = client.post("/exchanges", data={"text": "O rato"}).text
    stream = client.get(f"/exchanges/{exchange_id(page)}/stream").text
    assert stream.count('data-state="done"') == 2
    assert stream.rstrip().endswith("event: done\ndata: 1")


def test_the_front_page_comes_back_to_the_last_exchange(client: TestClient) -> None:
    page = client.post("/exchanges", data={"text": "A rainha"}).text
    assert exchange_id(client.get("/").text) == exchange_id(page)
    assert "A rainha" not in client.get("/?new=1").text


def test_who_leaves_frees_the_place_and_what_was_written_is_kept(
    client: TestClient, db: Database, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = client.app.state.services.generation  # type: ignore[attr-defined]
    generation.leave_grace_s = 0.2
    slow_down(client, monkeypatch, 0.05)
    client.post("/exchanges", data={"text": "O rato roeu"}, headers=HTMX)  # and nobody watches
    wait_until(lambda: not generation.jobs)
    kept = rows(db, Generation)
    assert [g.finish_reason for g in kept] == ["cancelled"] * 2
    assert all(0 < len(g.completion_ids) < g.max_tokens for g in kept)
    assert not generation.engine.has_work


def test_an_engine_that_fails_before_the_first_word_is_made_anew_unnoticed(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = client.app.state.services.generation.engine  # type: ignore[attr-defined]
    step = engine.step

    def fail_once() -> None:
        monkeypatch.setattr(engine, "step", step)
        raise RuntimeError("out of memory, for the test")

    monkeypatch.setattr(engine, "step", fail_once)
    assert "Houve uma falha" not in client.post("/exchanges", data={"text": "O rato"}).text
    assert all(g.text and g.finish_reason != "error" for g in rows(db, Generation))
    assert client.get("/healthz").json()["engine_restarts"] == 1


def test_a_save_that_fails_at_first_is_tried_again(
    client: TestClient, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SAVE_DELAYS_S", (0.01, 0.01, 0.01))
    failures = fail_saves(monkeypatch, 2)  # fewer than the tries of one side
    page = client.post("/exchanges", data={"text": "O rato"}).text
    assert not failures
    assert "Houve uma falha" not in page
    assert all(g.text for g in rows(db, Generation))


def test_an_answer_that_cannot_be_saved_is_shown_as_failed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "SAVE_DELAYS_S", (0.01, 0.01))
    fail_saves(monkeypatch, 100)
    page = client.post("/exchanges", data={"text": "O rato"}).text
    assert page.count("Houve uma falha no meio da resposta") == 2


def fail_saves(monkeypatch: pytest.MonkeyPatch, n: int) -> list[None]:
    """The next n saves of an answer fail as a locked database would; what is left of them comes back."""
    left: list[None] = [None] * n
    save = exchanges.save_all

    def fail(*args: Any) -> list[None]:
        if left:
            left.pop()
            raise OperationalError("UPDATE", None, Exception("database is locked"))
        return save(*args)

    monkeypatch.setattr(exchanges, "save_all", fail)
    return left


def test_many_taps_in_one_instant_cannot_overfill_the_room(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(client, monkeypatch, 0.2)
    start = threading.Barrier(20)
    statuses = []

    def tap(n: int) -> None:
        start.wait()
        response = client.post("/exchanges", data={"text": f"rato {n}"}, headers=HTMX)
        statuses.append(response.status_code)

    threads = [threading.Thread(target=tap, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 8 + [503] * 12


def test_two_first_prompts_of_one_browser_are_one_participant(
    client: TestClient, db: Database
) -> None:
    client.cookies.set("participante", "um-cookie-de-outro-banco")
    threads = [
        threading.Thread(
            target=client.post, args=("/exchanges",), kwargs={"data": {"text": "rato"}}
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(db, Participant)) == 1
    assert len(rows(db, Exposure)) == 6


def test_a_full_room_says_when_to_come_back(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_down(client, monkeypatch, 0.2)
    answers = [
        client.post("/exchanges", data={"text": f"rato {i}"}, headers=HTMX) for i in range(9)
    ]
    assert [a.status_code for a in answers] == [200] * 8 + [503]
    assert "A sala está cheia" in answers[8].text
    assert answers[8].headers["retry-after"] == "5"


BAD_PROMPTS = {
    "": "Escreva alguma coisa",
    "   \n ": "Escreva alguma coisa",
    "\u200b\u200e": "Escreva alguma coisa",
    "a" * 501: "501 caracteres",
    "🦜" * 10_000: "10000 caracteres",
    "abc\x00def": "não parece texto",
    "\x1b[31m": "não parece texto",
    "🦜" * 40: "virou",  # few characters, more tokens than the tiny context holds
}


@pytest.mark.parametrize("prompt", BAD_PROMPTS)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_bad_prompt_gets_a_sentence_and_stays_in_the_box(
    client: TestClient, db: Database, prompt: str, headers: dict[str, str]
) -> None:
    response = client.post("/exchanges", data={"text": prompt}, headers=headers)
    assert response.status_code == 422
    assert BAD_PROMPTS[prompt] in response.text
    assert not rows(db, Prompt)
    if headers:
        assert response.headers["hx-retarget"] == "#composer-error"
    elif len(prompt) < 1000 and prompt.isprintable():
        assert f">{prompt}</textarea>" in response.text


def test_bytes_that_are_no_text_get_a_sentence(client: TestClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    response = client.post("/exchanges", content=b"text=%ff%fe%00%80", headers=form)
    assert response.status_code == 422
    assert "não parece texto" in response.text


@pytest.mark.parametrize(
    "prompt", ["مرحبا بالعالم", "<b>oi</b>", "<|fim|>", "'; DROP TABLE prompt;--"]
)
def test_any_script_and_any_markup_is_text(client: TestClient, db: Database, prompt: str) -> None:
    response = client.post("/exchanges", data={"text": prompt})
    assert response.status_code == 200
    assert rows(db, Prompt)[0].text == prompt
    assert "<b>oi</b>" not in response.text


def test_markup_in_an_answer_is_text(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    evil = pair.base.tokenizer.encode('<hx-partial hx-target="body"><script>alert(1)</script>')
    engine = client.app.state.services.generation.engine  # type: ignore[attr-defined]

    def script(host, first, hidden):  # type: ignore[no-untyped-def]
        """The network is run as always; what it would say is replaced."""
        events = real(host, first, hidden)
        return [
            type(e)(
                e.sequence_id,
                pair.base.tokenizer.decode(evil),
                e.token_id,
                e.logp,
                e.finish,
                e.queue_ms,
            )
            for e in events
        ]

    real = engine._draw
    monkeypatch.setattr(engine, "_draw", script)
    panes = client.post("/exchanges", data={"text": "oi"}, headers=HTMX).text
    stream = client.get(f"/exchanges/{exchange_id(panes)}/stream").text
    page = client.get("/").text
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page + stream
    assert '<hx-partial hx-target="body">' not in page + stream


def test_another_visitor_sees_nothing_of_it(client: TestClient) -> None:
    public_id = exchange_id(client.post("/exchanges", data={"text": "Segredo"}).text)
    client.cookies.clear()
    for path in (f"/exchanges/{public_id}", f"/exchanges/{public_id}/stream", "/exchanges/nada"):
        response = client.get(path)
        assert response.status_code == 404
        assert "não existe ou não é sua" in response.text
        assert "Segredo" not in response.text


def test_two_visitors_at_once_both_get_answers(client: TestClient, db: Database) -> None:
    def ask(n: int) -> None:
        response = client.post("/exchanges", data={"text": f"rato {n}"})
        assert response.text.count('data-state="done"') == 2

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(db, Generation)) == 8
    assert all(g.finish_reason for g in rows(db, Generation))


def test_choosing_a_language_leads_back_to_the_same_page_only(client: TestClient) -> None:
    def chosen(referer: str) -> str:
        response = client.post(
            "/language",
            data={"language": "en"},
            headers={"referer": referer},
            follow_redirects=False,
        )
        return response.headers["location"]

    assert chosen("http://turma.test/s/ABC234") == "/s/ABC234"
    for elsewhere in ("http://evil.test/s/ABC234", "http://turma.test//evil.test", ""):
        assert chosen(elsewhere) == "/"
