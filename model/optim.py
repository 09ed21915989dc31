"""Which optimizer moves which weights, and how fast.

Muon (Jordan et al. 2024) orthogonalises the momentum of each matrix of the layers; AdamW (Loshchilov & Hutter
2019) moves the embeddings and the norms. The learning rate rises, stays, and falls linearly to zero (the
warm-up-stable-decay schedule of Hu et al. 2024), so that a run can be made longer until the fall begins.
"""

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from model.config import TrainConfig


def make_optimizers(model: nn.Module, config: TrainConfig) -> list[Optimizer]:
    """Muon for the matrices inside the layers, AdamW for all else."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.dim() == 2 and "layers." in name
        (matrices if is_matrix else others).append(parameter)
    return [
        Muon(matrices, lr=config.muon_lr, momentum=0.95, weight_decay=config.weight_decay),
        AdamW(others, lr=config.adamw_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def lr_factor(step: int, config: TrainConfig) -> float:
    """Share of the highest learning rate at a step, between 0 and 1."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay = min(1.0, (config.steps - step) / max(1, config.steps - decay_start(config)))
    return min(warmup, decay)


def decay_start(config: TrainConfig) -> int:
    """The step at which the learning rate begins to fall."""
    return config.steps - round(config.decay_share * config.steps)


def set_lr(optimizers: list[Optimizer], step: int, config: TrainConfig) -> None:
    factor = lr_factor(step, config)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("max_lr", group["lr"])
            group["lr"] = group["max_lr"] * factor
