"""Rooms: opened by a teacher, joined by anybody who has the code, forgotten when their time is over."""

import re
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.errors import N_, AppError, Conflict, Invalid, NotFound
from app.events import phase_topic, room_topic, touch
from app.security import hash_token, new_token
from app.services.exchanges import DECK, clean_prompt
from app.tables import AnswerKind, Author, KeyKind, Participant, Prompt, Room, RoomKey, now

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # nothing that is read as something else
CODE_LENGTH = 6
KEPT_DAYS = 30
MAX_PARTICIPANTS = 1000
MAX_PROMPTS = 100  # of the teacher's in a room
MAX_PSEUDONYM = 30
PRESENT_FOR = timedelta(seconds=25)  # after a sign of life
DECK_KINDS = (
    AnswerKind.TEXT,
    AnswerKind.LIST,
    AnswerKind.NUMBER,
    AnswerKind.LIST,
    AnswerKind.WORDS,
)
# none that is used as an insult
ANIMALS = (
    *("Tucano", "Onça", "Capivara", "Arara", "Tamanduá", "Boto", "Jabuti", "Quati", "Ariranha"),
    *("Lobo-guará", "Tatu", "Sagui", "Muriqui", "Garça", "Cutia", "Beija-flor", "Paca", "Curió"),
    *("Bem-te-vi", "Sabiá", "Gavião", "Jaguatirica", "Coruja", "Canário", "Golfinho", "Tartaruga"),
)


@dataclass(frozen=True, slots=True)
class RoomTokens:
    """What opens the host's and the projector's page."""

    host: str
    projector: str


def create(session: Session) -> tuple[Room, RoomTokens]:
    """A room with the lecture's five prompts ready."""
    for _ in range(20):
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        if session.scalar(select(Room.id).where(Room.code == code)) is None:
            break
    room = Room(code=code, erase_at=now() + timedelta(days=KEPT_DAYS))
    session.add(room)
    session.flush()
    session.add_all(
        Prompt(
            room_id=room.id,
            author=Author.DECK,
            answer_kind=kind,
            text=text,
            is_from_deck=True,
        )
        for text, kind in zip(DECK, DECK_KINDS, strict=True)
    )
    return room, mint_keys(session, room)


def mint_keys(session: Session, room: Room) -> RoomTokens:
    """New tokens for a room; those given out before go on working."""
    host = new_token()
    tokens = RoomTokens(host, projector_token(host))
    for kind, token in ((KeyKind.HOST, tokens.host), (KeyKind.PROJECTOR, tokens.projector)):
        session.add(RoomKey(room_id=room.id, kind=kind, token_hash=hash_token(token)))
    return tokens


def projector_token(host_token: str) -> str:
    """Made from the host's, which cannot be made from it."""
    return hash_token(f"projector {host_token}")[:32]


def by_key(session: Session, kind: KeyKind, token: str) -> Room:
    query = (
        select(Room)
        .join(RoomKey, RoomKey.room_id == Room.id)
        .where(RoomKey.kind == kind, RoomKey.token_hash == hash_token(token))
    )
    room = session.scalar(query)
    if room is None:
        raise NotFound(N_("Este endereço não existe, ou a sala já foi apagada."))
    return room


def tidy_code(typed: str) -> str:
    """A code as it is kept, from what people type: any case, blanks, hyphens."""
    return re.sub(r"[\W_]", "", typed.upper())


def by_code(session: Session, typed: str, *, holds: bool = False) -> Room:
    """The room of a code, or NotFound.

    holds  until the transaction ends its phase cannot change; many may hold it at once
    """
    code = tidy_code(typed)
    query = select(Room).where(Room.code == code)
    if holds:
        query = query.with_for_update(read=True).execution_options(populate_existing=True)
    room = session.scalar(query) if code.isascii() else None
    if room is None:
        raise NotFound(
            N_("Não há sala com este código. Confira os seis caracteres na tela da turma.")
        )
    return room


def all_rooms(session: Session) -> list[Room]:
    """Newest first."""
    return list(session.scalars(select(Room).order_by(Room.id.desc())))


def member_hash(room: Room, cookie: str) -> str:
    return hash_token(f"{room.code} {cookie}")


def member(session: Session, room: Room, cookie: str | None) -> Participant | None:
    """Who this browser is in the room, also if it was removed; none if it never joined."""
    return members(session, room, [cookie]).get(cookie)


def members(
    session: Session, room: Room, cookies: Collection[str | None]
) -> dict[str | None, Participant]:
    """The same for many, by cookie; who never joined is not there."""
    cookie_of = {member_hash(room, cookie): cookie for cookie in cookies if cookie}
    query = select(Participant).where(
        Participant.room_id == room.id, Participant.token_hash.in_(cookie_of)
    )
    return {cookie_of[found.token_hash]: found for found in session.scalars(query)}


def active_member(session: Session, room: Room, cookie: str | None) -> Participant:
    """Who this browser is; NotFound if it never joined, Conflict if the host removed it."""
    return active(member(session, room, cookie))


def active(found: Participant | None) -> Participant:
    if found is None:
        raise NotFound(N_("Entre na sala primeiro."))
    if found.removed_at is not None:
        raise Conflict(N_("A professora ou o professor tirou este aparelho da sala."))
    return found


