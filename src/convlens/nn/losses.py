"""Losses torch lacks, or leaves undefined where every pixel is ignored: one number each, to be made small.

Logits are (N, K) or (N, K, H, W), targets the class indices (N,) or (N, H, W). A position whose target equals
`ignore_index` counts nowhere and gets gradient 0; where nothing counts, loss and gradient are 0, not nan. Half
precision is worked out in single. `huber_loss` takes numbers. Losses know nothing of networks or training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError, did_you_mean

IGNORE = -100  # torch's own default


def cross_entropy(
    logits: Tensor, targets: Tensor, *, class_weights: Tensor | None = None, ignore_index: int = IGNORE
) -> Tensor:
    """Mean of -log softmax(logits) at the target, over the positions that count; weighted by class where asked.

    Shapes:
        logits (N, K, ...), targets (N, ...), class_weights (K,) -> ()

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1])).item().__round__(4)
        0.6931

    Raises:
        ShapeError: the shapes do not fit each other.

    Differs: torch's mean of nothing is nan; here it is 0.
    """
    logits, targets, _ = _check(logits, targets, class_weights, ignore_index)
    weights = None if class_weights is None else class_weights.to(logits)
    total = F.cross_entropy(logits, targets, weights, ignore_index=ignore_index, reduction="sum")
    return total / _at_least_tiny(_weight_of(targets, weights, ignore_index, logits).sum())


def focal_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    gamma: float = 2.0,
    class_weights: Tensor | None = None,
    ignore_index: int = IGNORE,
) -> Tensor:
    """Cross-entropy with the easy positions turned down: mean of -(1 - p)^gamma log p, p of the target.

    log(1 - p) is the log-sum-exp of the other classes, so that no p that rounds to 1 makes the gradient nan, whatever
    gamma. Gamma 0 is `cross_entropy`.

    Shapes:
        logits (N, K, ...), targets (N, ...), class_weights (K,) -> ()

    Example:
        >>> focal_loss(torch.zeros(1, 2), torch.tensor([1])).item().__round__(4)  # 0.25 * 0.6931
        0.1733

    Raises:
        ShapeError: the shapes do not fit each other.
        ConfigError: gamma is negative.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, arXiv:1708.02002, equation 5.
    Differs: a softmax over K classes for a sigmoid; divided by the weights that count, not by the number of objects.
    """
    if not gamma >= 0:
        raise ConfigError(f"The gamma of the focal loss must be at least 0, such as 2; got {gamma}.")
    logits, targets, counts = _check(logits, targets, class_weights, ignore_index)
    weights = None if class_weights is None else class_weights.to(logits)
    at = targets.where(counts, 0).unsqueeze(1)
    logs = logits.log_softmax(1)
    log_p = logs.gather(1, at).squeeze(1)
    log_rest = logs.scatter(1, at, -torch.inf).logsumexp(1)  # log(1 - p)
    each = -torch.exp(gamma * log_rest) * log_p
    weight = _weight_of(targets, weights, ignore_index, logits)
    return (weight * each).sum() / _at_least_tiny(weight.sum())


def dice_loss(
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = IGNORE,
    background: int | None = None,
    smooth: float = 1.0,
) -> Tensor:
    """1 - the soft Dice coefficient of each image and class, (2 sum p t + smooth) / (sum p + sum t + smooth), averaged.

    Large and small objects count alike, which cross-entropy cannot say. A class absent from an image costs what the
    network still gives it. Images in which nothing counts are left out of the mean.

    Args:
        logits: of each class at each pixel.
        targets: class indices.
        ignore_index: target of pixels that do not count.
        background: class left out of the mean; None keeps all.
        smooth: keeps the ratio defined where a class is absent, and the loss gentle where it is small (in pixels).

    Shapes:
        logits (N, K, H, W), targets (N, H, W) -> ()

    Example:
        >>> dice_loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]])).item().__round__(4)
        0.2667

    Raises:
        ShapeError: the shapes do not fit each other.
        ConfigError: smooth is not positive, or the background is no class.

    Source: Milletari et al., "V-Net", 2016, arXiv:1606.04797; without the squares of its denominator, as in Sudre et
    al. 2017, arXiv:1707.03237.
    """
    if not smooth > 0:
        raise ConfigError(f"The smoothing of the Dice loss must be positive, such as 1; got {smooth}.")
    logits, targets, counts = _check(logits, targets, None, ignore_index)
    k = logits.shape[1]
    if background is not None and not 0 <= background < k:
        raise ConfigError(f"The background must be one of the classes 0..{k - 1}, or None; got {background}.")
    p = (logits.softmax(1) * counts.unsqueeze(1)).flatten(2)  # (N, K, pixels)
    at = targets.where(counts, 0).unsqueeze(1)
    t = (torch.zeros_like(logits).scatter(1, at, 1.0) * counts.unsqueeze(1)).flatten(2)
    each = 1 - (2 * (p * t).sum(2) + smooth) / (p.sum(2) + t.sum(2) + smooth)  # (N, K)
    if background is not None:
        each = each[:, [i for i in range(k) if i != background]]
    images = counts.flatten(1).any(1).sum()  # the others have loss 0
    return each.mean(1).sum() / images.clamp(min=1)


def huber_loss(outputs: Tensor, targets: Tensor, *, delta: float = 1.0) -> Tensor:
    """Mean of e^2 / 2 where the error |e| is at most delta, and of delta (|e| - delta / 2) beyond: outliers pull less.

    Nothing is ignored: a target that is not finite makes the loss so, and training stops.

    Shapes:
        outputs and targets alike -> ()

    Example:
        >>> huber_loss(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0])).item()
        1.5

    Raises:
        ShapeError: the shapes differ.
        ConfigError: delta is not positive.

    Source: P. J. Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"Outputs and targets must have one shape; got {tuple(outputs.shape)} and {tuple(targets.shape)}. They are "
            "never stretched to fit: reshape one of them."
        )
    if not delta > 0:
        raise ConfigError(f"The delta of the Huber loss must be positive, in the unit of the target; got {delta}.")
    outputs = _single(outputs)
    return F.huber_loss(outputs, targets.to(outputs.dtype), delta=delta)


