"""What is the head and how deep is a layer: the same answer however a network names its parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import sweep
from convlens.models import catalog
from convlens.models.depth import below, head_of, in_head, stages_of, start_head_at_zero


def build(name: str, size_px: int, channels: int = 3) -> nn.Module:
    return catalog.build(name, in_channels=channels, outputs=5, size_px=size_px)


@pytest.mark.parametrize(
    ("name", "size_px", "head", "stages"),
    [
        ("compact", 28, "head", ["head", "3 x 3", "7 x 7", "14 x 14", "28 x 28"]),
        ("lenet5", 32, "fc3", ["head", "fc2", "fc1", "10 x 10", "28 x 28"]),
        ("mlp", 8, "head", ["head", "hidden1.dense"]),
        ("timm:test_efficientnet", 64, "classifier", ["head", "2 x 2", "4 x 4", "8 x 8", "16 x 16", "32 x 32"]),
        ("timm:test_convnext", 64, "head.fc", ["head", "2 x 2", "4 x 4", "8 x 8", "16 x 16"]),
        ("timm:test_resnet", 64, "fc", ["head", "2 x 2", "4 x 4", "8 x 8", "16 x 16", "32 x 32"]),
    ],
)
def test_stages_are_the_sizes_of_the_maps_from_the_head_down(
    name: str, size_px: int, head: str, stages: list[str]
) -> None:
    if name.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed")
    network = build(name, size_px)
    assert head_of(network) == (head,)
    found = stages_of(network, (1, 3, size_px, size_px))
    assert [stage.name for stage in found] == stages
    listed = [parameter for stage in found for parameter in stage.parameters]
    assert sorted(listed) == sorted(name for name, _ in network.named_parameters()), "each parameter in one stage"
    assert set(found[0].parameters) == in_head(network)


@pytest.mark.parametrize("name", catalog.NETWORKS)
def test_every_network_of_the_catalog_has_a_head_and_stages(name: str) -> None:
    channels, *size = catalog.NETWORKS[name].input
    with torch.device("meta"):
        network = catalog.build(name, **sweep.arguments(name, (size[0], size[1]), channels, 5))
        first, *others = stages_of(network, (1, channels, *size))
    lengths = {len(p) for head in head_of(network) for p in network.get_submodule(head).parameters()}
    if catalog.NETWORKS[name].gives in ("numbers", "pixels"):
        assert lengths == {5}
    assert first.name == "head"
    assert others, "something below the head"
    listed = [parameter for stage in (first, *others) for parameter in stage.parameters]
    assert sorted(listed) == sorted(name for name, _ in network.named_parameters())


@pytest.mark.parametrize(
    ("name", "size_px", "head", "stages", "decoder"),
    [
        ("unet", 64, ["head"], ["decoder", "4 x 4", "8 x 8", "16 x 16", "32 x 32", "64 x 64"], "ups."),
        ("autoencoder", 28, ["decoder.last"], ["decoder", "4 x 4", "7 x 7", "14 x 14"], "decoder.up"),
        ("fcn8s", 64, ["head"], ["2 x 2", "4 x 4", "8 x 8", "16 x 16", "32 x 32", "64 x 64"], None),
        ("dncnn", 20, ["noise.last"], ["20 x 20"], None),
        ("dense_autoencoder", 8, ["decoder.last"], None, None),
        ("yolo", 64, ["pyramid", "head"], ["2 x 2", "4 x 4", "8 x 8", "16 x 16", "32 x 32"], None),
        ("yolo_v1", 64, ["head"], ["dense", "8 x 8", "16 x 16", "32 x 32", "64 x 64"], None),
    ],
)
def test_what_enlarges_the_map_of_the_answer_is_one_stage(
    name: str, size_px: int, head: list[str], stages: list[str] | None, decoder: str | None
) -> None:
    network = sweep.build(name, size_px, 1, 5)
    assert head_of(network) == tuple(head)
    first, *others = stages_of(network, (1, 1, size_px, size_px))
    assert set(first.parameters) == in_head(network)
    if stages is not None:
        assert [stage.name for stage in others] == stages
    enlarging = [stage.parameters for stage in others if stage.name == "decoder"]
    if decoder is None:
        assert enlarging == []
    else:
        (names,) = enlarging
        assert set(names) == {n for n, _ in network.named_parameters() if n.startswith(decoder)}


def test_the_small_maps_of_squeeze_and_excitation_are_no_turn() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    options = {"encoder": "timm:test_efficientnet", "width": 2}
    network = catalog.build("unet", in_channels=1, outputs=2, size_px=64, **options)
    found = {stage.name: stage.parameters for stage in stages_of(network, (1, 1, 64, 64))}
    assert [*found] == ["head", "decoder", "2 x 2", "4 x 4", "8 x 8", "16 x 16", "32 x 32"]
    assert {name.split(".")[0] for name in found["decoder"]} == {"ups"}


def test_squeeze_and_excitation_stays_in_its_stage_and_norms_with_their_layer() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    network = build("timm:mobilenetv3_small_100", 64)
    stage_of = {p: stage.name for stage in stages_of(network, (1, 3, 64, 64)) for p in stage.parameters}
    assert stage_of["blocks.0.0.se.conv_reduce.weight"] == stage_of["blocks.0.0.conv_pw.weight"] == "16 x 16"
    assert stage_of["bn1.weight"] == stage_of["conv_stem.weight"] == "32 x 32"
    assert stage_of["conv_head.weight"] == "1 x 1"


class Odd(nn.Module):
    """Parameters of its own, a layer that no forward pass uses, a dense layer with a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.conv = nn.Conv2d(1, 2, 3)
        self.dense, self.norm = nn.Linear(8, 4), nn.BatchNorm1d(4)
        self.aside = nn.Conv2d(1, 1, 1)
        self.answer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.norm(self.dense((self.scale * self.conv(x)).flatten(1))))


