"""Parity: an operation by its definition and by torch must agree, in value, in gradients and in every trace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from convlens.reference import Result

FORWARD, GRADIENT = 1e-12, 1e-10


def assert_close(actual: object, expected: object, tolerance: float, what: str) -> None:
    """Equal in shape, and nowhere further apart than `tolerance` times the largest number expected (at least 1)."""
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert a.shape == e.shape, f"{what}: shape {a.shape}, expected {e.shape}"
    if a.size:
        distance, scale = abs(a - e).max(), max(1.0, abs(e).max())
        assert distance <= tolerance * scale, f"{what}: off by {distance:.2e}, allowed {tolerance * scale:.2e}"


def assert_parity(
    reference: Callable[..., Result], twin: Callable[..., Tensor], inputs: Mapping[str, np.ndarray], *, traces: int = 4
) -> None:
    """Both get the inputs in their order; `reference` must give the gradient of each by its name."""
    result = reference(*inputs.values())
    tensors = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in inputs.values()]
    expected = twin(*tensors)
    assert_close(result.value, expected.detach().numpy(), FORWARD, "value")

    random = np.random.default_rng(0)
    gradient = random.standard_normal(result.shape)
    expected.backward(torch.tensor(gradient))
    gradients = result.backward(gradient)
    for name, tensor in zip(inputs, tensors, strict=True):
        assert tensor.grad is not None, f"torch has no gradient for {name}"
        assert_close(gradients[name], tensor.grad.numpy(), GRADIENT, f"gradient of {name}")
    assert_traced(result, traces)


def assert_traced(result: Result, most: int = 1000) -> None:
    """Traces end in the number that the operation computed, and can be written down."""
    places = list(np.ndindex(result.shape))
    chosen = np.random.default_rng(0).permutation(len(places))[:most]
    for out in (places[i] for i in chosen):
        trace = result.trace(out)
        assert_close(trace.result, result.value[out], FORWARD, f"trace of {out}")
        assert str(trace).startswith(trace.operation)
        assert json.loads(json.dumps(trace.to_json(), allow_nan=False))["out"] == list(out)
