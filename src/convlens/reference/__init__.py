"""The definitions: every operation of the lectures in plain NumPy, loops first, with its gradients and its trace.

Begin with `conv.py`. An operation returns a `Result`: its `value`, the `trace` of any one number, and the gradients
by `backward`. The fast layers elsewhere are tested to be equal to these functions; these are tested against torch, but
must not import it.
"""

from convlens.reference.activation import leaky_relu, prelu, relu, sigmoid, softmax, tanh
from convlens.reference.conv import Step, conv1d, conv2d, conv3d, windows
from convlens.reference.dense import dense, flatten
from convlens.reference.depthwise import depthwise_conv2d, pointwise_conv2d, separable_conv2d
from convlens.reference.filter import display, filter_image
from convlens.reference.kernels import KERNELS, kernel
from convlens.reference.loss import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    l1_penalty,
    l2_penalty,
    squared_error,
)
from convlens.reference.norm import (
    Statistics,
    batch_norm,
    batch_statistics,
    draw_kept,
    dropout,
    running_statistics,
)
from convlens.reference.optim import (
    State,
    adam,
    adamw,
    fans,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    max_norm,
    min_max_norm,
    momentum,
    nesterov,
    non_negative,
    rmsprop,
    sgd,
    start,
    unit_norm,
)
from convlens.reference.padding import pad
from convlens.reference.pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool2d,
    global_max_pool2d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    min_pool1d,
    min_pool2d,
    min_pool3d,
    sum_pool1d,
    sum_pool2d,
    sum_pool3d,
)
from convlens.reference.result import Gradients, Result
from convlens.reference.trace import Term, Trace
from convlens.reference.transposed import conv_transpose2d, full_conv2d

__all__ = [
    "KERNELS", "Gradients", "Result", "State", "Statistics", "Step", "Term", "Trace",
    "absolute_error", "adam", "adamw", "adaptive_avg_pool2d", "adaptive_max_pool2d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "batch_statistics", "binary_cross_entropy",
    "conv1d", "conv2d", "conv3d", "conv_transpose2d", "cross_entropy",
    "dense", "depthwise_conv2d", "display", "draw_kept", "dropout",
    "fans", "filter_image", "flatten", "full_conv2d",
    "global_avg_pool2d", "global_max_pool2d", "glorot_normal", "glorot_uniform",
    "he_normal", "he_uniform", "kernel", "l1_penalty", "l2_penalty", "leaky_relu",
    "max_norm", "max_pool1d", "max_pool2d", "max_pool3d", "min_max_norm", "min_pool1d", "min_pool2d", "min_pool3d",
    "momentum", "nesterov", "non_negative",
    "pad", "pointwise_conv2d", "prelu", "relu", "rmsprop", "running_statistics",
    "separable_conv2d", "sgd", "sigmoid", "softmax", "squared_error", "start", "sum_pool1d", "sum_pool2d", "sum_pool3d",
    "tanh", "unit_norm", "windows",
]  # fmt: skip
