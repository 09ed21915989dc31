"""A class as files for other programs: a table, everything, training rows, a comparison."""

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import Database
from app.errors import NotFound, Unusable
from app.services import rooms
from app.services.export_all import all_rows
from app.services.export_comparison import comparison
from app.services.export_rows import Seen, read_seen
from app.services.export_training import dpo_rows, kto_rows
from app.tables import Role, Room, VoteEvent, VoteKind

FORMULA_STARTS = "=+@＝＋－＠-"
# A cell, and what becomes one where a spreadsheet takes the semicolon, as in Brazil, and so no quote for what it is.
FORMULA = re.compile(rf'(^|[;\t\r\n])([ \xa0"]*)(?=[{FORMULA_STARTS}])')


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"
    KTO = "kto"
    DPO = "dpo"
    LLM_COMPARATOR = "llm-comparator"


@dataclass(frozen=True, slots=True)
class Kind:
    """How the file of a format is called and sent."""

    ending: str
    media_type: str


KINDS = {
    Format.CSV: Kind("votos.csv", "text/csv; charset=utf-8"),
    Format.JSONL: Kind("tudo.jsonl", "application/x-ndjson"),
    Format.KTO: Kind("kto.jsonl", "application/x-ndjson"),
    Format.DPO: Kind("dpo.jsonl", "application/x-ndjson"),
    Format.LLM_COMPARATOR: Kind("llm-comparator.json", "application/json"),
}


@dataclass(frozen=True, slots=True)
class File:
    name: str
    media_type: str
    text: str


def export(
    session: Session, room: Room, format: Format, roles: Collection[Role] = (Role.TUNED,)
) -> File:
    """The file of one format. `roles` are those whose answers become KTO rows."""
    seen = read_seen(session, room)
    match format:
        case Format.CSV:
            text = "\ufeff" + table(vote_rows(seen))  # the mark tells Excel that it is UTF-8
        case Format.JSONL:
            text = json_lines(all_rows(session, room, seen))
        case Format.KTO:
            text = json_lines(kto_rows(seen, roles))
        case Format.DPO:
            text = json_lines(dpo_rows(seen))
        case Format.LLM_COMPARATOR:
            text = json.dumps(comparison(room, seen), ensure_ascii=False, indent=1) + "\n"
    kind = KINDS[format]
    day = room.created_at.astimezone().date()  # as it was called in the class
    return File(f"dois-treinos-{room.code}-{day}-{kind.ending}", kind.media_type, text)


def export_room(
    database_url: str, code: str, format: Format, roles: Collection[Role] = (Role.TUNED,)
) -> File:
    """The same from the terminal; Unusable where there is no such room."""
    db = Database(database_url)
    try:
        return db.read_now(lambda s: export(s, rooms.by_code(s, code), format, roles))
    except NotFound as error:
        raise Unusable(f"No room here has the code {code}.") from error
    except DBAPIError as error:
        raise Unusable(f"The database cannot be read: {error.orig}") from error
    finally:
        db.close()


def vote_rows(seen: Iterable[Seen]) -> Iterator[dict[str, Any]]:
    """One row for each vote that counts."""
    for item in seen:
        for vote in item.votes:
            yield vote_row(item, vote)


def vote_row(item: Seen, vote: VoteEvent) -> dict[str, Any]:
    """Who said what of which answer. Of the pair, `choice` names a checkpoint; `guess_right` goes with a guess."""
    is_pair = vote.kind in (VoteKind.PREFERENCE, VoteKind.GUESS)
    role = None if is_pair else item.role_on(vote.target)
    generation = item.generation(role) if role else None
    is_guess = vote.kind == VoteKind.GUESS
    return {
        "round": item.round.number if item.round else None,
        "prompt": item.prompt.text,
        "is_blind": item.round.is_blind if item.round else False,
        "participant": item.participant,
        "vote_round": vote.vote_round,
        "kind": vote.kind,
        "answer_of": role,
        "tuned_side": item.side_of(Role.TUNED),
        "value": vote.value,
        "choice": item.verdict(vote) if vote.kind == VoteKind.PREFERENCE else None,
        "guess_right": int(item.guessed_right(vote)) if is_guess else None,
        "reasons": " ".join(vote.reasons or []),
        "seconds_since_shown": round(vote.ms_since_shown / 1000, 1),
        "is_after_reveal": int(vote.is_after_reveal),
        "at": vote.created_at.isoformat(),
        "answer": generation.text if generation else None,
        "generation_id": generation.id if generation else None,
        "seed": generation.seed if generation else None,
        "checkpoint_sha256": generation.checkpoint.sha256 if generation else None,
        "vote_event_id": vote.id,
    }


COLUMNS = (
    *("round", "prompt", "is_blind", "participant", "vote_round", "kind", "answer_of"),
    *("tuned_side", "value", "choice", "guess_right", "reasons", "seconds_since_shown"),
    *("is_after_reveal", "at", "answer", "generation_id", "seed", "checkpoint_sha256"),
    "vote_event_id",
)


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Comma-separated, with a head; no text in it is a formula."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: defused(value) for name, value in row.items()})
    return buffer.getvalue()


def defused(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe, which shows it as text (OWASP)."""
    if isinstance(value, str):
        text = FORMULA.sub(r"\1'\2", value)
        return f"'{text}" if text.startswith(("\t", "\r", "\n")) else text
    if isinstance(value, bool):
        return int(value)
    return value


def json_lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
