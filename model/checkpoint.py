"""A checkpoint is a Hugging Face folder: `transformers`, vLLM, llama.cpp and TRL open it unchanged.

Beside the usual files, `training.json` records how the weights came about and their SHA-256.
"""

import hashlib
import json
import os
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.card import checkpoint_card
from model.chat import CHAT_TEMPLATE, ChatTemplate, Envelope
from model.config import Family, ModelConfig, RopeScaling
from model.errors import BrokenCheckpoint
from model.loop import Progress
from model.quantize import widen
from model.tokenizer import DOCUMENT, END, PAD, SPECIAL_TOKENS, Tokenizer
from model.transformer import Transformer, count_parameters

WEIGHTS = "model.safetensors"
MAX_CONTEXT = 2048  # positions used of a network that could read more: a class asks short questions
ARCHITECTURES: dict[str, Family] = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}


@dataclass(slots=True, kw_only=True)
class TrainingRecord:
    """How a set of weights came about."""

    stage: str  # pretrain | finetune | unknown
    steps: int = 0
    tokens_seen: int = 0  # with those of the parent's record
    seconds: float = 0.0  # of training, over all sittings, likewise
    hardware: str = ""
    commit: str = ""
    finished: str = ""  # ISO 8601, UTC
    torch: str = torch.__version__
    parent_sha256: str = ""
    weights_sha256: str = ""
    parent: dict[str, Any] = field(
        default_factory=dict
    )  # the record that a second reading, or a second tuning, goes on from
    config: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        stage: str,
        progress: Progress,
        config: dict[str, Any],
        hardware: str,
        *,
        data: dict[str, Any],
        commit: str,
        parent_sha256: str = "",
    ) -> Self:
        return cls(
            stage=stage,
            steps=progress.step,
            tokens_seen=progress.tokens_seen,
            seconds=round(progress.seconds, 1),
            hardware=hardware,
            commit=commit,
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            parent_sha256=parent_sha256,
            config=config,
            data=data,
            curve=progress.curve,
        )

    def reads_on_from(self, parent: Self) -> None:
        """Add what the weights had read before this run."""
        self.parent_sha256 = parent.weights_sha256
        self._add(parent)

    def tunes_on_from(self, parent: Self) -> None:
        """Add what the weights had been asked before this run; their base is the same."""
        self.parent_sha256 = parent.parent_sha256
        self._add(parent)

    def _add(self, parent: Self) -> None:
        self.parent = asdict(parent)
        self.tokens_seen += parent.tokens_seen
        self.seconds = round(self.seconds + parent.seconds, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights that are ready to run, with all that belongs to them."""

    folder: Path
    model: Transformer
    tokenizer: Tokenizer
    record: TrainingRecord
    sha256: str  # of the weights file
    end_ids: frozenset[int]  # tokens that end an answer
    envelope: Envelope  # chat where the folder has a chat template
    chat_template: ChatTemplate | None = None


def save_checkpoint(
    folder: Path,
    model: Transformer,
    tokenizer: Tokenizer,
    record: TrainingRecord,
    *,
    end_token: str,
) -> None:
    """Write a folder with bfloat16 weights. `training.json` comes last, so a folder with it is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").unlink(missing_ok=True)
    weights = {
        _hf_name(k): v.detach().to("cpu", torch.bfloat16).contiguous()
        for k, v in model.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # for other users too, such as a container's
    tokenizer.save(folder / "tokenizer.json")
    bos, eos, pad = (tokenizer.token_id(t) for t in (DOCUMENT, end_token, PAD))
    _write(folder / "config.json", hf_config(model.config, bos, eos, pad))
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": DOCUMENT,
            "eos_token": end_token,
            "pad_token": PAD,
            "additional_special_tokens": list(SPECIAL_TOKENS),
            "clean_up_tokenization_spaces": False,
            "model_max_length": model.config.max_context,
            **({"chat_template": CHAT_TEMPLATE} if end_token == END else {}),
        },
    )
    _write(
        folder / "generation_config.json",
        {
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": pad,
            "do_sample": True,
            "temperature": 0.8,
            "top_k": 40,
        },
    )
    record.weights_sha256 = file_sha256(folder / WEIGHTS)
    card = checkpoint_card(folder.name, asdict(record), count_parameters(model))
    (folder / "README.md").write_text(card, encoding="utf-8")
    _write(folder / "training.json", asdict(record))


