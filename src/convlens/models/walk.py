"""What every layer of a network gives, found by one forward pass of zeros; and where it breaks, if it does.

Works for any torch module, whoever wrote it. The network itself is not touched: the pass runs on a copy, in evaluation
mode, without gradients and without moving the random generators.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from convlens.errors import ConfigError, ShapeError
from convlens.nn.keras_layer import build
from convlens.shapes import effective_kernel, pair


@dataclass(frozen=True)
class LayerRow:
    """One layer, in the order of execution.

    Attributes:
        name: the layer's path within the network; `network` for the last row, which is the network as a whole.
        kind: its class.
        output_shape: with the batch first; empty where the output is no tensor.
        parameters: its own, counted the first time the layer is used; the column adds up to the whole network.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int


def walk(network: nn.Module, input_shape: Sequence[int], *, one_tensor: bool = False) -> list[LayerRow]:
    """List the layers of a network with their shapes for one input, or say which of them does not fit.

    Args:
        network: stays as it is.
        input_shape: (N, C, H, W).
        one_tensor: refuse a network that answers with anything else, such as a tuple.

    Example:
        >>> for row in walk(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), (1, 1, 4, 4)):
        ...     print(row.name, row.kind, row.output_shape, row.parameters)
        0 Conv2d (1, 2, 2, 2) 20
        1 Flatten (1, 8) 0
        network Sequential (1, 8) 0

    Raises:
        ShapeError: a layer does not fit what reaches it; names the layer, what it received and the repair. Or the
            network does not answer with one tensor, where it has to.
    """
    trial = copy.deepcopy(network).eval()
    names = {id(module): name for name, module in trial.named_modules()}
    rows: list[LayerRow] = []
    counted: set[int] = set()
    inside: list[tuple[nn.Module, tuple[int, ...]]] = []

    def own(module: nn.Module) -> int:
        fresh = {id(p): p for p in module.parameters(recurse=False) if id(p) not in counted}
        counted.update(fresh)
        return sum(parameter.numel() for parameter in fresh.values())

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        inside.append((module, _shape(inputs)))

    def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while inside.pop()[0] is not module:
            pass  # left behind by a layer that failed and was caught
        is_layer = next(module.children(), None) is None or next(module.parameters(recurse=False), None) is not None
        if is_layer and module is not trial and not isinstance(module, nn.Identity):
            rows.append(LayerRow(names[id(module)], type(module).__name__, _shape(output), own(module)))

    for module in trial.modules():
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    x = _zeros(trial, input_shape)
    try:
        with torch.no_grad(), _random_untouched(x):
            output = trial(x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        module, received = inside[-1] if inside else (trial, tuple(input_shape))
        name, given = names[id(module)] or "network", " x ".join(str(n) for n in received) or "no tensor"
        repair = _repair(module, received, error)
        raise ShapeError(f"{name} ({type(module).__name__}) receives {given}. {repair}") from None
    if one_tensor:
        require_tensor(network, output)
    unused = sum(own(module) for module in trial.modules() if module is not trial)
    return [*rows, LayerRow("network", type(network).__name__, _shape(output), own(trial) + unused)]


def require_module(network: Any) -> None:
    """Check that something is a torch module.

    Raises:
        ConfigError: it is not; says how to come by one.
    """
    if isinstance(network, nn.Module):
        return
    name = getattr(network, "__name__", "MyNetwork")
    if isinstance(network, str):
        given, repair = f"'{network}'", f'For a network of the catalog write convlens.train(..., network="{network}").'
    elif isinstance(network, type) and issubclass(network, nn.Module):
        given, repair = f"the class {name}", f"Make one of it first: {name}(...)."
    else:
        given, repair = f"a {type(network).__name__}", "Write a class with a forward method, or use nn.Sequential(...)."
    raise ConfigError(f"network must be a torch module, an object of nn.Module; got {given}. {repair}")


def require_tensor(network: nn.Module, output: Any) -> None:
    """Check that a network answered with one tensor.

    Raises:
        ShapeError: it did not.
    """
    if not isinstance(output, Tensor):
        many = f" of {len(output)}" if isinstance(output, list | tuple | dict) else ""
        raise ShapeError(
            f"The network must give one tensor; {type(network).__name__} gives no tensor but a "
            f"{type(output).__name__}{many}. Return the answer alone from forward, in training as well."
        )


def require_float32(network: nn.Module) -> None:
    """Check that the parameters of a network are of the precision in which it is trained.

    Raises:
        ConfigError: it names the first that is not.
    """
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ConfigError(
                f"The parameters of the network must be float32; {name} is {str(parameter.dtype).split('.')[-1]}. Call "
                f"network.float() first; for a lower precision of the arithmetic there is train.precision."
            )


def materialise(network: nn.Module, input_shape: Sequence[int]) -> None:
    """Let torch's lazy layers, such as `LazyConv2d`, take their sizes and first weights from one input of zeros.

    Nothing is done where there is none. Modes and all other layers stay as they are.

    Args:
        input_shape: (N, C, H, W).

    Example:
        >>> network = nn.Sequential(nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(5))
        >>> materialise(network, (1, 1, 4, 4))
        >>> network[0].in_channels, network[2].in_features
        (1, 8)

    Raises:
        ShapeError: a layer does not fit what reaches it.
    """
    if not any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers())):
        return
    known = [p for p in network.parameters() if not is_lazy(p)]
    device = known[0].device if known else next(network.parameters()).device
    try:
        build(network, torch.zeros(tuple(input_shape), device=device))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        given, told = " x ".join(str(n) for n in input_shape), " ".join(str(error).split())[:300]
        raise ShapeError(
            f"The lazy layers of the network find no sizes in {given}: {told}. Change the layer, or data.size_px."
        ) from None


