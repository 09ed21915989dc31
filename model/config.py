"""What a network, a training run and a generation are made of: three frozen records, checked when made."""

from dataclasses import dataclass
from typing import Literal

Family = Literal["llama", "qwen2", "qwen3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """How Llama 3 stretches its rotary positions beyond the context that it was first trained with."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int  # positions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of one network. The defaults are those of the embedded pair: 17.3 million parameters."""

    vocab_size: int = 8192
    n_layers: int = 8
    width: int = 384  # C
    n_heads: int = 6  # H
    n_kv_heads: int = 6  # K; fewer than H means grouped queries
    head_width: int = 64  # D
    ffn_width: int = 1024
    max_context: int = 512  # positions
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm_eps: float = 1e-5
    tie_embeddings: bool = True
    family: Family = "llama"

    def __post_init__(self) -> None:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} heads cannot share {self.n_kv_heads} key-value heads")
        if self.head_width % 2:
            raise ValueError(f"rotary positions need an even head width, not {self.head_width}")

    @property
    def has_qkv_bias(self) -> bool:
        return self.family == "qwen2"

    @property
    def has_qk_norm(self) -> bool:
        return self.family == "qwen3"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run, pretraining and fine-tuning alike."""

    steps: int  # optimizer steps in all
    batch_tokens: int = 8192  # tokens per optimizer step, over all micro-batches and processes
    micro_batch_tokens: int = 8192  # tokens per forward pass in one process
    row_tokens: int = 512  # longest row
    warmup_steps: int = 50  # learning rate rises linearly from 0
    decay_share: float = 0.35  # last share of the steps, in which it falls linearly to 0
    muon_lr: float = 0.02  # for the matrices of the layers
    adamw_lr: float = 3e-3  # for embeddings and norms
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0
    eval_every: int = 100  # optimizer steps
    save_every_s: float = 120.0  # seconds between saved states

    def __post_init__(self) -> None:
        if self.steps < 1 or self.warmup_steps < 0 or not 0 <= self.decay_share <= 1:
            raise ValueError(f"impossible schedule: {self}")
        if self.batch_tokens < self.row_tokens:
            raise ValueError(
                f"a batch of {self.batch_tokens} tokens holds no row of {self.row_tokens}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is drawn. Temperature 0 takes the most probable one."""

    temperature: float = 0.8
    top_k: int = 40  # 0: the whole vocabulary
    top_p: float = 1.0  # smallest set of tokens whose probability reaches it
    max_tokens: int = 64
    seed: int = 0
    stop: tuple[str, ...] = ()  # texts before which an answer ends
    ignores_end: bool = False  # go on after the end token, for measurements

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 10:
            raise ValueError(f"temperature must be between 0 and 10, not {self.temperature}")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"top_k >= 0 and 0 < top_p <= 1, not {self.top_k} and {self.top_p}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2**63 - 1, not {self.seed}")
        if not all(self.stop):
            raise ValueError("an empty text cannot end an answer")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}")
