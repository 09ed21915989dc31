"""What OpenAI's clients send. Fields that are not known are let pass, as other servers do."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.services import completions


class Body(BaseModel):
    """What both kinds of requests have in common."""

    model_config = ConfigDict(extra="ignore")

    model: str
    n: int = Field(1, ge=1, le=completions.MAX_TEXTS)
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)  # not OpenAI's; vLLM and llama.cpp have it
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: str | list[str] | None = None
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    ignore_eos: bool = False  # not OpenAI's; for measurements

    def how(self, max_tokens: int) -> completions.How:
        """How the text is to be drawn."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return completions.How(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(0, self.top_k),
            max_tokens=max(1, max_tokens),
            seed=self.seed,
            stop=tuple(text for text in stop if text),
            ignores_end=self.ignore_eos,
        )

    @property
    def wants_usage(self) -> bool:
        return bool((self.stream_options or {}).get("include_usage"))


class CompletionBody(Body):
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int = Field(16, ge=0)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def prompts(self) -> list[str | list[int]]:
        """One text or one list of tokens is a list of one."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(item, int) for item in self.prompt):
            return [[item for item in self.prompt if isinstance(item, int)]]
        return [item for item in self.prompt if not isinstance(item, int)]


class Part(BaseModel):
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]

    @property
    def text(self) -> str:
        return (
            self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        )


class ChatBody(Body):
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool = False
    top_logprobs: int = Field(0, ge=0, le=20)
