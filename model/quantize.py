"""Matrices in 8 bits with one scale a row, or in 4 bits with one for every 32 weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"  # behind a matrix's name: that of its scales
GROUP = 32  # weights of a row that share a scale in 4 bits
SMALLEST = 2.0**-100  # step of weights that are all zero


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight (O, I) -> whole numbers from -127 to 127 (O, I) and the step of each row, bfloat16 (O,).

    weight is about the numbers times the step, off by half a step at most but for the step's own rounding.
    """
    weight = weight.float()
    step = (weight.abs().amax(dim=1) / 127).clamp(min=SMALLEST).bfloat16()
    numbers = (weight / step.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return numbers, step


def to_int4(weight: Tensor, bits: int = 4) -> tuple[Tensor, Tensor]:
    """weight (O, I) -> whole numbers from -8 to 7, two to a byte (O, I / 2), and the step of each group, bfloat16 (O, I / 32).

    The weight farthest from zero is -8 of its group's steps, which are negative where it is positive (as in llama.cpp's
    Q4_0); one as far on the other side is 7 of them. The even place of a pair stands in the lower half of its byte, each
    number 8 too high. I is a multiple of 32. With 3 or 2 `bits` only numbers from -4 to 3 or -2 to 1 are used: no fewer bytes, but
    such as git and zip make smaller.
    """
    n = 2 ** (bits - 1)
    groups = weight.float().reshape(len(weight), -1, GROUP)  # (O, I / 32, 32)
    farthest = groups.gather(2, groups.abs().argmax(dim=2, keepdim=True)).squeeze(2)  # (O, I / 32)
    step = (farthest / -n).bfloat16()
    step[step.abs() < SMALLEST] = SMALLEST
    numbers = (groups / step.float()[..., None]).round().clamp(-n, n - 1).flatten(1) + 8  # (O, I)
    low, high = numbers.to(torch.uint8).reshape(len(weight), -1, 2).unbind(2)
    return low | high << 4, step


def from_int4(pairs: Tensor, step: Tensor) -> Tensor:
    """What `to_int4` gave, as a float32 matrix (O, I)."""
    numbers = torch.stack([pairs & 15, pairs >> 4], dim=2).flatten(1).float() - 8
    groups = numbers.reshape(len(pairs), -1, GROUP) * step.float()[..., None]
    return groups.flatten(1)


def widen(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint, with those that are in 8 or 4 bits as float32 matrices."""
    wide = {}
    for name, weight in weights.items():
        if name.endswith(SCALE):
            continue
        step = weights.get(name + SCALE)
        if step is None:
            wide[name] = weight
        elif weight.dtype == torch.uint8:
            wide[name] = from_int4(weight, step)
        else:
            wide[name] = weight.float() * step.float()[:, None]
    return wide
