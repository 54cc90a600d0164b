"""Weights matched by order and shape: the one way that fits, and no guess where there are several."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convlens.models import catalog
from convlens.models.matching import Shape, match_by_order

REFERENCES = {  # networks of ours, and whose weights they take
    "mobilenet_v1": ("timm", "mobilenetv1_100", {}),
    "mobilenet_v2": ("timm", "mobilenetv2_100", {}),
    "efficientnet_b0": ("timm", "efficientnet_b0", {}),
    "googlenet": ("torchvision", "googlenet", {"variant": "torchvision"}),
}


def shapes(network: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def by_name(tensors: dict[str, Shape]) -> dict[str, Shape]:
    return dict(sorted(tensors.items()))


def reference(library: str, name: str) -> nn.Module:
    with torch.device("meta"):
        if library == "timm":
            return pytest.importorskip("timm").create_model(name)
        models = pytest.importorskip("torchvision.models")
        return getattr(models, name)(**({"init_weights": False} if name == "googlenet" else {}))


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("ordered", [True, False])
def test_finds_every_tensor_of_another_library_even_in_a_file_sorted_by_name(name: str, ordered: bool) -> None:
    library, other, options = REFERENCES[name]
    theirs = shapes(reference(library, other))
    with torch.device("meta"):
        mine = shapes(catalog.build(name, in_channels=3, outputs=1000, size_px=224, **options))
    found = match_by_order(mine, theirs if ordered else by_name(theirs), ordered=ordered)
    wanted = [key for key in theirs if not key.startswith("aux")]  # classifiers that only training needs
    assert list(found.pairs) == list(mine)
    assert list(found.pairs.values()) == wanted


def test_channels_that_come_in_and_outputs_may_differ_but_nothing_between() -> None:
    def network(channels: int, middle: int, outputs: int) -> dict[str, Shape]:
        parts = nn.Conv2d(channels, 4, 3), nn.Conv2d(4, middle, 3), nn.Conv2d(middle, 5, 1), nn.Linear(5, outputs)
        return shapes(nn.Sequential(*parts))

    def named(tensors: dict[str, Shape]) -> dict[str, Shape]:
        return {f"layer{name}": shape for name, shape in tensors.items()}

    mine = network(3, 6, 10)
    assert len(match_by_order(mine, named(network(1, 6, 2)), ordered=True).pairs) == 8
    found = match_by_order(mine, named(network(3, 7, 10)), ordered=True)
    assert (found.pairs, found.reason) == ({}, "nothing in it fits 1, layer 2 of 4")


@pytest.mark.parametrize("middle", [(4, 2), (9, 4), (4, 4, 1)])
def test_a_layer_in_the_middle_must_fit_on_every_axis(middle: Shape) -> None:
    mine = {"a.weight": (4, 3), "b.weight": (4, 4), "c.weight": (2, 4)}
    found = match_by_order(mine, {"x.weight": (4, 3), "y.weight": middle, "z.weight": (2, 4)}, ordered=True)
    assert found == ({}, "nothing in it fits b, layer 2 of 3")


def test_the_order_of_a_file_is_kept_where_it_is_known() -> None:
    mine = {"a.weight": (4, 4), "b.weight": (4, 4), "c.weight": (4, 4)}
    theirs = {"z.weight": (4, 4), "y.weight": (4, 4), "x.weight": (4, 4)}
    assert list(match_by_order(mine, theirs, ordered=True).pairs.values()) == list(theirs)


def test_several_orders_that_fit_are_not_guessed() -> None:
    mine = {"a.weight": (4, 4), "b.weight": (4, 4)}
    found = match_by_order(mine, {"x.weight": (4, 4), "y.weight": (4, 4)}, ordered=False)
    assert found.pairs == {}
    assert found.reason == "its layers fit in more than one order, and their names do not tell which is right"
    numbered = {"conv10.weight": (4, 4), "conv9.weight": (4, 4)}
    assert list(match_by_order(mine, numbered, ordered=False).pairs.values()) == ["conv9.weight", "conv10.weight"]


def test_a_part_may_be_left_out_only_as_a_whole_and_only_if_that_is_unique() -> None:
    mine = {"a.weight": (4, 3), "b.weight": (2, 4)}
    extra = {"a.0.weight": (4, 3), "aux.0.weight": (7, 4, 1), "aux.1.weight": (2, 7), "b.0.weight": (2, 4)}
    assert list(match_by_order(mine, extra, ordered=True).pairs.values()) == ["a.0.weight", "b.0.weight"]
    inside = {"all.a.weight": (4, 3), "all.b.weight": (2, 4), "rest.a.0.weight": (1,), "rest.b.weight": (2, 4)}
    assert match_by_order(mine, inside, ordered=True).pairs == {"a.weight": "all.a.weight", "b.weight": "all.b.weight"}
    twice = {"a.weight": (4, 3), "b.weight": (2, 4), "c.weight": (2, 4)}
    assert match_by_order(mine, twice, ordered=True).reason.startswith("its layers fit in more than one order")


def test_layers_are_the_same_only_with_the_same_tensors() -> None:
    mine = shapes(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)))
    without_counters = {f"x{key}": shape for key, shape in mine.items() if "num_batches" not in key}
    found = match_by_order(mine, without_counters, ordered=True)
    assert len(found.pairs) == len(without_counters)
    assert "1.num_batches_tracked" not in found.pairs
    biased = {**without_counters, "x0.bias": (4,)}
    assert match_by_order(mine, biased, ordered=True).reason.startswith("nothing in it fits 0, layer 1 of 3")


def test_a_wrapper_around_the_whole_network_does_not_matter() -> None:
    mine = {"a.weight": (4, 3), "b.weight": (2, 4)}
    wrapped = {"module.net.x.weight": (4, 3), "module.net.y.weight": (2, 4), "module.net.spare.weight": (9,)}
    assert len(match_by_order(mine, wrapped, ordered=False).pairs) == 2
    bare = {"weight": (2, 4), "bias": (2,)}
    assert match_by_order(bare, {"x.weight": (2, 4), "x.bias": (2,)}, ordered=True).pairs == {
        "weight": "x.weight",
        "bias": "x.bias",
    }


Trees = st.recursive(
    st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple),
    lambda inner: st.dictionaries(st.sampled_from(["conv1", "conv2", "bn1", "fc", "up", "0", "1"]), inner, min_size=1),
    max_leaves=8,
)


def flat(tree: object, path: str = "net") -> dict[str, Shape]:
    if isinstance(tree, dict):
        return {key: shape for word, inner in tree.items() for key, shape in flat(inner, f"{path}.{word}").items()}
    assert isinstance(tree, tuple)
    return {f"{path}.weight": tree}


@settings(max_examples=60, deadline=None)
@given(Trees)
def test_a_file_in_order_fits_itself_whatever_its_tree(tree: object) -> None:
    theirs = flat(tree)
    mine = {f"layer{number}.weight": shape for number, shape in enumerate(theirs.values())}
    found = match_by_order(mine, theirs, ordered=True)
    assert list(found.pairs.values()) == list(theirs), found.reason
