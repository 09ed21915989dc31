"""Texts for other programs: many at once from one checkpoint, with scores where they are asked for."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field

from app.errors import N_, AppError, Busy, Invalid, NotFound
from app.services.generation import GenerationService
from model.chat import Message, raw_prompt
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.engine import Event, Request
from model.errors import BadInput
from model.inspect import TokenScore, readable, score_tokens
from model.tokenizer import DOCUMENT
from model.worker import Ending

log = logging.getLogger(__name__)

OWNER = "api"  # all programs together are one owner, in turn with the students
MAX_TEXTS = 128  # of one call: prompts times n
TO_THE_END = 2**20  # more tokens than a context has: until the answer ends or the context does


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How texts are drawn, as another program asks for it."""

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int | None  # none: another one each time
    stop: tuple[str, ...]
    ignores_end: bool

    def params(self, index: int) -> SamplingParams:
        """For the text of this number; each has a seed of its own."""
        seed = secrets.randbelow(2**31) if self.seed is None else self.seed
        return SamplingParams(**{**asdict(self), "seed": (seed + index) % 2**63})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be written: one text for each prompt, in order."""

    model: str
    checkpoint: Checkpoint
    prompts: list[list[int]]
    params: list[SamplingParams]
    n_prompt_tokens: int  # of the prompts as they came, each once


@dataclass(frozen=True, slots=True)
class Piece:
    """The next token of one text."""

    index: int
    text: str
    token_id: int | None
    is_first: bool
    finish: str | None


@dataclass(slots=True)
class Completion:
    """One text, written to its end."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish: str = "length"  # stop | length


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token as text, how likely it was (nats), and what else could have stood there."""

    text: str
    data: bytes
    logp: float | None
    top: list[tuple[str, bytes, float]]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Hands the events of one text to the queue of all."""

    index: int
    queue: "asyncio.Queue[tuple[int, Event | Ending]]"

    def receive(self, event: Event | Ending) -> None:
        self.queue.put_nowait((self.index, event))


async def ask_texts(
    service: GenerationService,
    model: str,
    prompts: Sequence[str | list[int]],
    how: How,
    n: int,
    *,
    is_written: bool = True,
) -> Ask:
    """Continue texts, or tokens as they are. A text begins a document. Not `is_written`: to be scored only."""
    checkpoint = await find(service, model)
    ids = [raw_prompt(checkpoint.tokenizer, p) if isinstance(p, str) else p for p in prompts]
    return _ask(model, checkpoint, ids, how, n, room=1 if is_written else 0)


async def ask_chat(
    service: GenerationService,
    model: str,
    messages: Sequence[Message],
    how: How,
    n: int,
) -> Ask:
    """Answer the last message of a conversation, in the envelope that the checkpoint was tuned with."""
    checkpoint = await find(service, model)
    if checkpoint.chat_template is None:
        raise Invalid(
            N_("O modelo %(model)s só continua textos: use /v1/completions."), model=model
        )
    try:
        prompt = checkpoint.chat_template.prompt(checkpoint.tokenizer, messages)
    except BadInput as error:
        raise Invalid("%(reason)s", reason=error) from error
    return _ask(model, checkpoint, [prompt], how, n, room=1)


def message(*, is_answer: bool, text: str) -> Message:
    """One turn; all that is not an answer stands where a person speaks, as in the chat template."""
    return {"role": "assistant" if is_answer else "user", "content": text}


def missing(model: str) -> NotFound:
    return NotFound(N_("Não há aqui um modelo chamado %(model)s."), model=model)


async def find(service: GenerationService, model: str) -> Checkpoint:
    """A checkpoint that is in memory. What is wrong with its folder is for the terminal, not for every client."""
    try:
        checkpoint = await service.open(model)
    except (BadInput, OSError) as error:
        log.error("%s cannot be read: %s", model, error)
        sentence = N_(
            "O modelo %(model)s não pôde ser carregado; o terminal do servidor diz por quê."
        )
        raise AppError(sentence, model=model) from error
    if checkpoint is None:
        raise missing(model)
    return checkpoint


