"""LeNet-5, the convolutional network that read cheques.

Two convolutions, each followed by pooling, then three dense layers: image -> features -> decision.

Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86(11), doi 10.1109/5.726791.

Differs: the form in use today. Every map of the second convolution reads all six maps below it (1998: a sparse table);
pooling takes the maximum and has no parameters (1998: a scaled sum); ReLU in place of the scaled tanh; a dense layer
of logits in place of radial basis functions.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from convlens.shapes import Window, pair, size_after


class LeNet5(nn.Module):
    """LeNet-5 for images of one size.

    Shapes:
        (N, C, H, W) -> (N, K)

    Raises:
        ShapeError: the image is too small for two convolutions and two poolings.
    """

    def __init__(self, in_channels: int, outputs: int, size_px: tuple[int, int], padding: int) -> None:
        super().__init__()
        windows = {"conv1": Window(5, 1, padding), "pool1": Window(2, 2), "conv2": Window(5), "pool2": Window(2, 2)}
        rows, columns = (size_after(side, windows) for side in size_px)
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=padding)
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(16 * rows * columns, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(relu(self.conv1(x)))  # (N, 6, 14, 14) from 32 x 32
        x = self.pool2(relu(self.conv2(x)))  # (N, 16, 5, 5)
        x = x.flatten(1)  # (N, 400)
        x = relu(self.fc1(x))  # (N, 120)
        x = relu(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, K)


def lenet5(in_channels: int, outputs: int, size_px: int | tuple[int, int]) -> LeNet5:
    """Build LeNet-5 for images of one size.

    The paper's digits are 28 px wide in a frame of 32. Images of 28 x 28 come without the frame, so the first
    convolution pads them by 2; all others are taken as they are, and the first dense layer grows or shrinks with them.

    Example:
        >>> [sum(p.numel() for p in lenet5(1, 10, size_px).parameters()) for size_px in (32, 28)]
        [61706, 61706]
    """
    size = pair(size_px)
    return LeNet5(in_channels, outputs, size, padding=2 if size == (28, 28) else 0)
