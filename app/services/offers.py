"""Students' own prompts: they stay on the phone unless the student offers one and the host lets the class see it."""

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from app.errors import N_, Conflict, NotFound
from app.events import phase_topic, room_topic, touch
from app.services import exchanges, rooms
from app.tables import Author, Exposure, Generation, Participant, Prompt, Room, now


def offer(session: Session, room: Room, member: Participant, public_id: str) -> Exposure:
    """Ask the host to show an own exchange to the class."""
    shown = exchanges.get(session, member, public_id)
    if any(g.finish_reason is None for g in (shown.left, shown.right)):
        raise Conflict(N_("Espere as duas respostas terminarem."))
    if shown.prompt.offered_at is None:
        shown.prompt.offered_at = now()
        touch(session, room_topic(room.id))
    return shown


def offered(session: Session, room: Room) -> list[Prompt]:
    """What waits for the host, or was let through; oldest first."""
    query = (
        select(Prompt)
        .where(
            Prompt.room_id == room.id,
            Prompt.author == Author.STUDENT,
            Prompt.offered_at.is_not(None),
        )
        .order_by(Prompt.offered_at)
    )
    return list(session.scalars(query))


def set_approved(session: Session, room: Room, prompt_id: int, is_approved: bool) -> None:
    """Let the class see it and the exports hold it, or not any more."""
    prompt = rooms.prompt(session, room, prompt_id)
    if prompt.offered_at is None:
        raise NotFound(N_("Esta pergunta não foi oferecida à turma."))
    prompt.approved_at = now() if is_approved else None
    if not is_approved and room.shown_prompt_id == prompt.id:
        room.shown_prompt_id = None
    touch(session, room_topic(room.id), phase_topic(room.id))


def show(session: Session, room: Room, prompt_id: int | None) -> None:
    """Put an approved one on the projector, or take it down."""
    if prompt_id is not None:
        prompt = rooms.prompt(session, room, prompt_id)
        if prompt.author == Author.STUDENT and prompt.approved_at is None:
            raise Conflict(N_("Aprove a pergunta antes de mostrá-la."))
    room.shown_prompt_id = prompt_id
    touch(session, room_topic(room.id), phase_topic(room.id))


def shown(session: Session, room: Room) -> Exposure | None:
    """The exchange that the projector shows in the lobby."""
    if room.shown_prompt_id is None:
        return None
    query = (
        select(Exposure)
        .where(Exposure.prompt_id == room.shown_prompt_id)
        .options(
            joinedload(Exposure.prompt),
            joinedload(Exposure.left).joinedload(Generation.checkpoint),
            joinedload(Exposure.right).joinedload(Generation.checkpoint),
        )
        .limit(1)
    )
    return session.scalar(query)
