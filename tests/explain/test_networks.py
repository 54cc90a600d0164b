"""Networks everybody knows against the numbers everybody has published for them.

Receptive fields: Araujo, Norris, Sim 2019, doi 10.23915/distill.00021, and the table of google-research.
Multiply-accumulates: torchvision's own documentation, which calls them GFLOPS.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from convlens.explain.anatomy import Anatomy, describe
from convlens.models.catalog import NETWORKS
from convlens.shapes import Field

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")


@cache
def anatomy(name: str) -> Anatomy:
    """A network of torchvision, built and described without memory."""
    options: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    side = 299 if name == "inception_v3" else 224
    with torch.device("meta"):
        network = getattr(torchvision.models, name)(**options)
    return describe(network, (3, side, side))


FIELDS = [
    ("alexnet", "features.12", Field(195, 32, -66)),
    ("vgg16", "features.30", Field(212, 32, -90)),
    ("resnet18", "layer4.1.relu", Field(435, 32, -217)),
    ("resnet50", "layer3.5.relu", Field(267, 16, -133)),
    ("resnet50", "layer4.2.relu", Field(427, 32, -213)),
    ("googlenet", "inception5b.cat", Field(379, 32, -167)),
    ("inception_v3", "Mixed_7c.cat", Field(1311, 32, -618)),
    ("densenet121", "features.norm5", Field(2071, 32, -1021)),
]


@pytest.mark.parametrize(("name", "layer", "field"), FIELDS, ids=[f"{name}-{layer}" for name, layer, _ in FIELDS])
def test_receptive_fields_are_those_published(name: str, layer: str, field: Field) -> None:
    (row,) = [row for row in anatomy(name).rows if row.name == layer][-1:]
    assert row.fields == (field, field)
    side = anatomy(name).input_shape[-1]
    assert row.sees == (min(field.size, side),) * 2 or name == "alexnet"  # whose last row of windows is cut off


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _, _ in FIELDS))
def test_the_jump_times_the_map_is_about_the_image(name: str) -> None:
    last = [row for row in anatomy(name).rows if len(row.output_shape) == 4 and all(row.fields)][-1]
    (field, _), side = last.fields, last.output_shape[-1]
    assert field
    assert abs(field.jump * side - anatomy(name).input_shape[-1]) < 2 * field.jump


@pytest.mark.parametrize(
    ("name", "billions", "parameters"),
    [
        ("resnet18", 1.8141, 11_689_512),
        ("resnet50", 4.0892, 25_557_032),
        ("vgg16", 15.4703, 138_357_544),
        ("mobilenet_v2", 0.3008, 3_504_872),
        ("alexnet", 0.7142, 61_100_840),
        ("densenet121", 2.8342, 7_978_856),
    ],
)
def test_costs_and_parameters_are_those_published(name: str, billions: float, parameters: int) -> None:
    totals = anatomy(name).totals
    assert round(totals.macs / 1e9, 4) == billions
    assert (totals.trainable, totals.frozen, totals.unknown) == (parameters, 0, ())
    assert sum(row.trainable for row in anatomy(name).rows) == parameters


def test_heads_that_only_help_in_training_take_no_part() -> None:
    assert anatomy("googlenet").totals.unused == 13_004_888 - 6_624_904
    assert anatomy("inception_v3").totals.unused == 27_161_264 - 23_834_568


# this house's own, of every kind of answer ----------------------------------------------------------------------------


@cache
def own(name: str) -> Anatomy:
    return describe(name)


def unet_macs(side: int, width: int = 32, outputs: int = 2) -> int:
    """Two 3x3 convolutions a level; up, a 2x2 transposed one and two 3x3, the first on twice the channels."""
    first = side**2 * 9 * width * (1 + width)
    down = sum((side >> i) ** 2 * 9 * (width << i) * ((width << i - 1) + (width << i)) for i in (1, 2, 3, 4))
    enlarged = sum((side >> i + 1) ** 2 * (width << i + 1) * (width << i) * 4 for i in range(4))
    up = sum((side >> i) ** 2 * 9 * (width << i) * (2 + 1) * (width << i) for i in range(4))
    return first + down + enlarged + up + side**2 * width * outputs


AUTOENCODER_DOWN = 14**2 * 32 * 9 + 7**2 * 64 * 32 * 9 + 4**2 * 128 * 64 * 9
AUTOENCODER_UP = 16 * (4**2 * 128 * 64 + 7**2 * 64 * 32 + 14**2 * 32 * 16) + 28**2 * 16 * 9
YOLO_V1_SIDES = [(448, 3, 16), (224, 16, 32), (112, 32, 64), (56, 64, 128), (28, 128, 256), (14, 256, 512)]
YOLO_V1_CONVOLUTIONS = sum(side**2 * 9 * c * o for side, c, o in [*YOLO_V1_SIDES, (7, 512, 1024)])
VGG16_CONVOLUTIONS = 15_470_264_320 - (25088 * 4096 + 4096 * 4096 + 4096 * 1000)  # torchvision's, less the dense layers


@pytest.mark.parametrize(
    ("name", "output", "macs", "parameters"),
    [
        ("unet", (2, 256, 256), unet_macs(256), 7_762_498),
        ("fcn32s", (2, 224, 224), VGG16_CONVOLUTIONS + 7**2 * (25088 * 4096 + 4096 * 4096 + 4096 * 2), 134_268_738),
        ("autoencoder", (1, 28, 28), AUTOENCODER_DOWN + 2 * 2048 * 32 + AUTOENCODER_UP, 396_657),
        ("dense_autoencoder", (1, 28, 28), 2 * (784 * 512 + 512 * 256 + 256 * 32), 1_085_232),
        ("dncnn", (1, 128, 128), 128**2 * 9 * (64 + 7 * 64 * 64 + 64), 64 * 10 + 7 * (9 * 64**2 + 128) + 577),
        ("yolo_v1", (98, 28), YOLO_V1_CONVOLUTIONS + 7**2 * 1024 * 256 + 256 * 7**2 * (5 * 2 + 20), None),
    ],
)
def test_networks_of_other_answers_cost_what_is_counted_by_hand(
    name: str, output: tuple[int, ...], macs: int, parameters: int | None
) -> None:
    found = own(name)
    assert found.output_shape == (1, *output)
    assert (found.totals.macs, found.totals.unknown, found.totals.unused) == (macs, (), 0)
    assert parameters in (None, found.totals.trainable)
    assert sum(row.trainable for row in found.rows) == found.totals.trainable


@pytest.mark.parametrize(
    ("name", "layer", "field"),
    [
        *((f"fcn{n}s", "dense.fc7", Field(404, 32, -186)) for n in (32, 16, 8)),  # table 1 of the paper: 404 and 32
        ("unet", "encoder.levels.4.conv2.act", Field(140, 16, -62)),
        ("autoencoder", "encoder.down3.act", Field(15, 8, -7)),
        ("dncnn", "noise.last", Field(19, 1, -9)),
    ],
)
def test_encoders_see_what_the_formula_says(name: str, layer: str, field: Field) -> None:
    (row,) = [row for row in own(name).rows if row.name == layer]
    assert row.fields == (field, field)


def test_what_is_enlarged_sees_no_textbook_field_but_a_known_part() -> None:
    last = own("unet").rows[-1]
    assert (last.fields, last.sees, last.whole) == ((None, None), (204, 204), False)
    field = own("unet").unit("head", (128, 128))
    assert field
    (top, bottom), (left, right) = (hull for hull in field.hull if hull)
    assert (top, bottom) == (left, right)
    assert top < 128 < bottom
    assert own("autoencoder").rows[-1].whole
    assert own("yolo_v1").rows[-1].whole


@pytest.mark.parametrize("name", [name for name, entry in NETWORKS.items() if entry.gives != "numbers"])
def test_every_layer_of_theirs_is_known(name: str) -> None:
    found = own(name)
    assert not found.totals.unknown
    assert all(row.sees is not None for row in found.rows if row.output_shape)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    """convnext_tiny swin_tiny_patch4_window7_224 vit_tiny_patch16_224 mixer_b16_224 efficientnet_b0 tf_efficientnet_b0
    mobilenetv3_large_100 mobilenetv2_100 hrnet_w18 res2net50_14w_8s ghostnet_100 coatnet_0_rw_224 edgenext_small
    resnest14d skresnet18 nfnet_f0 vovnet39a levit_128 mobilevit_s regnetx_002 dla34 repvgg_a0 xception41""".split(),  # noqa: SIM905
)
def test_networks_of_every_kind_are_fully_known(name: str) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    found = describe(f"timm:{name}")
    assert not found.totals.unknown
    assert all(row.sees is not None for row in found.rows if row.output_shape)
    assert found.rows[-1].whole
    assert sum(row.trainable for row in found.rows) == found.totals.trainable - found.totals.unused