def _ask(
    model: str,
    checkpoint: Checkpoint,
    prompts: list[list[int]],
    how: How,
    n: int,
    *,
    room: int,
) -> Ask:
    config = checkpoint.model.config
    if not 0 < len(prompts) * n <= MAX_TEXTS:
        raise Invalid(N_("De 1 a %(max)s textos por pedido."), max=MAX_TEXTS)
    for prompt in prompts:
        if not prompt or not all(0 <= i < config.vocab_size for i in prompt):
            raise Invalid(N_("O texto está vazio ou tem tokens que este modelo não conhece."))
        if len(prompt) + room > config.max_context:
            raise Invalid(
                N_("O texto tem %(n)s tokens; neste modelo cabem %(context)s, com a resposta."),
                n=len(prompt),
                context=config.max_context,
            )
    each = [prompt for prompt in prompts for _ in range(n)]
    return Ask(
        model=model,
        checkpoint=checkpoint,
        prompts=each,
        params=[how.params(i) for i in range(len(each))],
        n_prompt_tokens=sum(map(len, prompts)),
    )


async def stream(service: GenerationService, ask: Ask) -> AsyncGenerator[Piece]:
    """All texts as they are written, mixed. Who stops reading cancels the rest."""
    queue: asyncio.Queue[tuple[int, Event | Ending]] = asyncio.Queue()
    running = {i: _Reader(i, queue) for i in range(len(ask.prompts))}
    for i, reader in running.items():
        service.worker.submit(
            reader,
            Request(
                checkpoint=ask.model,
                prompt_ids=ask.prompts[i],
                params=ask.params[i],
                owner=OWNER,
            ),
        )
    started: set[int] = set()
    try:
        while running:
            index, event = await queue.get()
            if isinstance(event, str):
                raise Busy(
                    N_("A sala está cheia: tente de novo em %(seconds)s s."), retry_after_s=5
                )
            if event.finish:
                del running[index]
            yield Piece(index, event.text, event.token_id, index not in started, event.finish)
            started.add(index)
    finally:
        for reader in running.values():
            service.worker.cancel(reader)


async def complete(service: GenerationService, ask: Ask) -> list[Completion]:
    """All texts, whole."""
    found = [Completion() for _ in ask.prompts]
    async with aclosing(stream(service, ask)) as pieces:
        async for piece in pieces:
            answer = found[piece.index]
            answer.text += piece.text
            if piece.token_id is not None:
                answer.token_ids.append(piece.token_id)
            answer.finish = piece.finish or "length"
    return found


async def score(
    service: GenerationService, ask: Ask, index: int, answer: Completion, top_k: int
) -> tuple[list[ScoredToken], list[ScoredToken]]:
    """The tokens of a prompt and of its answer with their scores, worked out between two steps of the engine."""
    prompt = ask.prompts[index]
    ids = [*prompt, *answer.token_ids]
    future = service.worker.call(lambda: score_tokens(ask.checkpoint, ids, top_k))
    try:
        scores = await asyncio.wrap_future(future)
    except BadInput as error:
        raise Invalid("%(reason)s", reason=error) from error
    scored = [_scored(ask.checkpoint, s) for s in scores]
    begins_document = prompt[0] == ask.checkpoint.tokenizer.token_id(DOCUMENT)
    return scored[int(begins_document) : len(prompt)], scored[len(prompt) :]


def prompt_text(ask: Ask, index: int) -> str:
    """A prompt as text, without the token that begins a document."""
    ids = ask.prompts[index]
    start = ask.checkpoint.tokenizer.token_id(DOCUMENT)
    return ask.checkpoint.tokenizer.decode(ids[1:] if ids[0] == start else ids)


def _scored(checkpoint: Checkpoint, score: TokenScore) -> ScoredToken:
    def text(token: int) -> tuple[str, bytes]:
        data = checkpoint.tokenizer.decode_bytes([token])
        return readable(data), data

    return ScoredToken(*text(score.id), score.logp, [(*text(i), logp) for i, logp in score.top])
