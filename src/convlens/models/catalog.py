"""Every network by its name: a plain dict from name to builder, and the one way to build from it.

To add a network, write its file and add one line here; the tests take it up by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from convlens.errors import ConfigError, ConvlensError, ShapeError, did_you_mean
from convlens.models import backbone, layered
from convlens.models.autoencoder import autoencoder, dense_autoencoder
from convlens.models.compact import compact
from convlens.models.densenet import densenet121
from convlens.models.dncnn import dncnn
from convlens.models.efficientnet import efficientnet_b0, efficientnet_b1, efficientnet_b2, efficientnet_b3
from convlens.models.fcn import fcn8s, fcn16s, fcn32s
from convlens.models.inception import googlenet
from convlens.models.lenet import lenet5
from convlens.models.mobilenet import mobilenet_v1, mobilenet_v2
from convlens.models.options import resolve
from convlens.models.resnet import resnet18, resnet20, resnet32, resnet34, resnet44, resnet50, resnet56
from convlens.models.stacks import bottleneck_stack, plain_stack, separable_stack
from convlens.models.toy import mlp, tutorial
from convlens.models.unet import unet
from convlens.models.vgg import vgg11, vgg13, vgg16, vgg19
from convlens.models.weights import LoadReport, load_weights, read_facts
from convlens.models.yolo import yolo
from convlens.models.yolo_v1 import yolo_v1
from convlens.shapes import pair

__all__ = ["NETWORKS", "Entry", "LoadReport", "build", "expected_input", "load_weights"]

TIMM = "timm:"
TORCHVISION, TIMM_WEIGHTS = "torchvision, BSD-3-Clause", "timm, Apache-2.0"
VGG = "Simonyan, Zisserman, arXiv 1409.1556"
RESNET = "He, Zhang, Ren, Sun, arXiv 1512.03385"
DENSENET = "Huang, Liu, van der Maaten, Weinberger, arXiv 1608.06993"
MOBILENET = "Howard et al., arXiv 1704.04861"
EFFICIENTNET = "Tan, Le, arXiv 1905.11946"
FCN = "Long, Shelhamer, Darrell, arXiv 1411.4038"
PHOTO, CIFAR = (3, 224, 224), (3, 32, 32)
Gives = Literal["numbers", "pixels", "picture", "boxes"]
DEFAULTS = {  # the network of a task that names none; the others have that of the config
    "segment": "unet",
    "reconstruct": "autoencoder",
    "denoise": "dncnn",
    "anomaly": "autoencoder",
    "detect": "yolo",
}


@dataclass(frozen=True)
class Entry:
    """One network of the catalog.

    Attributes:
        builder: called with in_channels, outputs and size_px; its keyword-only arguments are the network's options.
        source: where it was published.
        input: channels, height and width it is usually given, the ones its parameters are counted at.
        smallest_px: the smallest side it takes.
        weights: who publishes trained ones that fit it, and under which licence.
        licence: of the code here.
        gives: a row of numbers for each image, such as its classes; numbers for each pixel; a picture like its input;
            or boxes.
        teaching: why `convlens.train` does not train it, where it is here to be read; "" where it does.
    """

    builder: Callable[..., nn.Module]
    title: str
    year: int
    source: str
    input: tuple[int, int, int]
    smallest_px: int
    weights: str = ""
    licence: str = "Apache-2.0"
    gives: Gives = "numbers"
    teaching: str = ""

    @property
    def outputs(self) -> int:
        """How many it is counted with: the 1,000 classes of ImageNet for photographs, 10 for small pictures.

        For pixels an object and its ground, for a picture its channels, and for boxes the 20 classes of PASCAL VOC.
        """
        if self.gives == "boxes":
            return 20
        if self.gives == "pixels":
            return 2
        if self.gives == "picture":
            return self.input[0]
        return 1000 if self.input[1] >= 224 else 10


NETWORKS: dict[str, Entry] = {
    "compact": Entry(
        compact,
        "convlens's default: batch-normalised, for 8 to 64 px",
        2026,
        "this project; after Simonyan and Zisserman 2014, arXiv 1409.1556",
        input=(1, 28, 28),
        smallest_px=4,
    ),
    "lenet5": Entry(
        lenet5,
        "LeNet-5 in its modern form",
        1998,
        "LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86(11), doi 10.1109/5.726791",
        input=(1, 32, 32),
        smallest_px=16,
    ),
    "tutorial": Entry(
        tutorial,
        "PyTorch's tutorial network: two convolutions, three dense layers",
        2017,
        "PyTorch tutorials, Training a Classifier",
        input=(3, 32, 32),
        smallest_px=16,
    ),
    "mlp": Entry(
        mlp,
        "baseline without convolutions: dense layers on the pixels",
        1986,
        "Rumelhart, Hinton, Williams, Nature 323, doi 10.1038/323533a0",
        input=(1, 28, 28),
        smallest_px=1,
    ),
    "vgg11": Entry(vgg11, "VGG-11: 8 convolutions of 3x3, 3 dense layers", 2014, VGG, PHOTO, 32, TORCHVISION),
    "vgg13": Entry(vgg13, "VGG-13: 10 convolutions of 3x3, 3 dense layers", 2014, VGG, PHOTO, 32, TORCHVISION),
    "vgg16": Entry(vgg16, "VGG-16: 13 convolutions of 3x3, 3 dense layers", 2014, VGG, PHOTO, 32, TORCHVISION),
    "vgg19": Entry(vgg19, "VGG-19: 16 convolutions of 3x3, 3 dense layers", 2014, VGG, PHOTO, 32, TORCHVISION),
    "resnet18": Entry(
        resnet18, "ResNet-18: 8 residual blocks of two 3x3 convolutions", 2015, RESNET, PHOTO, 1, TORCHVISION
    ),
    "resnet34": Entry(
        resnet34, "ResNet-34: 16 residual blocks of two 3x3 convolutions", 2015, RESNET, PHOTO, 1, TORCHVISION
    ),
    "resnet50": Entry(
        resnet50, "ResNet-50: 16 residual bottlenecks of 1x1, 3x3, 1x1", 2015, RESNET, PHOTO, 1, TORCHVISION
    ),
    "resnet20": Entry(resnet20, "ResNet-20, for small pictures: 9 residual blocks", 2015, RESNET, CIFAR, 1),
    "resnet32": Entry(resnet32, "ResNet-32, for small pictures: 15 residual blocks", 2015, RESNET, CIFAR, 1),
    "resnet44": Entry(resnet44, "ResNet-44, for small pictures: 21 residual blocks", 2015, RESNET, CIFAR, 1),
    "resnet56": Entry(resnet56, "ResNet-56, for small pictures: 27 residual blocks", 2015, RESNET, CIFAR, 1),
    "densenet121": Entry(
        densenet121, "DenseNet-121: 58 dense layers that read all before them", 2016, DENSENET, PHOTO, 29, TORCHVISION
    ),
    "googlenet": Entry(
        googlenet, "GoogLeNet: nine Inception modules", 2014, "Szegedy et al., arXiv 1409.4842", PHOTO, 1, TORCHVISION
    ),
    "mobilenet_v1": Entry(
        mobilenet_v1, "MobileNet: 13 depthwise-separable blocks", 2017, MOBILENET, PHOTO, 1, TIMM_WEIGHTS
    ),
    "mobilenet_v2": Entry(
        mobilenet_v2,
        "MobileNetV2: 17 inverted residuals",
        2018,
        "Sandler et al., arXiv 1801.04381",
        PHOTO,
        1,
        TORCHVISION,
    ),
    "efficientnet_b0": Entry(
        efficientnet_b0,
        "EfficientNet-B0: 16 MBConv blocks with squeeze-excite",
        2019,
        EFFICIENTNET,
        PHOTO,
        1,
        TORCHVISION,
    ),
    "efficientnet_b1": Entry(
        efficientnet_b1, "EfficientNet-B1: B0 scaled up by phi = 0.5", 2019, EFFICIENTNET, (3, 240, 240), 1, TORCHVISION
    ),
    "efficientnet_b2": Entry(
        efficientnet_b2, "EfficientNet-B2: B0 scaled up by phi = 1", 2019, EFFICIENTNET, (3, 260, 260), 1, TORCHVISION
    ),
    "efficientnet_b3": Entry(
        efficientnet_b3, "EfficientNet-B3: B0 scaled up by phi = 2", 2019, EFFICIENTNET, (3, 300, 300), 1, TORCHVISION
    ),
    "plain_stack": Entry(plain_stack, "10 plain convolutions of 3x3, to compare with", 2015, RESNET, CIFAR, 1),
    "separable_stack": Entry(
        separable_stack, "the same stack of depthwise-separable convolutions", 2017, MOBILENET, CIFAR, 1
    ),
    "bottleneck_stack": Entry(bottleneck_stack, "the same stack of 1x1, 3x3, 1x1 bottlenecks", 2015, RESNET, CIFAR, 1),
    "unet": Entry(
        unet,
        "U-Net: an encoder, a decoder, and skips between them",
        2015,
        "Ronneberger, Fischer, Brox, arXiv 1505.04597",
        (1, 256, 256),
        1,
        gives="pixels",
    ),
    "fcn32s": Entry(
        fcn32s, "FCN-32s: VGG-16 without dense layers, enlarged 32-fold", 2014, FCN, PHOTO, 1, gives="pixels"
    ),
    "fcn16s": Entry(fcn16s, "FCN-16s: the same with a skip from 1/16", 2014, FCN, PHOTO, 1, gives="pixels"),
    "fcn8s": Entry(fcn8s, "FCN-8s: the same with skips from 1/16 and 1/8", 2014, FCN, PHOTO, 1, gives="pixels"),
    "autoencoder": Entry(
        autoencoder,
        "convolutional autoencoder: a picture through a small code",
        2011,
        "Masci, Meier, Ciresan, Schmidhuber, ICANN, doi 10.1007/978-3-642-21735-7_7",
        (1, 28, 28),
        4,
        gives="picture",
    ),
    "dense_autoencoder": Entry(
        dense_autoencoder,
        "autoencoder of dense layers",
        2006,
        "Hinton, Salakhutdinov, Science 313, doi 10.1126/science.1127647",
        (1, 28, 28),
        1,
        gives="picture",
    ),
    "dncnn": Entry(
        dncnn,
        "DnCNN: learns the noise and takes it away",
        2016,
        "Zhang, Zuo, Chen, Meng, Zhang, arXiv 1608.03981",
        (1, 128, 128),
        1,
        gives="picture",
    ),
    "yolo": Entry(
        yolo,
        "convlens's detector: one prediction a cell on three scales",
        2026,
        "this project; after Redmon et al., arXiv 1506.02640 and 1804.02767, and Ge et al., arXiv 2107.08430",
        (3, 416, 416),
        1,
        gives="boxes",
    ),
    "yolo_v1": Entry(
        yolo_v1,
        "YOLO in its first form: a grid of 7 x 7 cells",
        2016,
        "Redmon, Divvala, Girshick, Farhadi, arXiv 1506.02640",
        (3, 448, 448),
        7,
        gives="boxes",
        teaching="its loss reads the grid of its last layer and not the boxes; see convlens.models.yolo_v1",
    ),
}


def build(
    name: str,
    *,
    in_channels: int,
    outputs: int,
    size_px: int | tuple[int, int],
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a network by name, with fresh weights unless `pretrained`.

    Args:
        name: of the catalog; `timm:NAME`; or `layers`, with the list as the option `layers`.
        in_channels: channels of the image.
        outputs: numbers the network answers with, one per class.
        size_px: side of the image, or height and width.
        pretrained: fetch published weights; timm's networks only.
        options: the keyword-only arguments of the network's builder.

    Example:
        >>> network = build("lenet5", in_channels=1, outputs=10, size_px=28)
        >>> build("compact", in_channels=1, outputs=10, size_px=28, widht=16)
        Traceback (most recent call last):
        ...
        convlens.errors.ConfigError: compact has no option 'widht'. Did you mean 'width'? Options: width=32, \
dropout=0.0.

    Raises:
        ConfigError: the network or an option is unknown, or has a value it cannot be built with.
        ShapeError: the image is too small, or a list of layers does not fit.
    """
    size = pair(size_px)
    if min(in_channels, outputs, *size) < 1:
        raise ConfigError(
            f"A network needs at least 1 channel, output and pixel; got {in_channels} channels, {outputs} outputs, "
            f"{size[0]} x {size[1]} px."
        )
    given = {"in_channels": in_channels, "outputs": outputs, "size_px": size}
    if name.startswith(TIMM):
        return backbone.build(name.removeprefix(TIMM), **given, pretrained=pretrained, **options)
    if pretrained:
        raise ConfigError(
            f"'{name}' has no published weights; only timm:NAME has. Leave pretrained out, or give a local file: "
            f"network.weights=PATH.safetensors."
        )
    if name == "layers":
        return layered.build(_only_layers(options), **given)
    if name not in NETWORKS:
        hint = did_you_mean(name, [*NETWORKS, "layers"])
        raise ConfigError(f"There is no network '{name}'. {hint} Networks of timm are named timm:NAME.")
    entry = NETWORKS[name]
    chosen = resolve(entry.builder, options, name)
    try:
        return entry.builder(in_channels, outputs, size, **chosen)
    except ShapeError as error:
        raise ShapeError(f"{name} at {size[0]} x {size[1]} px: {error}") from None
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, ConvlensError):
            raise
        raise ConfigError(f"{name} cannot be built with {chosen}: {error}.") from None


