"""What the templates are given: plain records, made from rows and running jobs."""

import secrets
from dataclasses import dataclass, replace
from typing import Self

from sqlalchemy.orm import Session

from app.security import hash_token
from app.services import votes
from app.services.exchanges import SIDE_OF, generation_on
from app.services.facts import Facts
from app.services.generation import GenerationService
from app.services.jobs import Asked, Job, Result
from app.tables import Checkpoint, Exposure, Finish, Role, Side
from model.inspect import TokenView


@dataclass(frozen=True, slots=True, kw_only=True)
class PaneView:
    """Whose answer stands in a pane."""

    role: Role
    side: Side
    name: str
    server: str  # host of the server that runs it; empty for our own engine
    n_parameters: int
    tokens_seen: int
    answer: "AnswerView | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerView:
    """One answer, being written or finished, with this visitor's thumb."""

    exchange_id: str
    prompt: str
    text: str
    finish: Finish | None
    max_tokens: int
    n_tokens: int
    total_ms: float | None
    seed: int
    envelope: list[TokenView]
    thumb: int | None
    nonce: str

    @property
    def is_done(self) -> bool:
        return self.finish is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeView:
    """A prompt and its two panes; without a prompt, two panes that wait for one."""

    id: str | None
    prompt: str
    panes: list[PaneView]
    job: Job | None = None  # that was in the works when this was read

    @property
    def is_done(self) -> bool:
        return all(pane.answer is None or pane.answer.is_done for pane in self.panes)


def empty_exchange(facts: list[Facts]) -> ExchangeView:
    panes = [
        PaneView(
            role=fact.role,
            side=SIDE_OF[fact.role],
            name=fact.name,
            server=fact.server,
            n_parameters=fact.n_parameters,
            tokens_seen=fact.tokens_seen,
        )
        for fact in facts
    ]
    return ExchangeView(id=None, prompt="", panes=panes)


@dataclass(frozen=True, slots=True)
class Works:
    """The jobs that were in the works before the database was read.

    Taken first, because a job is there until its answer is saved: a row without an end and without a job among
    these is one that nobody writes any more.
    """

    generation: GenerationService
    jobs: dict[str, Job]

    @classmethod
    def now(cls, generation: GenerationService) -> Self:
        return cls(generation, generation.jobs.copy())

    def seen_by(self, token: str | None, public_id: str) -> ExchangeView | None:
        """An exchange of this cookie of which neither answer is saved yet, as it is in memory: nobody can have voted on it."""
        job = self.jobs.get(public_id)
        if not (job and job.asked and token and job.asked.cookie_hash == hash_token(token)):
            return None
        return None if job.saved else running_view(job, job.asked, self.generation)


def exchange_view(session: Session, exposure: Exposure, works: Works) -> ExchangeView:
    """What a visitor sees of an exchange: the running job's text where there is one."""
    thumbs = votes.current_thumbs(session, exposure)
    panes = [pane_view(exposure, side, thumbs.get(side), works) for side in Side]
    job = works.jobs.get(exposure.public_id)
    return ExchangeView(id=exposure.public_id, prompt=exposure.prompt.text, panes=panes, job=job)


def running_view(job: Job, asked: Asked, generation: GenerationService) -> ExchangeView:
    """What `exchange_view` would show while nothing is saved, without the database."""
    panes = []
    empty = empty_exchange(generation.facts).panes
    for fact, pane in zip(generation.facts, empty, strict=True):
        plan, result = asked.plans[pane.side], job.results[pane.side]
        answer = AnswerView(
            exchange_id=job.key,
            prompt=asked.text,
            text=result.text,
            finish=None,
            max_tokens=plan.params.max_tokens,
            n_tokens=0,
            total_ms=None,
            seed=plan.params.seed,
            envelope=generation.view_prompt(fact.sha256, plan.prompt_ids),
            thumb=None,
            nonce=secrets.token_urlsafe(8),
        )
        panes.append(replace(pane, answer=answer))
    return ExchangeView(id=job.key, prompt=asked.text, panes=panes, job=job)


def finished_pane(pane: PaneView, result: Result) -> PaneView:
    """A pane that was being filled, with the answer as it ended."""
    assert pane.answer
    answer = replace(
        pane.answer,
        text=result.text,
        finish=result.finish,
        n_tokens=len(result.completion_ids),
        total_ms=result.total_ms,
    )
    return replace(pane, answer=answer)


def pane_view(exposure: Exposure, side: Side, thumb: int | None, works: Works) -> PaneView:
    row = generation_on(exposure, side)
    job = works.jobs.get(exposure.public_id)
    result = job.results[side] if job and row.finish_reason is None else None
    finish = Finish(row.finish_reason) if row.finish_reason else None
    if finish is None and job is None:  # nobody is writing it, and its end was never saved
        finish = Finish.ERROR
    role = Role(row.checkpoint.role)
    answer = AnswerView(
        exchange_id=exposure.public_id,
        prompt=exposure.prompt.text,
        text=result.text if result else row.text,
        finish=finish,
        max_tokens=row.max_tokens,
        n_tokens=len(row.completion_ids or ()),
        total_ms=row.total_ms,
        seed=row.seed,
        envelope=works.generation.view_prompt(row.checkpoint.sha256, row.prompt_ids),
        thumb=thumb,
        nonce=secrets.token_urlsafe(8),
    )
    checkpoint: Checkpoint = row.checkpoint
    return PaneView(
        role=role,
        side=side,
        name=checkpoint.name,
        server=str(checkpoint.recipe.get("server", "")),
        n_parameters=checkpoint.n_parameters,
        tokens_seen=checkpoint.tokens_seen,
        answer=answer,
    )
