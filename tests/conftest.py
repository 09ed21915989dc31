"""Small real things that many tests need: a tokenizer, a network, a pair on disk."""

from pathlib import Path

import pytest
import torch

from model.checkpoint import Checkpoint, TrainingRecord, load_checkpoint, save_checkpoint
from model.config import ModelConfig
from model.tokenizer import DOCUMENT, END, Tokenizer
from model.transformer import Transformer, init_weights

torch.set_num_threads(1)  # tests run side by side

TEXTS = [
    "O rato roeu a roupa do rei de Roma. A rainha, com raiva, resolveu remendar.",
    "Quem é a mãe de Anitta? Diga bem rápido: um número de 1 a 100.",
    "Pão de queijo, café e açúcar: três coisas boas de Minas Gerais.",
    "A Constituição de 1988 garante direitos a todos os brasileiros.",
]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, vocab_size=400)


@pytest.fixture(scope="session")
def tiny_config(tokenizer: Tokenizer) -> ModelConfig:
    return ModelConfig(
        vocab_size=len(tokenizer),
        n_layers=2,
        width=32,
        n_heads=4,
        n_kv_heads=2,
        head_width=8,
        ffn_width=48,
        max_context=64,
    )


def random_tokens(config: ModelConfig, rows: int, width: int) -> torch.Tensor:
    return torch.randint(
        config.vocab_size, (rows, width), generator=torch.Generator().manual_seed(0)
    )


def new_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A network with weights large enough that its answers vary."""
    model = Transformer(config)
    init_weights(model, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(8)
    return model.eval()


@pytest.fixture(scope="session")
def pair_folder(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer, tiny_config: ModelConfig
) -> Path:
    """A folder with base/ and tuned/: real checkpoints of a tiny network with random weights."""
    folder = tmp_path_factory.mktemp("pair")
    for name, end, seed in (("base", DOCUMENT, 1), ("tuned", END, 2)):
        record = TrainingRecord(
            stage="pretrain" if name == "base" else "finetune", tokens_seen=1000
        )
        save_checkpoint(
            folder / name, new_model(tiny_config, seed), tokenizer, record, end_token=end
        )
    return folder


@pytest.fixture(scope="session")
def base(pair_folder: Path) -> Checkpoint:
    return load_checkpoint(pair_folder / "base")


@pytest.fixture(scope="session")
def tuned(pair_folder: Path) -> Checkpoint:
    return load_checkpoint(pair_folder / "tuned")
