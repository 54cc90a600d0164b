"""Do two readings of a paper agree? Compared where the answer depends on the image, which random weights alone rarely
bring about: without norms that fit, a deep network gives every image the same logits, and anything would agree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transplant import scatter, transplant


@torch.no_grad()
def awaken(network: nn.Module, images: Tensor, seed: int = 0) -> nn.Module:
    """Random weights, and running statistics measured on the images, so that a signal reaches the logits."""
    scatter(network, seed)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    moments = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(images)
    for norm, momentum in zip(norms, moments, strict=True):
        norm.momentum = momentum
    return network.eval()


@torch.no_grad()
def difference(network: nn.Module, other: nn.Module, images: Tensor) -> float:
    """Largest difference of two networks' answers, relative to how much they differ from image to image."""
    ours, theirs = network.eval()(images), other.eval()(images)
    return float((ours - theirs).abs().max() / theirs.std(0).mean())


def difference_with_the_weights_of(reference: nn.Module, ours: nn.Module, images: Tensor) -> float:
    """`difference`, after `ours` was given the awakened weights of `reference` by order and shape."""
    awaken(reference, images)
    transplant(reference, ours)
    return difference(ours, reference, images)