def _shape(value: Any) -> tuple[int, ...]:
    """Shape of the first tensor in whatever a module takes or gives."""
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next((shape for item in value if (shape := _shape(item))), ())
    return ()


def _zeros(network: nn.Module, shape: Sequence[int]) -> Tensor:
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    return torch.zeros(tuple(shape), device=like.device, dtype=like.dtype)


@contextmanager
def _random_untouched(x: Tensor) -> Iterator[None]:
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        yield


def _repair(module: nn.Module, received: tuple[int, ...], error: Exception) -> str:
    """What a layer expected, by the formula of its kind, and what to change."""
    if isinstance(error, ShapeError):
        return str(error)
    known = _misfit(module, received)
    return known or f"torch says: {' '.join(str(error).split())[:300]}. Change this layer, or data.size_px."


def _misfit(module: nn.Module, received: tuple[int, ...]) -> str | None:
    image = len(received) == 4
    if isinstance(module, nn.Linear) and received and received[-1] != module.in_features:
        flat = " Flatten the map before it." if image else ""
        return f"It expects {module.in_features} values; set in_features={received[-1]}, or another data.size_px.{flat}"
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d) and len(received) not in (3, 4):
        return "It expects a map (N, C, H, W). Move it before the flatten."
    if isinstance(module, nn.Conv2d) and image and received[1] != module.in_channels:
        return (
            f"It expects {module.in_channels} channels; set in_channels={received[1]}, or data.channels for the first."
        )
    if isinstance(module, nn.BatchNorm2d) and image and received[1] != module.num_features:
        return f"It expects {module.num_features} channels; set num_features={received[1]}."
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and image:
        return _too_small(module, received[2:])
    return None


def _too_small(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, size: tuple[int, ...]) -> str | None:
    dilation = pair(getattr(module, "dilation", 1))
    padding = pair(module.padding) if not isinstance(module.padding, str) else (0, 0)
    for n, k, p, d in zip(size, pair(module.kernel_size), padding, dilation, strict=True):
        reach = effective_kernel(k, d)
        if n + 2 * p < reach:
            return (
                f"A window of {reach} does not fit into {n} + 2 x {p} = {n + 2 * p}. Use a larger data.size_px, "
                f"a smaller window, or padding={-(-(reach - n) // 2)}."
            )
    return None