def load_checkpoint(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> Checkpoint:
    """Read a folder of ours or of others; a fault is a BrokenCheckpoint that says what and where."""
    config_json, config = look_at(folder)
    sha256 = file_sha256(folder / WEIGHTS)
    record = _read_record(folder, sha256)
    model = Transformer(config)
    try:
        stored = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BrokenCheckpoint(f"{folder / WEIGHTS} is damaged or cut off ({error}).") from error
    try:
        weights = widen(stored)
        if model.config.tie_embeddings:
            weights.pop("lm_head.weight", None)  # some folders hold the embeddings twice
        _refuse_what_is_no_number(weights, folder)
        model.load_state_dict({_our_name(k): v for k, v in weights.items()})
    except (RuntimeError, IndexError) as error:
        raise BrokenCheckpoint(
            f"The weights in {folder} do not fit its config.json: {error}"
        ) from error
    model.to(device or torch.device("cpu"), dtype).eval().requires_grad_(False)
    try:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except Exception as error:  # tokenizers raises plain Exception
        raise BrokenCheckpoint(f"{folder / 'tokenizer.json'} cannot be read ({error}).") from error
    chat_template = _read_chat_template(folder)
    return Checkpoint(
        folder=folder,
        model=model,
        tokenizer=tokenizer,
        record=record,
        sha256=sha256,
        end_ids=_end_ids(config_json, folder),
        envelope="chat" if chat_template else "raw",
        chat_template=chat_template,
    )


def _refuse_what_is_no_number(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Whole numbers have no NaN, so the fast products would hide it."""
    for name, weight in weights.items():
        if not weight.sum(dtype=torch.float32).isfinite():
            raise BrokenCheckpoint(
                f"{folder / WEIGHTS} has weights that are no numbers, in {name}."
            )


def look_at(folder: Path) -> tuple[dict[str, Any], ModelConfig]:
    """A folder's config.json, and in our words; refuses what is seen to be amiss before the weights are read."""
    if not folder.is_dir():
        raise BrokenCheckpoint(f"There is no checkpoint folder {folder}.")
    config_json = _read(folder / "config.json")
    for name in (WEIGHTS, "tokenizer.json"):
        if not (folder / name).exists():
            raise BrokenCheckpoint(f"{folder} has no {name}: the checkpoint is incomplete.")
    return config_json, read_hf_config(config_json, folder)


def hf_config(
    config: ModelConfig, bos: int | None, eos: int | None, pad: int | None
) -> dict[str, Any]:
    """Our ModelConfig in the words of Hugging Face."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.n_layers,
        "hidden_size": config.width,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.ffn_width,
        "hidden_act": "silu",
        "max_position_embeddings": config.max_context,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "torch_dtype": "bfloat16",
    }


def read_hf_config(hf: dict[str, Any], folder: Path, max_context: int = MAX_CONTEXT) -> ModelConfig:
    """The words of Hugging Face as our ModelConfig; refuses what our network does not compute."""
    architecture = (hf.get("architectures") or ["?"])[0]
    family = ARCHITECTURES.get(architecture)
    if family is None:
        known = ", ".join(ARCHITECTURES)
        raise BrokenCheckpoint(f"{folder} is a {architecture}; this program runs {known}.")
    if hf.get("hidden_act", "silu") != "silu":
        raise BrokenCheckpoint(f"{folder} uses {hf['hidden_act']}; this program computes silu.")
    rope = hf.get("rope_parameters") or hf.get("rope_scaling") or {}
    try:
        width, n_heads = hf["hidden_size"], hf["num_attention_heads"]
        return ModelConfig(
            vocab_size=hf["vocab_size"],
            n_layers=hf["num_hidden_layers"],
            width=width,
            n_heads=n_heads,
            n_kv_heads=hf.get("num_key_value_heads") or n_heads,
            head_width=hf.get("head_dim") or width // n_heads,
            ffn_width=hf["intermediate_size"],
            max_context=min(hf["max_position_embeddings"], max_context),
            rope_theta=rope.get("rope_theta") or hf.get("rope_theta", 10_000.0),
            rope_scaling=_rope_scaling(rope, hf, folder),
            norm_eps=hf["rms_norm_eps"],
            tie_embeddings=hf.get("tie_word_embeddings", False),
            family=family,
        )
    except (KeyError, ValueError) as error:
        raise BrokenCheckpoint(f"{folder / 'config.json'} lacks or misstates {error}.") from error


def _rope_scaling(rope: dict[str, Any], hf: dict[str, Any], folder: Path) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise BrokenCheckpoint(
            f"{folder} scales its rotary positions by {kind}; this program knows llama3 only."
        )
    return RopeScaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_context=rope.get("original_max_position_embeddings")
        or hf["max_position_embeddings"],
    )


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def current_commit() -> str:
    """The commit this code was run from, "+" behind it where files were changed; empty outside git.

    `DOIS_TREINOS_COMMIT` says it where only the files of a commit are, as on a lent GPU.
    """
    if "DOIS_TREINOS_COMMIT" in os.environ:
        return os.environ["DOIS_TREINOS_COMMIT"]
    here = Path(__file__).resolve().parent
    try:
        describe = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
        return subprocess.run(  # noqa: S603 (a fixed command)
            describe, cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _read_record(folder: Path, sha256: str) -> TrainingRecord:
    """`training.json`, checked against the weights; folders of others have none."""
    if not (folder / "training.json").exists():
        return TrainingRecord(stage="unknown", weights_sha256=sha256)
    try:
        record = TrainingRecord(**_read(folder / "training.json"))
    except TypeError as error:
        raise BrokenCheckpoint(f"{folder / 'training.json'} cannot be read ({error}).") from error
    if record.weights_sha256 != sha256:
        raise BrokenCheckpoint(
            f"The weights in {folder} are not those that training.json describes "
            f"(SHA-256 {sha256[:12]}…, expected {record.weights_sha256[:12]}…). Fetch the folder again."
        )
    return record


def _read_chat_template(folder: Path) -> ChatTemplate | None:
    """From tokenizer_config.json, where there may be several by name, or from a file of its own."""
    config = _read(folder / "tokenizer_config.json")
    source = config.get("chat_template")
    if isinstance(source, list):
        source = next((t["template"] for t in source if t.get("name") == "default"), None)
    if source is None and (folder / "chat_template.jinja").exists():
        source = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not source:
        return None
    bos, eos = (config.get(name) or "" for name in ("bos_token", "eos_token"))
    bos, eos = (t["content"] if isinstance(t, dict) else t for t in (bos, eos))
    return ChatTemplate(source, bos, eos)


def _end_ids(config_json: dict[str, Any], folder: Path) -> frozenset[int]:
    generation = (
        _read(folder / "generation_config.json")
        if (folder / "generation_config.json").exists()
        else {}
    )
    eos = generation.get("eos_token_id", config_json.get("eos_token_id"))
    return frozenset([eos] if isinstance(eos, int) else eos or [])


def _hf_name(name: str) -> str:
    return name if name.startswith("lm_head") else f"model.{name}"


def _our_name(name: str) -> str:
    return name.removeprefix("model.")


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BrokenCheckpoint(
            f"{path.parent} has no {path.name}: the checkpoint is incomplete."
        ) from error
    except (ValueError, TypeError) as error:
        raise BrokenCheckpoint(f"{path} cannot be read ({error}).") from error


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
