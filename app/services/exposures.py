"""Which side is which for each student: drawn once, when the pair is first shown."""

import secrets
from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import N_, Conflict
from app.services.exchanges import new_public_id
from app.tables import Exposure, Participant, Round, now


def shown(session: Session, round_: Round, members: Collection[Participant]) -> dict[int, Exposure]:
    """What each of them was shown, by participant; who has seen nothing yet is not there."""
    query = select(Exposure).where(
        Exposure.round_id == round_.id, Exposure.participant_id.in_([m.id for m in members])
    )
    return {exposure.participant_id: exposure for exposure in session.scalars(query)}


def draw(session: Session, round_: Round, members: Collection[Participant]) -> dict[int, Exposure]:
    """The same after whoever has seen nothing yet was given a side, half of the room each way."""
    found = shown(session, round_, members)
    if len(found) == len(members):
        return found
    if round_.base_id is None or round_.tuned_id is None:
        raise Conflict(N_("As respostas ainda não estão prontas."))
    # one draw at a time: two would see the same counts
    session.execute(select(Round.id).where(Round.id == round_.id).with_for_update())
    found = shown(session, round_, members)  # another process may have drawn while we waited
    is_base_left = Exposure.left_id == round_.base_id
    counts = select(func.count(), func.count().filter(is_base_left))
    n_all, n_base_left = session.execute(counts.where(Exposure.round_id == round_.id)).one()
    for member in members:
        if member.id in found:
            continue
        is_even = 2 * n_base_left == n_all
        base_left = bool(secrets.randbits(1)) if is_even else 2 * n_base_left < n_all
        base, tuned = round_.base_id, round_.tuned_id
        found[member.id] = Exposure(
            public_id=new_public_id(),
            participant_id=member.id,
            prompt_id=round_.prompt_id,
            round_id=round_.id,
            left_id=base if base_left else tuned,
            right_id=tuned if base_left else base,
            revealed_at=None if round_.is_blind else now(),
        )
        session.add(found[member.id])
        n_all, n_base_left = n_all + 1, n_base_left + base_left
    session.flush()
    return found
