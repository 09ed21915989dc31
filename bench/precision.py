"""What generation gives up for speed: `python -m bench.precision`.

How often a text with the same seed differs alone and in a crowd, exactly (float32) and fast (whole numbers), and how far the fast
next-token distributions are from the exact ones.
"""

import json
from pathlib import Path

import torch

from model.checkpoint import Checkpoint, load_checkpoint
from model.config import SamplingParams
from model.decoder import Decoder, is_fast
from model.engine import Engine, Request, generate
from model.evaluate import prompt_ids

MODEL = Path(__file__).resolve().parent.parent / "model"
N_TEXTS, CROWD, N_TOKENS = 128, 64, 48


def requests(checkpoint: Checkpoint) -> list[Request]:
    """One of each question, as the page draws them."""
    lines = (MODEL / "data_eval" / "new_words.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["p"] for line in lines]
    return [
        Request(
            checkpoint="it",
            prompt_ids=prompt_ids(checkpoint, prompts[i % len(prompts)]),
            params=SamplingParams(max_tokens=N_TOKENS, seed=i),
        )
        for i in range(N_TEXTS)
    ]


def texts(checkpoint: Checkpoint, n_rows: int, *, is_exact: bool) -> list[list[int | None]]:
    """Tokens of each text, written beside up to `n_rows` - 1 others."""
    engine = Engine({"it": checkpoint}, max_rows=n_rows, is_exact=is_exact)
    return [[e.token_id for e in events] for events in generate(engine, requests(checkpoint))]


def share_of_different(checkpoint: Checkpoint, *, is_exact: bool) -> float:
    alone = texts(checkpoint, 1, is_exact=is_exact)
    crowd = texts(checkpoint, CROWD, is_exact=is_exact)
    return sum(a != b for a, b in zip(alone, crowd, strict=True)) / N_TEXTS


@torch.inference_mode()
def divergence(checkpoint: Checkpoint) -> tuple[float, float]:
    """Mean of KL(exact | fast) in nats over the positions of written texts, and the share with another favourite."""
    decoder = Decoder(checkpoint.model)
    found: list[tuple[float, float]] = []
    written = texts(checkpoint, CROWD, is_exact=True)
    for request, tokens in zip(requests(checkpoint), written, strict=True):
        ids = torch.tensor([[*request.prompt_ids, *(t for t in tokens if t is not None)]])
        exact = checkpoint.model(ids)[0].log_softmax(-1)  # (T, V)
        cache = decoder.new_cache()
        cache.append(1)
        here = cache.begin(0, 1, ids.shape[1])
        fast = decoder.logits(decoder.hidden(ids, cache, here)[0]).log_softmax(-1)
        kl = (exact.exp() * (exact - fast)).sum(-1)[len(request.prompt_ids) - 1 :]
        other = (exact.argmax(-1) != fast.argmax(-1))[len(request.prompt_ids) - 1 :]
        found += zip(kl.tolist(), other.float().tolist(), strict=True)
    kls, others = zip(*found, strict=True)
    return sum(kls) / len(kls), sum(others) / len(others)


def main() -> None:
    print(f"{N_TEXTS} texts of up to {N_TOKENS} tokens, alone and among {CROWD}")
    for name in ("base", "tuned"):
        checkpoint = load_checkpoint(MODEL / "checkpoints" / name)
        print(f"{name}, exact: {share_of_different(checkpoint, is_exact=True):.1%} differ")
        if is_fast(torch.device("cpu")):
            kl, other = divergence(checkpoint)
            print(
                f"{name}, fast: {share_of_different(checkpoint, is_exact=False):.1%} differ; "
                f"KL from exact {kl:.5f} nats, another favourite token {other:.1%}"
            )


if __name__ == "__main__":
    main()
