import math

import pytest
import torch

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.errors import BadInput
from model.inspect import completion_logps, next_tokens, score_tokens


def test_each_token_is_scored_by_what_stands_before_it(base: Checkpoint) -> None:
    ids = raw_prompt(base.tokenizer, "O rei de Roma")
    scores = score_tokens(base, ids, top_k=3)
    assert [s.id for s in scores] == ids
    assert scores[0].logp is None
    for t in range(1, len(ids)):
        logp = base.model(torch.tensor([ids[:t]]))[0, -1].log_softmax(-1)
        assert scores[t].logp == pytest.approx(float(logp[ids[t]]), abs=1e-4)
        best, best_logp = scores[t].top[0]
        assert best == int(logp.argmax())
        assert best_logp == pytest.approx(float(logp.max()), abs=1e-4)
        assert [p for _, p in scores[t].top] == sorted([p for _, p in scores[t].top], reverse=True)


def test_the_next_tokens_are_those_of_the_last_position(base: Checkpoint) -> None:
    ids = raw_prompt(base.tokenizer, "O rei")
    every = next_tokens(base, ids, len(base.tokenizer))
    assert sum(math.exp(logp) for _, logp in every) == pytest.approx(1, abs=1e-4)
    longer = score_tokens(base, [*ids, every[0][0]])
    assert longer[-1].logp == pytest.approx(every[0][1], abs=1e-4)


def test_many_completions_in_one_pass_are_scored_like_each_alone(base: Checkpoint) -> None:
    prompt = raw_prompt(base.tokenizer, "Um número de 1 a 100: ")
    completions = [base.tokenizer.encode(str(n)) for n in range(1, 101)]
    together = completion_logps(base, prompt, completions)
    for completion, logp in list(zip(completions, together, strict=True))[::9]:
        alone = score_tokens(base, [*prompt, *completion])[-len(completion) :]
        assert logp == pytest.approx(sum(s.logp or 0 for s in alone), abs=1e-3)
    assert len(together) == 100


def test_a_text_longer_than_the_context_is_refused(base: Checkpoint) -> None:
    with pytest.raises(BadInput, match="context of 64"):
        score_tokens(base, list(range(65)))
