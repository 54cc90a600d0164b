"""Give one network another one's weights, matched by order and shape: two readings of a paper must then agree."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def transplant(source: nn.Module, target: nn.Module) -> None:
    """Copy all parameters and buffers of `source` into `target`, in the order in which both define them.

    Raises:
        AssertionError: the two have other numbers of tensors, or a pair has different shapes.
    """
    ours, theirs = target.state_dict(), source.state_dict()
    assert len(ours) == len(theirs), f"{len(ours)} tensors here, {len(theirs)} there"
    for (name, value), (other, weights) in zip(ours.items(), theirs.items(), strict=True):
        assert value.shape == weights.shape, f"{name} is {tuple(value.shape)}, {other} is {tuple(weights.shape)}"
    target.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))


@torch.no_grad()
def scatter(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and running statistics, none at its starting value, so that nothing can agree by chance."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
            values = torch.randn(tensor.shape, generator=generator)
            tensor.copy_(values / fan_in**0.5 if tensor.ndim > 1 else 1.0 + 0.2 * values.clamp(-2, 2))
    return network


@torch.no_grad()
def gap(network: nn.Module, other: nn.Module, images: Tensor) -> float:
    """Largest difference of two networks' answers, relative to their spread, in evaluation mode."""
    ours, theirs = network.eval()(images), other.eval()(images)
    return float((ours - theirs).abs().max() / theirs.std())
