"""Prompts as they come in, from the open page or a room: those that come together are kept together."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.errors import AppError
from app.services import exchanges, participants, rooms
from app.services.jobs import Plan
from app.tables import Exposure, Prompt, Role, Side, now


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A prompt as it comes in, with the plans for its answers."""

    cookie: str
    public_id: str
    text: str
    plans: list[Plan]
    checkpoint_ids: dict[Role, int]


def create_all(session: Session, code: str, asks: Sequence[Ask]) -> list[Exposure | AppError]:
    """For each ask a prompt, an answer to be written for each plan, and who sees which on which side.

    With a code: of participants of that room, whose host must allow it; why not, where somebody may not.
    """
    cookies = [ask.cookie for ask in asks]
    people = (
        rooms.free_players(session, code, cookies)
        if code
        else participants.find_or_create_all(session, cookies)
    )
    allowed = [
        (ask, person)
        for ask, person in zip(asks, people, strict=True)
        if not isinstance(person, AppError)
    ]
    prompts = [
        Prompt(
            participant_id=person.id,
            room_id=person.room_id,
            text=ask.text,
            is_from_deck=ask.text in exchanges.DECK,
        )
        for ask, person in allowed
    ]
    session.add_all(prompts)
    session.flush()
    answers = [
        {
            exchanges.SIDE_OF[plan.role]: exchanges.new_generation(
                prompt.id, ask.checkpoint_ids[plan.role], plan
            )
            for plan in ask.plans
        }
        for (ask, _), prompt in zip(allowed, prompts, strict=True)
    ]
    session.add_all(generation for pair in answers for generation in pair.values())
    session.flush()
    exposures = [
        Exposure(
            public_id=ask.public_id,
            participant_id=person.id,
            prompt_id=prompt.id,
            left_id=pair[Side.LEFT].id,
            right_id=pair[Side.RIGHT].id,
            revealed_at=now(),
        )
        for (ask, person), prompt, pair in zip(allowed, prompts, answers, strict=True)
    ]
    session.add_all(exposures)
    session.flush()
    made = iter(exposures)
    return [person if isinstance(person, AppError) else next(made) for person in people]
