"""A checkpoint written as GGUF and read back by `transformers`, which knows llama.cpp's order of the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model.chat import raw_prompt
from model.checkpoint import Checkpoint
from model.gguf import export_gguf


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_transformers_reads_the_same_network(
    base: Checkpoint, tmp_path: Path, dtype: type[np.floating]
) -> None:
    import transformers

    export_gguf(base, tmp_path / "base.gguf", dtype=dtype)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="base.gguf", dtype=torch.float32
    )
    tokens = torch.tensor([raw_prompt(base.tokenizer, "O rei de Roma e a rainha")])
    with torch.no_grad():
        difference = (theirs(tokens).logits - base.model(tokens)).abs().max()
    assert float(difference) < (1e-4 if dtype == np.float32 else 2e-2)


def test_the_tokenizer_comes_along(tuned: Checkpoint, tmp_path: Path) -> None:
    import transformers

    export_gguf(tuned, tmp_path / "tuned.gguf")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="tuned.gguf")
    for text in ("O rei de Roma, 1994!", "ação 東京 🎈"):
        ids = tuned.tokenizer.encode(text)
        assert theirs.decode(ids) == text
    assert "<|usuario|>" in theirs.chat_template
    assert "generation %}" not in theirs.chat_template
