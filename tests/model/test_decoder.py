import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from conftest import new_model, random_tokens
from support import missing
from torch import Tensor

from model import decoder as decoders
from model.checkpoint import Checkpoint
from model.config import Family, ModelConfig, SamplingParams
from model.decoder import Decoder, is_fast, new_product
from model.engine import Engine, Request, generate
from model.kv_cache import MIN_ROWS, KVCache
from model.quantize import to_int8
from model.transformer import Transformer


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def read(decoder: Decoder, cache: KVCache, first: int, tokens: Tensor) -> Tensor:
    """Logits (B, T, V) of the next tokens (B, T) of the rows from `first` on."""
    here = cache.begin(first, *tokens.shape)
    hidden = decoder.hidden(tokens, cache, here)
    cache.advance(here, [tokens.shape[1]] * len(tokens))
    return torch.stack([decoder.logits(row) for row in hidden])


def new_decoder(model: Transformer, n_rows: int) -> tuple[Decoder, KVCache]:
    decoder = Decoder(model, is_exact=True)
    cache = decoder.new_cache()
    cache.append(n_rows)
    return decoder, cache


def shaken(config: ModelConfig) -> Transformer:
    """A model in which norms and biases, which start at 1 and 0, matter too."""
    model = new_model(config)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.normal_(1.0, 0.5, generator=generator)
    return model


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("n_kv_heads", [1, 2])
def test_logits_are_those_of_the_transformer(
    tiny_config: ModelConfig, family: str, n_kv_heads: int
) -> None:
    model = shaken(replace(tiny_config, family=family, n_kv_heads=n_kv_heads))  # type: ignore[arg-type]
    tokens = random_tokens(tiny_config, 3, 10)
    decoder, cache = new_decoder(model, 3)
    steps = ((0, 5), (5, 6), (6, 7), (7, 10))
    pieces = [read(decoder, cache, 0, tokens[:, a:b]) for a, b in steps]
    torch.testing.assert_close(torch.cat(pieces, 1), model(tokens), atol=1e-5, rtol=1e-5)


def test_an_old_processor_writes_the_exact_text(base: Checkpoint) -> None:
    """Real torch on a processor that may use nothing that is new."""
    program = (
        "import sys, torch; from pathlib import Path; from model.checkpoint import load_checkpoint;"
        "from model.config import SamplingParams; from model.decoder import is_fast;"
        "from model.engine import Engine, Request, generate;"
        "assert not is_fast(torch.device('cpu'));"
        "it = load_checkpoint(Path(sys.argv[1]));"
        "asked = Request(checkpoint='it', prompt_ids=[0, 9, 8], params=SamplingParams(seed=4));"
        "print([e.token_id for e in generate(Engine({'it': it}), [asked])[0]])"
    )
    found = subprocess.check_output(
        [sys.executable, "-c", program, str(base.folder)],
        text=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
    )
    asked = Request(checkpoint="it", prompt_ids=[0, 9, 8], params=SamplingParams(seed=4))
    alone = generate(Engine({"it": base}, is_exact=True), [asked])[0]
    assert found.strip() == str([e.token_id for e in alone])


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def rounded(model: Transformer) -> Transformer:
    """A copy with the weights that 8 bits can tell apart."""
    other = copy.deepcopy(model)
    for name, weight in other.named_parameters():
        if weight.dim() == 2 and "embed" not in name:
            numbers, step = to_int8(weight)
            weight.data = numbers.float() * step.float()[:, None]
    return other


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("n_kv_heads", [1, 2])
@pytest.mark.parametrize(
    "most", [100, 20]
)  # positions for the kernels; more go to torch, as on an ARM
def test_the_fast_path_is_a_transformer_with_rounded_weights(
    tiny_config: ModelConfig,
    monkeypatch: pytest.MonkeyPatch,
    family: Family,
    n_kv_heads: int,
    most: int,
) -> None:
    """What is left are inputs of 16 bits and float16 in the cache."""
    monkeypatch.setattr(decoders, "IS_ARM", True)
    monkeypatch.setattr(decoders, "MOST", most)
    model = shaken(replace(tiny_config, family=family, n_kv_heads=n_kv_heads))
    tokens = random_tokens(tiny_config, 5, 12)
    exact = rounded(model).hidden(tokens)
    decoder = Decoder(model)
    cache = decoder.new_cache()
    cache.append(5)
    found = []
    for start, end in ((0, 7), (7, 8), (8, 9), (9, 12)):
        here = cache.begin(0, 5, end - start)
        found.append(decoder.hidden(tokens[:, start:end], cache, here))
        cache.advance(here, [end - start] * 5)
    torch.testing.assert_close(torch.cat(found, 1), exact, atol=2e-2, rtol=2e-2)
    assert rms(torch.cat(found, 1) - exact) < 3e-3


def test_a_row_is_the_same_whatever_stands_beside_it(
    base: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, in the kernels: read at once or step by step, alone or among others."""
    if not is_fast(torch.device("cpu")):
        missing("this processor rounds nothing")
    monkeypatch.setattr(decoders, "MOST", sys.maxsize)
    tokens = random_tokens(base.model.config, 7, 30)
    decoder = Decoder(base.model)
    cache = decoder.new_cache()
    cache.append(7)
    together = read(decoder, cache, 0, tokens)
    cache.clear()
    cache.append(1)
    alone = torch.cat([read(decoder, cache, 0, tokens[4:5, i : i + 1]) for i in range(30)], 1)
    assert torch.equal(alone[0], together[4])
    exact = base.model(tokens).log_softmax(-1)
    assert 0 < rms(together.log_softmax(-1) - exact) < 0.1


def test_an_exact_product_errs_by_its_rounding_only() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 96, generator=generator)
    bias = torch.randn(64, generator=generator)
    x = torch.randn(40, 96, generator=generator)
    exact = x.double() @ weight.double().T + bias
    assert rms(new_product(weight, bias).of(x) - exact) < 2.0**-21 * rms(exact)


def test_a_freed_row_leaves_the_others_as_they_were(tiny_config: ModelConfig) -> None:
    model = new_model(tiny_config)
    tokens = random_tokens(tiny_config, 3, 8)
    decoder, cache = new_decoder(model, 3)
    for row, length in enumerate((4, 7, 6)):
        read(decoder, cache, row, tokens[row : row + 1, :length])
    assert cache.remove(0) == 2
    step = read(decoder, cache, 0, torch.stack([tokens[2, 6:7], tokens[1, 7:8]]))
    torch.testing.assert_close(step[0, 0], model(tokens[2:3, :7])[0, -1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(step[1, 0], model(tokens[1:2, :8])[0, -1], atol=1e-5, rtol=1e-5)


def test_what_is_kept_survives_growing(tiny_config: ModelConfig) -> None:
    model = new_model(replace(tiny_config, max_context=512))
    tokens = random_tokens(tiny_config, 1, 200)
    decoder, cache = new_decoder(model, 1)
    read(decoder, cache, 0, tokens[:, :100])
    cache.append(3 * MIN_ROWS)
    rest = read(decoder, cache, 0, tokens[:, 100:])
    torch.testing.assert_close(rest, model(tokens)[:, 100:], atol=1e-4, rtol=1e-4)


def test_nothing_is_written_beyond_the_context(tiny_config: ModelConfig) -> None:
    _, cache = new_decoder(new_model(tiny_config), 1)
    cache.begin(0, 1, tiny_config.max_context)
    with pytest.raises(ValueError, match=f"context of {tiny_config.max_context}"):
        cache.begin(0, 1, tiny_config.max_context + 1)
