"""Where tensors live and in which precision they are multiplied."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch


def pick_device(wanted: str | None = None) -> torch.device:
    """The device asked for, else the best one present. Entry points call it once."""
    if wanted is None and torch.cuda.is_available():
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", local_rank)
    return torch.device(wanted or "cpu")


def mixed_precision(device: torch.device, is_on: bool) -> AbstractContextManager[object]:
    """bfloat16 matrix products over float32 weights, where asked for."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if is_on else nullcontext()


def hardware(device: torch.device) -> str:
    """A word about the machine for the training record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
