"""How good a checkpoint is: bits per byte of a text, share of questions answered."""

import json
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.config import SamplingParams
from model.engine import Engine, Request, generate
from model.errors import BadInput
from model.tokenizer import DOCUMENT


@dataclass(frozen=True, slots=True)
class TextScore:
    bits_per_byte: float
    n_bytes: int
    n_tokens: int


@torch.inference_mode()
def score_text(checkpoint: Checkpoint, text: str) -> TextScore:
    """Bits per byte: how small the checkpoint would make a text (Shannon 1948), every byte counted.

    The text is cut at lines `<|doc|>`. A long document is read in windows of the context that overlap by half,
    so that all but the first tokens have at least half a context before them.
    """
    documents = [d.strip("\n") for d in re.split(rf"^{re.escape(DOCUMENT)}$", text, flags=re.M)]
    documents = [d for d in documents if d]
    if not documents:
        raise BadInput("The text is empty: there is nothing to measure.")
    nats, n_tokens = 0.0, 0
    for document in tqdm(documents, desc="bits per byte", unit="doc", disable=len(documents) < 2):
        ids = raw_prompt(checkpoint.tokenizer, document)
        if (
            ids[0] not in checkpoint.tokenizer.special_ids
        ):  # one that marks no beginning: as after an end
            ids = [*sorted(checkpoint.end_ids)[:1], *ids]
        nats += _nats(checkpoint, ids)
        n_tokens += len(ids) - 1
    n_bytes = sum(len(d.encode()) for d in documents)
    return TextScore(nats / math.log(2) / n_bytes, n_bytes, n_tokens)


def _nats(checkpoint: Checkpoint, ids: list[int]) -> float:
    """Negative log-likelihood of ids[1:] given what stands before, in nats."""
    context = checkpoint.model.config.max_context
    stride = context // 2
    tokens = torch.tensor(ids, device=checkpoint.model.embed_tokens.weight.device)
    total, scored = 0.0, 1  # ids before `scored` are done
    while scored < len(ids):
        end = min(len(ids), scored + stride if scored > 1 else context)
        start = max(0, end - context)
        window = tokens[start:end]
        logits = checkpoint.model(window[None, :-1])[0].float()  # (T - 1, V)
        n_new = end - scored
        total += float(cross_entropy(logits[-n_new:], window[-n_new:], reduction="sum"))
        scored = end
    return total


class Question(TypedDict):
    p: str  # prompt
    re: str  # what a right answer matches
    c: str  # category
    dk: NotRequired[str]  # what an honest "não sei" matches


@dataclass(frozen=True, slots=True)
class Answer:
    question: Question
    text: str
    is_right: bool
    is_honest: bool  # not right, but it says that it does not know
    is_finished: bool  # it ended by itself


def read_questions(path: Path) -> list[Question]:
    """Items `{"p": prompt, "re": regex, "c": category}`, one a line, with `dk` where "não sei" is an answer too."""
    questions: list[Question] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            question: Question = {"p": str(item["p"]), "re": item["re"], "c": item.get("c", "")}
            if "dk" in item:
                question["dk"] = item["dk"]
            for key in question.keys() & {"re", "dk"}:
                re.compile(item[key])
            questions.append(question)
        except (ValueError, KeyError, TypeError, re.error) as error:
            raise BadInput(f"{path.name}, line {number}: not a question ({error}).") from error
    if not questions:
        raise BadInput(f"There is no question in {path}.")
    return questions


def answer_questions(
    checkpoint: Checkpoint, questions: list[Question], max_tokens: int = 60
) -> list[Answer]:
    """Greedy answers to all questions, each in the checkpoint's own envelope, checked by its pattern."""
    engine = Engine({"it": checkpoint}, is_exact=True)
    params = SamplingParams(temperature=0, max_tokens=max_tokens)
    requests = [
        Request(checkpoint="it", prompt_ids=prompt_ids(checkpoint, q["p"]), params=params)
        for q in questions
    ]
    answers = []
    for question, events in zip(questions, generate(engine, requests), strict=True):
        text = "".join(e.text for e in events).strip()
        answers.append(check_answer(question, text, is_finished=events[-1].finish == "stop"))
    return answers


def check_answer(question: Question, text: str, *, is_finished: bool) -> Answer:
    """Hold a text against the question's patterns; upper and lower case are one."""
    is_right = re.search(question["re"], text, re.IGNORECASE) is not None
    says_so = "dk" in question and re.search(question["dk"], text, re.IGNORECASE) is not None
    return Answer(question, text, is_right, says_so and not is_right, is_finished)


def prompt_ids(checkpoint: Checkpoint, text: str) -> list[int]:
    """A person's text in the envelope that this checkpoint was trained with."""
    if checkpoint.envelope == "chat" and checkpoint.chat_template:
        return checkpoint.chat_template.prompt(
            checkpoint.tokenizer, [{"role": "user", "content": text}]
        )
    return raw_prompt(checkpoint.tokenizer, text)


def share_by_category(answers: list[Answer]) -> dict[str, float]:
    """Share of right answers in each category."""
    by_category: dict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        by_category[answer.question["c"]].append(answer.is_right)
    return {c: sum(right) / len(right) for c, right in sorted(by_category.items())}
