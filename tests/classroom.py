"""A room built from rows: what the phones and the engine would have left in the database."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.tables import (
    AnswerKind,
    Author,
    Checkpoint,
    Choice,
    Envelope,
    Exposure,
    Finish,
    Generation,
    HumanAnswer,
    Participant,
    Prompt,
    Role,
    Room,
    Round,
    SampleBatch,
    Side,
    Target,
    VoteEvent,
    VoteKind,
)

START = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)
PROMPT = "Diga bem rápido: um número de 1 a 100"
TEXTS = {Role.BASE: " e mais um número de 1 a 100, disse ele", Role.TUNED: "37"}


class Classroom:
    """Adds rows to one session; every vote comes a second after the one before."""

    def __init__(self, session: Session, code: str = "TUCAN2") -> None:
        self.session, self.clock, self.n_events = session, START, 0
        self.room = Room(
            code=code, created_at=START, erase_at=START + timedelta(days=30), round_number=0
        )
        self.checkpoints = {
            role: session.query(Checkpoint).filter_by(role=role).one_or_none()
            or Checkpoint(
                role=role,
                name=f"{role}-abcdef12",
                sha256=f"{role}" * 8,
                n_parameters=17_300_000,
                tokens_seen=20_480_000,
                recipe={},
            )
            for role in Role
        }
        session.add_all([self.room, *self.checkpoints.values()])
        session.flush()

    def people(self, n: int, *, consents: bool = True) -> list[Participant]:
        n_before = self.room.n_joined
        found = [
            Participant(
                token_hash=f"{self.room.code}-{i}",
                room_id=self.room.id,
                pseudonym=f"Tucano {i}",
                consents_to_training=consents,
                consent_at=START if consents else None,
                consent_version=1 if consents else None,
            )
            for i in range(n_before + 1, n_before + n + 1)
        ]
        self.room.n_joined += n
        self.session.add_all(found)
        self.session.flush()
        return found

    def prompt(
        self,
        text: str = PROMPT,
        kind: AnswerKind = AnswerKind.NUMBER,
        author: Author = Author.DECK,
        owner: Participant | None = None,
        approved_at: datetime | None = None,
    ) -> Prompt:
        prompt = Prompt(
            room_id=self.room.id,
            participant_id=owner.id if owner else None,
            author=author,
            answer_kind=kind,
            text=text,
            is_from_deck=author == Author.DECK,
            approved_at=approved_at,
        )
        self.session.add(prompt)
        self.session.flush()
        return prompt

    def generation(
        self, prompt: Prompt, role: Role, text: str, finish: Finish | None = Finish.STOP
    ) -> Generation:
        generation = Generation(
            prompt_id=prompt.id,
            checkpoint_id=self.checkpoints[role].id,
            envelope=Envelope.RAW if role == Role.BASE else Envelope.CHAT,
            prompt_ids=[1, 2, 3],
            seed=42,
            temperature=0.8,
            top_k=50,
            top_p=0.95,
            max_tokens=64,
            code_version="0.1.0",
            completion_ids=list(range(len(text.split()))),
            text=text,
            finish_reason=finish,
            total_ms=300.0 if role == Role.BASE else 100.0,
        )
        self.session.add(generation)
        self.session.flush()
        return generation

    def round(
        self,
        prompt: Prompt | None = None,
        *,
        is_blind: bool = True,
        texts: dict[Role, str] | None = None,
        finish: Finish = Finish.STOP,
        is_opened: bool = True,
    ) -> Round:
        prompt = prompt or self.prompt()
        texts = texts or TEXTS
        base, tuned = (self.generation(prompt, role, texts[role], finish) for role in Role)
        self.room.round_number += 1
        round_ = Round(
            room_id=self.room.id,
            number=self.room.round_number,
            prompt_id=prompt.id,
            asks_people=True,
            is_blind=is_blind,
            has_second_vote=True,
            n_samples=10,
            base_id=base.id,
            tuned_id=tuned.id,
            opened_at=START if is_opened else None,
        )
        self.session.add(round_)
        self.session.flush()
        return round_

    def show(self, round_: Round, participant: Participant, tuned: Side = Side.LEFT) -> Exposure:
        ids = (round_.tuned_id, round_.base_id)
        left_id, right_id = ids if tuned == Side.LEFT else ids[::-1]
        exposure = Exposure(
            public_id=f"{round_.id}-{participant.id}",
            participant_id=participant.id,
            prompt_id=round_.prompt_id,
            round_id=round_.id,
            left_id=left_id,
            right_id=right_id,
            shown_at=self.clock,
        )
        self.session.add(exposure)
        self.session.flush()
        return exposure

    def event(
        self, exposure: Exposure, kind: VoteKind, target: Target, vote_round: int, **fields: object
    ) -> VoteEvent:
        self.clock += timedelta(seconds=1)
        self.n_events += 1
        event = VoteEvent(
            exposure_id=exposure.id,
            kind=kind,
            target=target,
            vote_round=vote_round,
            ms_since_shown=1000.0 * self.n_events,
            is_after_reveal=bool(fields.pop("late", vote_round > 1)),
            idempotency_key=f"k{self.n_events}",
            created_at=self.clock,
            **fields,
        )
        self.session.add(event)
        self.session.flush()
        return event

    def thumb(
        self,
        exposure: Exposure,
        side: Side,
        value: int | None,
        vote_round: int = 1,
        **fields: object,
    ) -> VoteEvent:
        target = Target(side)
        return self.event(exposure, VoteKind.THUMB, target, vote_round, value=value, **fields)

    def prefer(
        self, exposure: Exposure, choice: Choice | None, vote_round: int = 1, **fields: object
    ) -> VoteEvent:
        kind = VoteKind.PREFERENCE
        return self.event(exposure, kind, Target.PAIR, vote_round, choice=choice, **fields)

    def guess(self, exposure: Exposure, base: Side | None) -> VoteEvent:
        return self.event(exposure, VoteKind.GUESS, Target.PAIR, 1, choice=base)

    def reasons(self, exposure: Exposure, side: Side, reasons: Sequence[str]) -> VoteEvent:
        target = Target(side)
        return self.event(exposure, VoteKind.REASONS, target, 1, reasons=list(reasons))

    def answer(self, round_: Round, participant: Participant, text: str) -> None:
        self.session.add(HumanAnswer(round_id=round_.id, participant_id=participant.id, text=text))
        self.session.flush()

    def samples(self, round_: Round, role: Role, texts: Sequence[str]) -> None:
        batch = SampleBatch(
            round_id=round_.id,
            checkpoint_id=self.checkpoints[role].id,
            first_seed=7,
            max_tokens=16,
            texts=list(texts),
            total_ms=500.0,
        )
        self.session.add(batch)
        self.session.flush()
