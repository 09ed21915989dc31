"""The two envelopes: what a person's text is wrapped in before a network sees it.

raw   <|doc|>text                                   the base checkpoint: a document that goes on
chat  <|usuario|>text<|assistente|>answer<|fim|>    the tuned one: a conversation

Checkpoints of others bring a conversation's form along as a Jinja template.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from model.data import Example
from model.errors import BadInput
from model.tokenizer import ASSISTANT, END, USER, Tokenizer

Envelope = Literal["raw", "chat"]

# The same envelope for other programs, as Hugging Face's tokenizer_config.json wants it.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    + ASSISTANT
    + "{% generation %}{{ message['content'] }}"
    + END
    + "{% endgeneration %}"
    + "{% else %}"
    + USER
    + "{{ message['content'] }}{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}"
    + ASSISTANT
    + "{% endif %}"
)


class Message(TypedDict):
    role: Literal["user", "assistant"]
    content: str
    weight: NotRequired[int]  # 0: an answer that is read but not learned, such as a planted mistake


def raw_prompt(tokenizer: Tokenizer, text: str) -> list[int]:
    """The text as the beginning of a document."""
    return tokenizer.encode_document(text)


def chat_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The conversation so far, and the place where the answer begins."""
    return [*conversation(tokenizer, messages).ids, _id(tokenizer, ASSISTANT)]


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How a checkpoint wants a conversation written: Hugging Face's `chat_template`."""

    source: str
    bos_token: str = ""
    eos_token: str = ""

    def prompt(self, tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
        """The conversation so far, and the place where the answer begins.

        A special token that a person wrote out stays plain text: the envelope cannot be forged.
        """
        if self.source == CHAT_TEMPLATE:
            return chat_prompt(tokenizer, messages)
        said = [message["content"] for message in messages]
        if not any(token in text for text in said for token in tokenizer.special_texts):
            return tokenizer.encode_markup(self._render(messages, said))
        marked = self._render(messages, [f"\ue000{i}\ue001" for i in range(len(said))])
        ids: list[int] = []
        for i, piece in enumerate(re.split("\ue000([0-9]+)\ue001", marked)):
            ids += tokenizer.encode(said[int(piece)]) if i % 2 else tokenizer.encode_markup(piece)
        return ids

    def _render(self, messages: Sequence[Message], texts: Sequence[str]) -> str:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005 (a template wants local time)
        try:
            return environment.from_string(plain_template(self.source)).render(
                messages=[
                    {"role": message["role"], "content": text}
                    for message, text in zip(messages, texts, strict=True)
                ],
                add_generation_prompt=True,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
            )
        except TemplateError as error:
            raise BadInput(f"The checkpoint's chat template refuses this: {error}") from error


def plain_template(source: str) -> str:
    """A template without the marks of what is learned, which only training software knows."""
    return re.sub(r"{%-?\s*(end)?generation\s*-?%}", "", source)


def _refuse(message: str) -> None:
    raise TemplateError(message)


def conversation(tokenizer: Tokenizer, messages: Sequence[Message]) -> Example:
    """A whole conversation; to be learned are the assistant's words and the token that ends them.

    An answer of weight 0 is read but not learned.
    """
    ids: list[int] = []
    learned: list[bool] = []
    for message in messages:
        is_answer = message["role"] == "assistant"
        content = tokenizer.encode(message["content"]) + (
            [_id(tokenizer, END)] if is_answer else []
        )
        ids += [_id(tokenizer, ASSISTANT if is_answer else USER), *content]
        learned += [False, *[is_answer and message.get("weight", 1) > 0] * len(content)]
    return Example(ids, learned)


def read_conversations(paths: Iterable[Path]) -> list[list[Message]]:
    """The conversations of JSONL files, one `{"messages": […]}` a line."""
    found = []
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                messages = json.loads(line)["messages"]
                roles = [m["role"] for m in messages]
                is_sound = all(
                    isinstance(m["content"], str) and m["content"].strip() for m in messages
                )
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(
                    f"{path.name}, line {number}: not a conversation ({error})."
                ) from error
            if not is_sound or roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
                raise BadInput(
                    f"{path.name}, line {number}: user and assistant must take turns, none empty."
                )
            found.append(messages)
    return found


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_id(token)
    if found is None:
        raise BadInput(f"This tokenizer has no {token}: it cannot hold a conversation.")
    return found
