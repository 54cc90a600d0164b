"""Networks to learn with: the one of PyTorch's own tutorial, and the one without convolutions to compare with."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu

from convlens.nn.blocks import dense_act
from convlens.shapes import Window, pair, size_after


class Tutorial(nn.Module):
    """Two convolutions that share one pooling layer, then three dense layers.

    Shapes:
        (N, C, H, W) -> (N, K)

    Raises:
        ShapeError: the image is too small for two convolutions and two poolings.
    """

    def __init__(self, in_channels: int, outputs: int, size_px: tuple[int, int]) -> None:
        super().__init__()
        windows = {"conv1": Window(5), "pool": Window(2, 2), "conv2": Window(5), "pool again": Window(2, 2)}
        rows, columns = (size_after(side, windows) for side in size_px)
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * rows * columns, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(relu(self.conv1(x)))  # (N, 6, 14, 14) from 32 x 32
        x = self.pool(relu(self.conv2(x)))  # (N, 16, 5, 5)
        x = x.flatten(1)  # (N, 400)
        x = relu(self.fc1(x))  # (N, 120)
        x = relu(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, K)


def tutorial(in_channels: int, outputs: int, size_px: int | tuple[int, int]) -> Tutorial:
    """Build the network of "Training a Classifier", layer for layer and name for name.

    Example:
        >>> sum(parameter.numel() for parameter in tutorial(3, 10, 32).parameters())
        62006

    Source: PyTorch tutorials, "Training a Classifier", pytorch.org/tutorials/beginner/blitz/cifar10_tutorial.html.
    """
    return Tutorial(in_channels, outputs, pair(size_px))


def mlp(
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    *,
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (128,),
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0,
) -> nn.Sequential:
    """Build a multilayer perceptron on the bare pixels: the score a convolutional network has to beat.

    Args:
        in_channels: 1 grey, 3 RGB, n.
        outputs: numbers the network answers with, one per class.
        size_px: side of the input, or height and width.
        hidden: units of each hidden layer; none at all is plain logistic regression.
        dropout: chance of zeroing each hidden unit, while training.

    Example:
        >>> sum(parameter.numel() for parameter in mlp(1, 10, 28).parameters())
        101770

    Source: Rumelhart, Hinton, Williams 1986, "Learning representations by back-propagating errors", Nature 323,
    doi 10.1038/323533a0.
    """
    height, width = pair(size_px)
    parts, inputs = OrderedDict[str, nn.Module](flatten=nn.Flatten()), in_channels * height * width
    for number, units in enumerate(hidden, 1):
        parts[f"hidden{number}"] = dense_act(inputs, units, dropout=dropout)
        inputs = units
    parts["head"] = nn.Linear(inputs, outputs)
    return nn.Sequential(parts)
