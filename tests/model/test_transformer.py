from pathlib import Path

import pytest
import torch
from conftest import random_tokens
from safetensors.torch import load_file, save_file

from model.checkpoint import Checkpoint


def test_changing_a_later_token_leaves_earlier_logits_alone(base: Checkpoint) -> None:
    tokens = random_tokens(base.model.config, 1, 12)
    changed = tokens.clone()
    changed[0, 8] = (changed[0, 8] + 1) % base.model.config.vocab_size
    before, after = base.model(tokens), base.model(changed)
    torch.testing.assert_close(before[:, :8], after[:, :8])
    assert not torch.allclose(before[:, 8:], after[:, 8:])


def test_logits_are_those_of_transformers_on_our_own_folder(base: Checkpoint) -> None:
    import transformers

    theirs = transformers.AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    assert type(theirs).__name__ == "LlamaForCausalLM"
    tokens = random_tokens(base.model.config, 2, 40)
    with torch.no_grad():
        torch.testing.assert_close(base.model(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("family", "rope"),
    [("Qwen2", None), ("Qwen3", None), ("Llama", None), ("Llama", LLAMA_3)],
)
def test_logits_are_those_of_transformers_on_a_folder_of_theirs(
    family: str, rope: dict[str, object] | None, base: Checkpoint, tmp_path: Path
) -> None:
    import transformers

    from model.checkpoint import load_checkpoint

    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(base.tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        tie_word_embeddings=family == "Qwen3",
        rope_parameters=rope or {"rope_type": "default", "rope_theta": 5000.0},
    )
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(0.0, 0.3)  # biases and norms too, which start at 0 and 1
    theirs.save_pretrained(tmp_path)
    if config.tie_word_embeddings:  # as Qwen's own folders do
        weights = load_file(tmp_path / "model.safetensors")
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    base.tokenizer.save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    ours = load_checkpoint(tmp_path).model
    tokens = random_tokens(ours.config, 2, 40)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)
