"""A checkpoint as one GGUF file, for llama.cpp and what is built on it: `python -m model.gguf FOLDER FILE`.

Matrices as float16 (or float32), norms as float32, our tokenizer and chat template with them.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor

from model.chat import plain_template
from model.checkpoint import Checkpoint, load_checkpoint
from model.errors import BadInput
from model.tokenizer import PAD

PRE_TOKENIZER = "smollm"  # llama.cpp's name for our split: digits alone, then GPT-2's
NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def export_gguf(
    checkpoint: Checkpoint, path: Path, *, dtype: type[np.floating] = np.float16
) -> None:
    """Write a checkpoint of ours; BadInput for other families, which llama.cpp's own converter knows."""
    config = checkpoint.model.config
    if config.family != "llama" or config.rope_scaling:
        raise BadInput("Only checkpoints of this project's architecture are written as GGUF here.")
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(f"dois-treinos-{checkpoint.folder.name}")
    writer.add_context_length(config.max_context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.ffn_width)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)
    is_half = dtype == np.float16
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if is_half else gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, checkpoint)
    for name, weight in checkpoint.model.state_dict().items():
        wide = weight.float().cpu()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            wide = interleaved(wide, config.head_width)
        array = wide.numpy()
        writer.add_tensor(tensor_name(name), array.astype(dtype if array.ndim > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def interleaved(weight: Tensor, head_width: int) -> Tensor:
    """Rows of a q or k matrix (H·D, C) in the order of llama.cpp, whose rotation turns neighbours and not halves."""
    heads = weight.view(-1, 2, head_width // 2, weight.shape[1])  # (H, 2, D/2, C)
    return heads.transpose(1, 2).reshape(weight.shape).contiguous()


def tensor_name(name: str) -> str:
    """llama.cpp's name of one of our weights."""
    if name.startswith("layers."):
        _, layer, rest = name.split(".", 2)
        return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"
    return f"{NAMES[name.removesuffix('.weight')]}.weight"


def _add_tokenizer(writer: gguf.GGUFWriter, checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.tokenizer
    model = json.loads(tokenizer.backend.to_str())["model"]
    tokens = [tokenizer.backend.id_to_token(i) or "" for i in range(len(tokenizer))]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list(tokens)
    writer.add_token_types(
        [control if i in tokenizer.special_ids else normal for i in range(len(tokens))]
    )
    writer.add_token_merges(
        [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    )
    start = tokenizer.encode_document("")
    writer.add_add_bos_token(bool(start))
    if start:
        writer.add_bos_token_id(start[0])
    for end in sorted(checkpoint.end_ids)[:1]:
        writer.add_eos_token_id(end)
    if (pad := tokenizer.token_id(PAD)) is not None:
        writer.add_pad_token_id(pad)
    if checkpoint.chat_template:
        writer.add_chat_template(plain_template(checkpoint.chat_template.source))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="model.gguf", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    with torch.inference_mode():
        export_gguf(load_checkpoint(args.folder), args.file)
    print(f"{args.file}: {args.file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
