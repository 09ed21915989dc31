"""One prompt put to both checkpoints: what may be asked, what is kept, who may see it."""

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.orm import Session, joinedload

from app import __version__
from app.errors import N_, Invalid, NotFound
from app.services.jobs import Plan, Result
from app.tables import (
    Exposure,
    Finish,
    Generation,
    Participant,
    Role,
    Side,
    now,
)

MAX_PROMPT_CHARACTERS = 500
ABANDONED_AFTER = timedelta(minutes=5)
RECENT = timedelta(hours=1)  # how long the front page goes on showing a visitor's last exchange

DECK = (  # slide 6 of the lecture, word for word
    "Quem é a mãe de Anitta?",
    "Diga bem rápido: o nome de uma fruta e de uma ferramenta?",
    "Diga bem rápido: um número de 1 a 100",
    "Diga bem rápido: os três melhores restaurantes de Paris",
    "Diga bem rápido: qual a cidade mais alta do Brasil?",
)
BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and a symbol to Unicode, nothing to the eye
NOT_TEXT = N_("Isto não parece texto: há caracteres que não se podem ler.")
SIDE_OF = {Role.BASE: Side.LEFT, Role.TUNED: Side.RIGHT}  # on the open page, in the lecture's order


def clean_prompt(text: str, max_characters: int = MAX_PROMPT_CHARACTERS) -> str:
    """The text as it is kept and asked; Invalid with a sentence where it cannot be."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n")).strip()
    if not any(unicodedata.category(c)[0] not in "ZCM" and c not in BLANK for c in text):
        if any(unicodedata.category(c) == "Cc" and not c.isspace() for c in text):
            raise Invalid(NOT_TEXT)
        raise Invalid(N_("Escreva alguma coisa primeiro."))
    if len(text) > max_characters:
        raise Invalid(
            N_("O texto tem %(n)s caracteres; cabem até %(max)s. Encurte-o e envie de novo."),
            n=len(text),
            max=max_characters,
        )
    if (
        any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text)
        or "\ufffd" in text
    ):
        raise Invalid(NOT_TEXT)
    return text


def new_public_id() -> str:
    return secrets.token_urlsafe(12)


def new_generation(prompt_id: int, checkpoint_id: int, plan: Plan) -> Generation:
    """The row of an answer that is to be written."""
    return Generation(
        prompt_id=prompt_id,
        checkpoint_id=checkpoint_id,
        envelope=plan.envelope,
        prompt_ids=plan.prompt_ids,
        seed=plan.params.seed,
        temperature=plan.params.temperature,
        top_k=plan.params.top_k,
        top_p=plan.params.top_p,
        max_tokens=plan.params.max_tokens,
        code_version=__version__,
    )


def get(session: Session, participant: Participant | None, public_id: str) -> Exposure:
    """An exposure with all that is shown of it; NotFound where it is not this participant's, or a round's."""
    is_possible = public_id.isascii() and public_id.isprintable()
    query = _shown().where(Exposure.public_id == public_id, Exposure.round_id.is_(None))
    exposure = session.scalar(query) if is_possible else None
    if exposure is None or participant is None or exposure.participant_id != participant.id:
        raise NotFound(N_("Esta resposta não existe ou não é sua."))
    return exposure


def latest(session: Session, participant: Participant) -> Exposure | None:
    """What the participant asked last, if that was not long ago."""
    query = _shown().where(
        Exposure.participant_id == participant.id,
        Exposure.round_id.is_(None),
        Exposure.shown_at > now() - RECENT,
    )
    return session.scalar(query.order_by(Exposure.id.desc()).limit(1))


def generation_on(exposure: Exposure, side: Side) -> Generation:
    return exposure.left if side == Side.LEFT else exposure.right


@dataclass(frozen=True, slots=True)
class End:
    """How an answer ended: of which row, known by its seed too, because SQLite gives the id of an erased one again."""

    generation_id: int
    seed: int
    result: Result


def save_all(session: Session, _: str, ends: Sequence[End]) -> list[None]:
    """The ends of answers, or as much as there is of each; nothing where one was erased."""
    rows = [
        {
            "of": end.generation_id,
            "drawn_with": end.seed,
            "text": end.result.text,
            "completion_ids": end.result.completion_ids,
            "logps": end.result.logps,
            "finish_reason": end.result.finish,
            "queue_ms": end.result.queue_ms,
            "first_token_ms": end.result.first_token_ms,
            "total_ms": end.result.total_ms,
        }
        for end in ends
    ]
    where = (Generation.id == bindparam("of"), Generation.seed == bindparam("drawn_with"))
    changed = rows[0].keys() - {"of", "drawn_with"}
    values: dict[str, Any] = {name: bindparam(name) for name in changed}
    session.connection().execute(update(Generation).where(*where).values(values), rows)
    return [None] * len(rows)


def close_abandoned(session: Session) -> None:
    """At a start: answers that nobody is writing any more, because the last process was killed.

    On PostgreSQL another process may be writing the newest.
    """
    is_shared = session.get_bind().dialect.name == "postgresql"
    latest = now() - ABANDONED_AFTER if is_shared else now()
    session.execute(
        update(Generation)
        .where(Generation.finish_reason.is_(None), Generation.created_at <= latest)
        .values(finish_reason=Finish.ERROR)
    )


def _shown() -> Select[Exposure]:
    return select(Exposure).options(
        joinedload(Exposure.prompt),
        joinedload(Exposure.left).joinedload(Generation.checkpoint),
        joinedload(Exposure.right).joinedload(Generation.checkpoint),
    )
