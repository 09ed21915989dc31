"""What training makes small: pure functions of tensors, in nats."""

from torch import Tensor
from torch.nn.functional import cross_entropy


def next_token_loss(logits: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood of the next token, summed over the positions that count, in nats: ().

    logits  (B, T, V)      position t predicts tokens[:, t + 1]
    tokens  (B, T + 1)
    mask    (B, T)         True where the prediction counts
    """
    nll = cross_entropy(
        logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none"
    )  # (B*T,)
    return (nll * mask.flatten()).sum()
