"""Matrices in 8 bits with one scale a row."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # behind a matrix's name: that of its scales


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight (O, I) -> whole numbers from -127 to 127 (O, I) and the step of each row, bfloat16 (O,).

    weight is about the numbers times the step, off by half a step at most but for the step's own rounding.
    """
    weight = weight.float()
    step = (weight.abs().amax(dim=1) / 127).clamp(min=2.0**-100).bfloat16()
    numbers = (weight / step.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return numbers, step


def from_int8(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint, with those that are in 8 bits as float32 matrices."""
    return {
        name: weight.float() * weights[name + SCALE].float()[:, None]
        if name + SCALE in weights
        else weight
        for name, weight in weights.items()
        if not name.endswith(SCALE)
    }
