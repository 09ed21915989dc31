"""Where tensors live and in which precision they are multiplied."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

CORES = torch.get_num_threads()  # as torch counts them before anybody changes it


def use_cores(n: int) -> None:
    """How many cores this thread computes on, and those that compute for the first time after it.

    Where one thread of a process computes all the time, all others should use one core: OpenMP lets waiting cores stay
    awake only while there are no more threads in its teams than cores. With a second team they fall asleep within each
    of the hundreds of small operations of a decoding pass, which then takes twice as long.
    """
    torch.get_num_threads()  # a thread's first look would undo what was set before it
    torch.set_num_threads(n)


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