def join(session: Session, room: Room, cookie: str) -> Participant:
    """This browser as a participant with a pseudonym; the same one when it comes again."""
    found = member(session, room, cookie)
    if found is not None:
        found.last_seen_at = now()
        touch(session, room_topic(room.id))
        return found
    if room.n_joined >= MAX_PARTICIPANTS:
        raise Conflict(N_("A sala já tem %(n)s pessoas, o máximo."), n=MAX_PARTICIPANTS)
    session.execute(update(Room).where(Room.id == room.id).values(n_joined=Room.n_joined + 1))
    session.refresh(room, ["n_joined"])  # the row is locked until the end: no number twice
    participant = Participant(
        token_hash=member_hash(room, cookie),
        room_id=room.id,
        pseudonym=f"{ANIMALS[(room.n_joined - 1) % len(ANIMALS)]} {room.n_joined}",
        last_seen_at=now(),
    )
    with suppress(IntegrityError), session.begin_nested():  # two first taps at once
        session.add(participant)
        session.flush()
        touch(session, room_topic(room.id))
        return participant
    found = member(session, room, cookie)
    assert found is not None
    return found


def free_players(
    session: Session, code: str, cookies: Sequence[str]
) -> list[Participant | AppError]:
    """The participants who may send own prompts now, in the order of their cookies; why not, where one may not."""
    room = by_code(session, code)
    if not room.allows_free_play:
        raise Conflict(N_("As perguntas livres estão fechadas nesta sala."))
    known = members(session, room, cookies)
    players: list[Participant | AppError] = []
    for cookie in cookies:
        try:
            players.append(active(known.get(cookie)))
        except AppError as error:
            players.append(error)
    return players


def participants(session: Session, room: Room) -> list[Participant]:
    query = select(Participant).where(Participant.room_id == room.id).order_by(Participant.id)
    return list(session.scalars(query))


def is_present(participant: Participant, at: datetime) -> bool:
    seen = participant.last_seen_at
    return participant.removed_at is None and seen is not None and seen > at - PRESENT_FOR


def count_present(session: Session, room: Room) -> int:
    query = select(func.count()).where(
        Participant.room_id == room.id,
        Participant.removed_at.is_(None),
        Participant.last_seen_at > now() - PRESENT_FOR,
    )
    return session.scalar(query) or 0


def participant(session: Session, room: Room, participant_id: int) -> Participant:
    query = select(Participant).where(
        Participant.room_id == room.id, Participant.id == participant_id
    )
    found = session.scalar(query)
    if found is None:
        raise NotFound(N_("Esta pessoa não está na sala."))
    return found


def rename(session: Session, room: Room, participant_id: int, pseudonym: str) -> None:
    pseudonym = clean_prompt(" ".join(pseudonym.split()), MAX_PSEUDONYM)
    participant(session, room, participant_id).pseudonym = pseudonym
    touch(session, room_topic(room.id), phase_topic(room.id))


def set_removed(session: Session, room: Room, participant_id: int, is_removed: bool) -> None:
    """Take somebody out, or let them in again; what they did before comes back with them."""
    participant(session, room, participant_id).removed_at = now() if is_removed else None
    touch(session, room_topic(room.id), phase_topic(room.id))


def prompts(session: Session, room: Room) -> list[Prompt]:
    """The deck's and the teacher's, in the order in which they were written."""
    query = select(Prompt).where(Prompt.room_id == room.id, Prompt.author != Author.STUDENT)
    return list(session.scalars(query.order_by(Prompt.id)))


def prompt(session: Session, room: Room, prompt_id: int) -> Prompt:
    query = select(Prompt).where(Prompt.room_id == room.id, Prompt.id == prompt_id)
    found = session.scalar(query)
    if found is None:
        raise NotFound(N_("Esta pergunta não é desta sala."))
    return found


def add_prompt(session: Session, room: Room, text: str, kind: AnswerKind) -> Prompt:
    """A prompt of the teacher's own."""
    if len(prompts(session, room)) >= MAX_PROMPTS:
        raise Conflict(N_("A sala já tem %(n)s perguntas, o máximo."), n=MAX_PROMPTS)
    added = Prompt(
        room_id=room.id,
        author=Author.TEACHER,
        answer_kind=kind,
        text=clean_prompt(text),
        is_from_deck=False,
    )
    session.add(added)
    session.flush()
    touch(session, room_topic(room.id))
    return added


def set_free_play(session: Session, room: Room, is_allowed: bool) -> None:
    room.allows_free_play = is_allowed
    touch(session, room_topic(room.id), phase_topic(room.id))


def set_consent(session: Session, member: Participant, is_given: bool, version: int) -> None:
    member.consents_to_training = is_given
    member.consent_at, member.consent_version = now(), version


def set_more_time(member: Participant, wants_it: bool) -> None:
    """A longer countdown for one person, in this round and all that follow."""
    member.has_more_time = wants_it


def set_kept_days(session: Session, room: Room, days: int) -> None:
    """Erase the room so many days after it was opened."""
    if not 1 <= days <= 365:
        raise Invalid(N_("Uma sala pode ser guardada de 1 a 365 dias."))
    erase_at = room.created_at + timedelta(days=days)
    if erase_at <= now():
        raise Invalid(N_("Esse prazo já passou. Para apagar já, use “Apagar a sala agora”."))
    room.erase_at = erase_at
    touch(session, room_topic(room.id))