def expected_input(name: str, weights: str | None = None, pretrained: bool = False) -> dict[str, Any]:
    """What starting weights expect of the images: size_px, store_px, mean, std and the reason; empty for fresh ones.

    Args:
        name: of the network.
        weights: a local file; what it does not say is taken from timm where the network is timm's.
        pretrained: published weights are asked for.

    Raises:
        ConfigError: timm does not know the name.
        ArtefactError: the file cannot be read.
    """
    found: dict[str, Any] = {}
    if name.startswith(TIMM) and (weights or pretrained):
        timm = backbone.expected_input(name.removeprefix(TIMM))
        if timm:
            found = {"size_px": timm.size_px, "store_px": timm.store_px, "mean": timm.mean, "std": timm.std}
            found["reason"] = f"as the published weights of {name} expect"
    if weights:
        facts = read_facts(weights)
        said = {key: getattr(facts, key) for key in ("size_px", "store_px", "mean", "std")}
        if any(said.values()):
            found = {**{key: value for key, value in said.items() if value}, "reason": f"as {weights} says"}
    return found


def _only_layers(options: dict[str, Any]) -> list[dict[str, Any]]:
    if set(options) != {"layers"} or not isinstance(options["layers"], list | tuple):
        raise ConfigError(
            f"The network 'layers' takes one option, layers: a list of tables such as "
            f'{{"layer": "dense", "units": 10}}; got {", ".join(options) or "none"}.'
        )
    return list(options["layers"])