def test_what_is_not_run_goes_with_the_first_layer() -> None:
    found = {stage.name: set(stage.parameters) for stage in stages_of(Odd(), (1, 1, 4, 4))}
    assert found == {
        "head": {"answer.weight", "answer.bias"},
        "dense": {"dense.weight", "dense.bias", "norm.weight", "norm.bias"},
        "2 x 2": {"conv.weight", "conv.bias", "aside.weight", "aside.bias", "scale"},
    }


class TwoHeads(nn.Module):
    def __init__(self, said: Callable[[nn.Module], object]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 3)
        self.said = said

    def get_classifier(self) -> object:
        return self.said(self)


def test_a_network_may_say_itself_what_its_head_is() -> None:
    assert head_of(TwoHeads(lambda net: (net.a, net.b))) == ("a", "b")
    assert head_of(TwoHeads(lambda net: net.a)) == ("a",)
    assert head_of(TwoHeads(lambda net: nn.Identity())) == ("c",)
    assert in_head(TwoHeads(lambda net: net.a)) == {"a.weight", "a.bias"}


def test_without_dense_layers_the_last_convolution_answers() -> None:
    assert head_of(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.Flatten())) == ("2",)
    assert head_of(nn.Sequential(nn.Flatten())) == ()
    assert head_of(nn.Linear(2, 2)) == ("",)
    assert in_head(nn.Linear(2, 2)) == {"weight", "bias"}


def test_only_the_head_starts_at_zero_and_only_where_it_is_dense() -> None:
    network = Odd()
    start_head_at_zero(network)
    assert not network.answer.weight.any()
    assert not network.answer.bias.any()
    assert network.dense.weight.any()
    convolution = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU())
    start_head_at_zero(convolution)
    assert convolution[0].weight.any(), "behind a rectifier no gradient would ever reach it"


def test_a_name_is_no_prefix_of_a_longer_one() -> None:
    assert below("layer1.conv.weight", "layer1")
    assert not below("layer10.conv.weight", "layer1")