PIXEL_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "dice": dice_loss,
    "focal": focal_loss,
}


def mixed_loss(shares: Mapping[str, float], **options: Mapping[str, object]) -> Callable[[Tensor, Tensor], Tensor]:
    """A weighted sum of pixel losses, such as the sum of cross-entropy and Dice that nnU-Net trains with.

    Args:
        shares: the weight of each loss by name: `cross_entropy`, `dice`, `focal`.
        options: keyword arguments of a loss, by its name.

    Example:
        >>> loss = mixed_loss({"cross_entropy": 1.0, "dice": 0.5}, dice={"ignore_index": 255})
        >>> loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[1]]])).item().__round__(4)  # 0.6931 + 0.2667 / 2
        0.8265

    Raises:
        ConfigError: an unknown name, an option of a loss without a share, or shares that are negative or all 0.

    Source: Isensee et al., "nnU-Net", 2021, Nature Methods 18.
    """
    for name in (*shares, *options):
        if name not in PIXEL_LOSSES:
            raise ConfigError(f"There is no pixel loss '{name}'. {did_you_mean(name, PIXEL_LOSSES)}")
        if name not in shares:
            raise ConfigError(f"The options of '{name}' have no effect, since it has no share. Give it one.")
    if not shares or min(shares.values()) < 0 or not sum(shares.values()) > 0:
        raise ConfigError(f"The shares of losses must be at least 0 and not all 0; got {dict(shares)}.")

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        parts = [share * PIXEL_LOSSES[name](logits, targets, **options.get(name, {})) for name, share in shares.items()]
        return torch.stack(parts).sum()

    return loss


def _check(
    logits: Tensor, targets: Tensor, class_weights: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits in single precision at least, targets as int64, and where they count."""
    n, k, *rest = logits.shape if logits.ndim >= 2 else (0, 0)
    if k < 2 or targets.shape != (n, *rest):
        raise ShapeError(
            f"Expected logits (N, K, ...) of at least two classes and targets (N, ...); got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}."
        )
    if targets.is_floating_point():
        raise ShapeError(f"Targets must be class indices, whole numbers; got {targets.dtype}.")
    if class_weights is not None and class_weights.shape != (k,):
        raise ShapeError(f"Expected one weight for each of the {k} classes; got shape {tuple(class_weights.shape)}.")
    targets = targets.long()
    return _single(logits), targets, targets != ignore_index


def _single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _weight_of(targets: Tensor, weights: Tensor | None, ignore_index: int, like: Tensor) -> Tensor:
    """Weight of each position, 0 where it is ignored."""
    counts = targets != ignore_index
    return counts.to(like.dtype) if weights is None else weights[targets.where(counts, 0)] * counts


def _at_least_tiny(total: Tensor) -> Tensor:
    return total.clamp(min=torch.finfo(total.dtype).tiny)
