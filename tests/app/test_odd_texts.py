"""What people type for fun: markup, families of emoji, texts that run backwards, nothing at all, far too much.

Wherever a person's words are shown, they are text, and they turn nothing around that is not theirs.
"""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from support import HTMX, exchange_id, rows, wait_until

from app.db import Database
from app.services import rooms
from app.tables import Exposure, Generation, HumanAnswer, Participant, Prompt, Room

TEXTS = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)</script>',
    "' onfocus='alert(1)",
    "</textarea></title><b>oi",
    "{{ 7 * 7 }} {% raw %} %(n)s",
    "<hx-partial hx-target='body'>",
    "família 👩‍👩‍👧‍👦",
    "🇧🇷 e 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "de trás \u202erp arap etnerf",
    "\u2066\u2067sem fim \u202d",
    "مرحبا \u200f1\u200e بك",
    "a\u200bb\u200dc\ufeffd\u2060e",
    "q̴̛̗̈́ù̸̧e̵̝̒",
)
REFUSED = {
    "": "Escreva alguma coisa",
    " \t\n\u3000": "Escreva alguma coisa",
    "\u200b\u200d\ufeff\u202e\u00ad": "Escreva alguma coisa",
    "\u3164\u115f\u2800": "Escreva alguma coisa",
    "\ufe0f\u0301\u034f": "Escreva alguma coisa",
    "oi\x00": "não parece texto",
    "\x1b[31mvermelho": "não parece texto",
    "a" * 10_000: "O texto tem 10000 caracteres; cabem até %s.",
    "👩‍👩‍👧‍👦" * 1_500: "cabem até %s.",
    "<b>" * 3_400: "cabem até %s.",
    "\u202e" * 9_999 + "a": "cabem até %s.",
}
VOID = frozenset(
    ["area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)


class Page(HTMLParser):
    """Every piece of text of a page, with the elements around it; refuses what can run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.around: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[tuple[str, dict[str, str | None]]]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert not [name for name in found if name.startswith("on")], found
        assert tag != "img"
        assert tag != "script" or "src" in found
        assert "body" not in (found.get("hx-target") or "")
        if tag not in VOID:
            self.around.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        while self.around and self.around.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((data, list(self.around)))

    def shows(self, text: str) -> bool:
        """Whether the text is there, each time kept apart from the direction of what is around it."""
        places = [around for data, around in self.texts if text in data]
        for around in places:
            apart = [tag for tag, found in around if tag == "bdi" or found.get("dir") == "auto"]
            assert apart, around[-3:]
        return bool(places)


class Class:
    """A room, its host and one student, all in one browser."""

    def __init__(self, client: TestClient, db: Database) -> None:
        self.client, self.db = client, db
        room, tokens = db.write_now(rooms.create)
        self.id, self.code = room.id, room.code
        self.student = f"/s/{room.code}"
        self.host, self.projector = f"/host/{tokens.host}", f"/projector/{tokens.projector}"
        self.post(f"{self.student}/join")

    def post(self, path: str, **form: Any) -> Response:
        response: Response = self.client.post(path, data=form)
        return response

    def pages(self, *addresses: str) -> list[str]:
        return [self.client.get(address).text for address in addresses]

    def start(self, prompt_id: int) -> None:
        version = self.db.read_now(lambda session: session.get_one(Room, self.id)).version
        form = {"version": version, "prompt_id": prompt_id, "asks_people": "true", "n_samples": 0}
        assert self.post(f"{self.host}/rounds", **form).status_code == 200


def as_name(class_: Class, text: str) -> tuple[Response, Callable[[], list[str]]]:
    person = rows(class_.db, Participant)[-1].id
    response = class_.post(f"{class_.host}/people/{person}/name", pseudonym=text)
    return response, lambda: class_.pages(class_.host, class_.student)


def as_answer(class_: Class, text: str) -> tuple[Response, Callable[[], list[str]]]:
    class_.start(rows(class_.db, Prompt)[-1].id)
    response = class_.post(f"{class_.student}/answer", text=text)
    return response, lambda: class_.pages(class_.host, class_.student)


def as_teachers_question(class_: Class, text: str) -> tuple[Response, Callable[[], list[str]]]:
    response = class_.post(f"{class_.host}/prompts", text=text, kind="words")

    def pages() -> list[str]:
        before = class_.pages(class_.host)
        class_.start(rows(class_.db, Prompt)[-1].id)
        return before + class_.pages(class_.host, class_.projector, class_.student)

    return response, pages


def as_students_question(class_: Class, text: str) -> tuple[Response, Callable[[], list[str]]]:
    class_.post(f"{class_.host}/free-play", is_allowed="true")
    response = class_.client.post(f"{class_.student}/exchanges", data={"text": text}, headers=HTMX)

    def pages() -> list[str]:
        wait_until(lambda: all(g.finish_reason for g in rows(class_.db, Generation)))
        class_.post(f"{class_.student}/offers/{exchange_id(response.text)}")
        offered = class_.pages(class_.host, class_.student)
        prompt = rows(class_.db, Exposure)[-1].prompt_id
        class_.post(f"{class_.host}/offers/{prompt}/approved", is_approved="true")
        class_.post(f"{class_.host}/shown", prompt_id=prompt)
        return [response.text, *offered, *class_.pages(class_.projector, class_.host)]

    return response, pages


WAYS = {
    as_name: 30,
    as_answer: 100,
    as_teachers_question: 500,
    as_students_question: 500,
}


@pytest.mark.parametrize("say", WAYS)
def test_whatever_is_said_is_shown_as_text_and_turns_nothing_around(
    client: TestClient, db: Database, say: Any
) -> None:
    for text in TEXTS:
        response, pages = say(Class(client, db), text)
        assert response.status_code == 200, (text, response.text)
        for html in pages():
            assert Page(html).shows(text), (text, html)


@pytest.mark.parametrize("say", WAYS)
def test_what_cannot_be_shown_is_refused_with_a_sentence(
    client: TestClient, db: Database, say: Any
) -> None:
    class_ = Class(client, db)
    name = rows(db, Participant)[0].pseudonym
    for text, sentence in REFUSED.items():
        if say is as_answer:
            class_ = Class(client, db)
        response, _ = say(class_, text)
        assert response.status_code == 422, text[:40]
        wanted = sentence % WAYS[say] if "%" in sentence else sentence
        assert [data for data, _ in Page(response.text).texts if wanted in data], text[:40]
    assert rows(db, Participant)[0].pseudonym == name
    assert not rows(db, HumanAnswer)
    assert len(rows(db, Prompt)) == 5 * len(rows(db, Room))
