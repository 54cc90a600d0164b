"""One lecture from end to end, on its own numbers: convolution, ReLU, pooling, flatten, dense, ReLU, dense, softmax.

The slides show these layers one by one and do not say that they belong together. They do: what one slide gives is what
the next one takes, so that a 5x5 image becomes two probabilities. On the way two biases are forgotten; `stages` gives
the right numbers beside the printed ones, or forgets what the slides forgot. torch is imported only for the twin.

Source: "Exploring the Power of Conv'Nets", slides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convlens.lectures.xo import cut
from convlens.reference import Result, conv2d, dense, flatten, max_pool2d, relu, softmax

if TYPE_CHECKING:
    from torch import nn

IMAGE = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, -1, 1, 1], [0, 0, -1, 1, 0], [0, 1, -1, 0, 0]])
FILTER = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
W1 = np.array([[1, 1, 0.2, 0.8], [1, 0.5, 0.5, 0.8], [0.8, 1, 0.2, 0.8], [0.5, 0.5, 1, 1]])
B1 = np.array([0.1, 0.1, 0.1, 0.1])
W2 = np.array([[0.2, 0.1, 0.5, 0.5], [0.1, 0.5, 0.1, 0.2]])
B2 = np.array([0.1, 0.1])

PRINTED: dict[str, Any] = {
    "conv": [[2, 3, 2], [0, 2, 1], [-2, 1, 0]],
    "flatten": [3, 3, 2, 2],
    "hidden relu": [8, 7.1, 7.4, 7],
    "output": [9.61, 6.49],
    "softmax": [0.95, 0.04],
}
SLIPS = {
    "hidden relu": "The bias b1 was forgotten: these are the sums without it.",
    "output": "The bias b2 was added in the first row only, to hidden values that already lacked theirs.",
    "softmax": "Cut to two decimals instead of rounded, so that they add up to 0.99; the slips above do not show here.",
}
LAYERS: list[dict[str, Any]] = [
    {"layer": "conv", "filters": 1, "kernel_size": 3, "bias": False},
    {"layer": "activation", "activation": "relu"},
    {"layer": "max_pool", "size": 2, "stride": 1},
    {"layer": "flatten"},
    {"layer": "dense", "units": 4},
    {"layer": "activation", "activation": "relu"},
    {"layer": "dense", "units": "classes"},
]


@dataclass(frozen=True, eq=False)
class Stage:
    """What one layer gives, and what its slide says.

    Attributes:
        name: of the layer; `hidden` and `output` are the two dense layers.
        result: the computed value, which can be traced.
        printed: the value on the slide; None where no slide shows it.
        slip: how the slide came to its value, where that is not the way of the formula.
    """

    name: str
    result: Result
    printed: np.ndarray | None
    slip: str

    @property
    def agrees(self) -> bool | None:
        """The value is the printed one once it is cut to two decimals; None where nothing is printed."""
        return None if self.printed is None else bool(np.array_equal(cut(self.result.value), self.printed))


def stages(*, as_printed: bool = False) -> list[Stage]:
    """The eight layers in their order, each computed from the one before it.

    Args:
        as_printed: forget the biases that the slides forget, and so come to every number they print.

    Example:
        >>> [stage.name for stage in stages() if stage.agrees is False]
        ['hidden relu', 'output']
        >>> [cut(all_stages[-2].result).tolist() for all_stages in (stages(), stages(as_printed=True))]
        [[9.74, 6.68], [9.61, 6.49]]
    """
    b1, b2 = (np.zeros(4), np.array([0.1, 0.0])) if as_printed else (B1, B2)
    made: dict[str, Result] = {}
    made["conv"] = conv2d(IMAGE, FILTER)
    made["relu"] = relu(made["conv"])
    made["pool"] = max_pool2d(made["relu"], 2, stride=1)
    made["flatten"] = flatten(made["pool"])
    made["hidden"] = dense(made["flatten"], W1, b1)
    made["hidden relu"] = relu(made["hidden"])
    made["output"] = dense(made["hidden relu"], W2, b2)
    made["softmax"] = softmax(made["output"])
    printed = {name: np.array(values, np.float64) for name, values in PRINTED.items()}
    return [Stage(name, result, printed.get(name), SLIPS.get(name, "")) for name, result in made.items()]


def twin() -> nn.Sequential:
    """The same network in torch, in double precision: (N, 1, 5, 5) -> (N, 2), the softmax left to the caller."""
    import torch

    from convlens.models import layered

    network = layered.build(LAYERS, in_channels=1, outputs=2, size_px=5).double()
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), (FILTER, W1, B1, W2, B2), strict=True):
            parameter.copy_(torch.as_tensor(values).view_as(parameter))
    return network


def twin_stages() -> dict[str, np.ndarray]:
    """What each layer of the torch network gives, under the same names and in the same shapes as in `stages`."""
    import torch

    x, given = torch.as_tensor(IMAGE, dtype=torch.float64)[None, None], {}
    layers = [*twin(), torch.nn.Softmax(dim=1)]
    with torch.no_grad():
        for stage, layer in zip(stages(), layers, strict=True):
            x = layer(x)
            given[stage.name] = x.numpy().reshape(stage.result.shape)
    return given
