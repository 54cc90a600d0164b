"""timm's networks by name: no network is reached, and no weights are needed."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch
from torch import nn

from convlens.errors import ConfigError, ConvlensError, ShapeError
from convlens.models import backbone, catalog
from convlens.models.walk import walk

timm = pytest.importorskip("timm", reason="timm is not installed")
NAME = "timm:test_efficientnet"


def build(name: str = NAME, **arguments: Any) -> nn.Module:
    return catalog.build(name, **{"in_channels": 3, "outputs": 10, "size_px": 64, **arguments})


def test_has_the_channels_and_the_outputs_asked_for() -> None:
    network = build(in_channels=1, outputs=4).eval()
    assert network(torch.rand(2, 1, 64, 64)).shape == (2, 4)


def test_options_reach_timm() -> None:
    kinds = {type(module).__name__ for module in build(pad_type="same").modules()}
    assert "Conv2dSame" in kinds
    assert "Conv2dSame" not in {type(module).__name__ for module in build().modules()}


def test_a_network_of_one_size_is_built_for_that_size() -> None:
    network = build("timm:test_vit3", size_px=(96, 64)).eval()
    assert network(torch.rand(1, 3, 96, 64)).shape == (1, 10)


def test_the_walk_understands_a_network_that_asserts_its_size() -> None:
    with pytest.raises(ShapeError, match=r"patch_embed .* receives 1 x 3 x 96 x 96. torch says: .*\(64\)"):
        walk(build("timm:test_vit3", size_px=64), (1, 3, 96, 96))


def test_expected_input_is_that_of_timm() -> None:
    found = backbone.expected_input("resnet18")
    assert found is not None
    assert (found.size_px, found.store_px, found.crop_share) == (224, 236, 0.95)
    assert (found.mean, found.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert backbone.expected_input(build()) == backbone.expected_input("test_efficientnet")
    assert backbone.expected_input(nn.Linear(1, 1)) is None


def test_the_catalog_says_why_it_expects_it() -> None:
    found = catalog.expected_input("timm:resnet18", pretrained=True)
    assert found["size_px"] == 224
    assert found["store_px"] == 236
    assert found["reason"] == "as the published weights of timm:resnet18 expect"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm:mobilnetv2_100", {}, "no network 'mobilnetv2_100'. The nearest are mobilenetv2_100,"),
        ("timm:zzzzqqq", {}, r"no network 'zzzzqqq'. It has \d+, such as resnet18"),
        ("timm:hf-hub:timm/resnet18", {}, "timm has no network"),
        ("timm:../weights", {}, "timm has no network"),
        ("timm:resnet18.nope", {}, "no weights 'nope' for resnet18. It has .*a1_in1k"),
        (NAME, {"bogus": 3}, "cannot be built with bogus=3"),
        (NAME, {"checkpoint_path": "/etc/passwd"}, "does not take 'checkpoint_path'"),
        (NAME, {"features_only": True}, "does not take 'features_only'"),
        (NAME, {"act_layer": {"a": 1}}, "act_layer must be a plain value"),
    ],
)
def test_errors(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name, **options)


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if pretrained:
            asked.update(options)
            raise OSError("We couldn't connect\n to the hub")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        ConvlensError, match=r"\(timm/test_efficientnet.r160_in1k\) cannot be fetched: We couldn't connect to"
    ):
        build(pretrained=True)
    assert asked["pretrained_cfg_overlay"] == {"hf_hub_filename": "model.safetensors", "url": "", "file": None}


def test_weights_that_were_fetched_name_origin_and_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: create(name, **options))
    network = build(pretrained=True, in_channels=1)
    found = backbone.published_weights(network)
    assert (found["origin"], found["licence"]) == ("timm/test_efficientnet.r160_in1k", "apache-2.0")
    assert found["fresh"] == ["classifier.weight", "classifier.bias"]
    count = sum("num_batches" not in name for name in network.state_dict())
    assert found["summary"] == (
        f"{count - 2} of {count} tensors from timm/test_efficientnet.r160_in1k; "
        "left fresh: classifier.weight, classifier.bias; conv_stem.weight adapted from 3 channels to 1"
    )
    assert not network.get_parameter("classifier.weight").any(), "a fresh head starts at zero"
    same = build(pretrained=True, outputs=1000)
    assert same.get_parameter("classifier.weight").any()
    assert backbone.published_weights(same)["fresh"] == []


def test_a_network_without_published_weights_says_so() -> None:
    bare = next(name for name in timm.list_models() if not timm.models.get_pretrained_cfg(name).hf_hub_id)
    with pytest.raises(ConfigError, match=rf"no published weights for timm:{bare} .*network.weights=PATH"):
        build(f"timm:{bare}", pretrained=True)


def test_without_timm_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "timm":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'convlens\[timm\]'"):
        build()


# encoders -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext", "test_vit3", "test_byobnet"])
def test_an_encoder_gives_the_maps_it_says_from_fine_to_coarse(name: str) -> None:
    found = backbone.encoder(name, 2, size_px=(64, 96)).eval()
    maps = found(torch.rand(1, 2, 64, 96))
    shapes = [(1, c, 64 // r, 96 // r) for c, r in zip(found.channels, found.reductions, strict=True)]
    assert [tuple(one.shape) for one in maps] == shapes
    assert found.reductions == sorted(set(found.reductions))


def test_maps_with_the_channels_last_come_with_the_channels_second() -> None:
    found = backbone.encoder("swin_tiny_patch4_window7_224", 3, size_px=64, embed_dim=12, depths=[1, 1, 1, 1]).eval()
    assert [tuple(one.shape) for one in found(torch.rand(1, 3, 64, 64))] == [
        (1, 12, 16, 16),
        (1, 24, 8, 8),
        (1, 48, 4, 4),
        (1, 96, 2, 2),
    ]


def test_of_maps_of_one_size_an_encoder_gives_the_last() -> None:
    found = backbone.encoder("test_vit3", 3, size_px=64).eval()
    maps = found.body(torch.rand(1, 3, 64, 64))
    assert len(maps) > 1
    assert (len(found.channels), found.reductions) == (1, [16])
    assert not torch.equal(maps[0], maps[-1])
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(found(x)[0], found.body(x)[-1])


def test_options_of_an_encoder_reach_timm() -> None:
    found = backbone.encoder("test_efficientnet", 3, pad_type="same", out_indices=[0, 2])
    assert found.reductions == [2, 8]
    assert "Conv2dSame" in {type(module).__name__ for module in found.modules()}


@pytest.mark.parametrize(
    "name", ["test_efficientnet", "test_resnet", "test_convnext", "test_vit3", "test_nfnet", "vgg11"]
)
def test_an_encoder_knows_its_names_in_the_classifier(name: str) -> None:
    with torch.device("meta"):
        found, whole = backbone.encoder(name, 3, size_px=64), timm.create_model(name)
    part, mine, theirs = found.classifier_part(), found.state_dict(), whole.state_dict()
    assert list(part.names) == list(mine)
    assert len(set(part.names.values())) == len(mine)
    assert part.names.keys() == mine.keys()
    left = [key for key in theirs if key not in part.names.values()]
    assert {key.split(".")[0] for key in left} <= {
        "conv_head",
        "bn2",
        "classifier",
        "fc",
        "head",
        "norm",
        "fc_norm",
        "final_conv",
        "pre_logits",
        "attn_pool",
    }, left
    assert list(part.shapes) == list(theirs)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mobilnetv2_100", {}, "no network 'mobilnetv2_100'. The nearest are mobilenetv2_100,"),
        ("test_efficientnet", {"bogus": 3}, "cannot give its feature maps with bogus=3"),
        ("test_efficientnet", {"out_indices": [9]}, r"cannot give its feature maps with out_indices=\[9\]"),
        ("test_efficientnet", {"checkpoint_path": "/etc/passwd"}, "does not take 'checkpoint_path'"),
        ("test_efficientnet", {"features_only": False}, "does not take 'features_only'"),
        ("test_efficientnet", {"pretrained": True}, "takes no published weights. Give a local file instead"),
        ("mixer_s32_224", {"global_pool": "no"}, "timm:mixer_s32_224 cannot give its feature maps"),
    ],
)
def test_errors_of_encoders(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        backbone.encoder(name, 3, **options)
