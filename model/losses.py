"""What training makes small: pure functions of tensors, in nats."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the next token, summed over the positions that count, in nats: ().

    logits   (M, V)  of the M positions that count, row by row; where all do, (B, T, V) is the same
    targets  (M,)    the token that follows each
    """
    return cross_entropy(logits.flatten(0, -2).float(), targets, reduction="sum")
