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
