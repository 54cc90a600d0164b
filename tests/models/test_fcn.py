"""FCN: the published counts, VGG's weights, bilinear steps up, skip sums, sizes, and whether it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.models.depth import head_of
from convlens.models.fcn import FCN, bilinear, fcn8s, fcn16s, fcn32s
from convlens.models.vgg import vgg16
from convlens.models.walk import walk
from convlens.models.weights import load_weights

SMALL: dict[str, Any] = {"width": 2, "hidden": 4}
BUILDERS = [pytest.param(builder, id=f"fcn{stride}s") for builder, stride in ((fcn32s, 32), (fcn16s, 16), (fcn8s, 8))]
Builder = Callable[..., FCN]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def without_gradient(network: nn.Module) -> list[str]:
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_parts_have_the_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        network, coarse = fcn8s(3, 21, 500), fcn32s(3, 21, 500, final="learned")
    assert count(network.features) == 14_714_688
    parts = {name: count(part) for name, part in [*network.dense.named_children(), *network.head.named_children()]}
    assert (parts["fc6"], parts["fc7"]) == (102_764_544, 16_781_312)
    assert (parts["score_fc7"], parts["score_pool4"], parts["score_pool3"]) == (86_037, 10_773, 5_397)
    assert parts["up_to_pool4"] == parts["up_to_pool3"] == 21 * 21 * 4 * 4
    assert parts["up"] == 0
    assert count(coarse.head["up"]) == 21 * 21 * 64 * 64


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("final", ["fixed", "learned"])
def test_answers_every_pixel_at_every_size(builder: Builder, final: str) -> None:
    network = builder(3, 5, 64, final=final, **SMALL).eval()
    for size in [(1, 1), (7, 7), (33, 40), (128, 128)]:
        assert network(torch.rand(2, 3, *size)).shape == (2, 5, *size)


def test_an_image_is_extended_only_where_needed() -> None:
    network, seen = fcn8s(1, 2, 64, **SMALL).eval(), []
    network.features[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(1, 1, 64, 96)
    network(x)
    assert seen[0] is x
    network(x[..., :33, :70])
    assert seen[1].shape == (1, 1, 64, 96)
    assert torch.equal(seen[1][..., 33:, 70:], x[..., 32:33, 69:70].expand(1, 1, 31, 26))


@pytest.mark.parametrize("factor", [2, 8, 32])
def test_a_step_up_starts_as_bilinear_interpolation(factor: int) -> None:
    x = torch.randn(2, 3, 5, 6)
    up, expected = bilinear(3, factor)(x), F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    assert up.shape == expected.shape
    inside = (..., slice(factor // 2, -factor // 2), slice(factor // 2, -factor // 2))
    torch.testing.assert_close(up[inside], expected[inside])
    assert not torch.allclose(up[..., 0, :], expected[..., 0, :])  # towards zeros at the edge


@pytest.mark.parametrize("final", ["fixed", "learned"])
def test_the_last_step_up_of_fcn32s_is_bilinear(final: str) -> None:
    network = fcn32s(3, 2, 96, final=final, **SMALL).eval()
    nn.init.normal_(network.head["score_fc7"].weight)  # type: ignore[arg-type]
    x = torch.rand(1, 3, 96, 128)
    coarse = network.head["score_fc7"](network.dense(network.features(x)))
    assert coarse.shape == (1, 2, 3, 4)
    expected = F.interpolate(coarse, scale_factor=32, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x)[..., 16:-16, 16:-16], expected[..., 16:-16, 16:-16])


@pytest.mark.parametrize("builder", BUILDERS)
def test_begins_without_an_answer_and_then_every_parameter_receives_a_gradient(builder: Builder) -> None:
    network, x = builder(3, 4, 64, dropout=0.0, final="learned", **SMALL), torch.rand(2, 3, 64, 70)
    masks, optimiser = torch.randint(4, (2, 64, 70)), torch.optim.SGD(network.parameters(), lr=0.1)
    assert not bool(network(x).any())
    for _ in range(2):  # scores of zero hand nothing down in the first step
        optimiser.zero_grad()
        F.cross_entropy(network(x), masks).backward()
        optimiser.step()
    assert without_gradient(network) == []


@pytest.mark.parametrize(("builder", "pool"), [(fcn16s, 4), (fcn8s, 4), (fcn8s, 3)])
def test_the_scores_of_a_finer_map_are_added(builder: Builder, pool: int) -> None:
    network, x, stride = builder(3, 2, 64, **SMALL).eval(), torch.rand(1, 3, 64, 64), 2**pool
    score = network.head[f"score_pool{pool}"]
    nn.init.normal_(score.weight)  # type: ignore[arg-type]
    maps = [index for index, layer in enumerate(network.features) if isinstance(layer, nn.MaxPool2d)]
    found = score(network.features[: maps[pool - 1] + 1](x))
    assert found.shape == (1, 2, 64 // stride, 64 // stride)
    expected = found
    for factor in [2] * (pool == 4 and builder is fcn8s):
        expected = bilinear(2, factor)(expected)
    factor = 64 // expected.shape[-1]
    expected = F.interpolate(expected, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), expected)
    assert bool(expected.any())


def test_fcn32s_reads_the_coarsest_map_only() -> None:
    assert list(fcn32s(3, 2, 64, **SMALL).head) == ["score_fc7", "up"]
    assert list(fcn16s(3, 2, 64, **SMALL).head) == ["score_fc7", "up_to_pool4", "score_pool4", "up"]


@pytest.mark.parametrize("builder", BUILDERS)
def test_learns_a_batch_of_masks_by_heart(builder: Builder) -> None:
    x, masks = halves()
    network = builder(1, 2, 64, width=8, hidden=32, dropout=0.0, batch_norm=True)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(100):
        logits = network(x)
        if float((logits.argmax(1) == masks).float().mean()) > 0.97:
            return
        optimiser.zero_grad()
        F.cross_entropy(logits, masks).backward()
        optimiser.step()
    pytest.fail("4 masks are not learned in 100 steps")


def halves() -> tuple[Tensor, Tensor]:
    """Images of which one half is brighter: the left, the right, the upper or the lower one."""
    masks = torch.zeros(4, 64, 64, dtype=torch.int64)
    for mask, part in zip(
        masks, [(slice(None), slice(32)), (slice(None), slice(32, None)), (slice(32),)], strict=False
    ):
        mask[part] = 1
    masks[3, 32:] = 1
    return torch.rand(4, 1, 64, 64) + masks[:, None], masks


@pytest.mark.parametrize("batch_norm", [False, True])
def test_starts_from_the_weights_of_vgg16(tmp_path: Path, batch_norm: bool) -> None:
    classifier = vgg16(3, 10, 224, batch_norm=batch_norm, **SMALL).eval()
    with torch.no_grad():
        for name, tensor in classifier.state_dict().items():
            if name.endswith(("bias", "running_var")):
                tensor.uniform_(0.5, 1.5)
    save_file(classifier.state_dict(), tmp_path / "vgg16.safetensors")
    network = fcn8s(3, 4, 224, batch_norm=batch_norm, **SMALL).eval()
    report = load_weights(network, tmp_path / "vgg16.safetensors")
    dense, wanted = network.dense, classifier.get_submodule("classifier")
    with torch.no_grad():
        features = network.features(torch.rand(2, 3, 224, 224))
        torch.testing.assert_close(dense(features)[..., 3, 3], wanted[:6](features.flatten(1)))  # type: ignore[index]
        x = torch.rand(2, 3, 64, 64)
        assert torch.equal(network.features(x), classifier.get_submodule("features")(x))
    heads = ["score_fc7", "up_to_pool4", "score_pool4", "up_to_pool3", "score_pool3"]
    assert list(dict.fromkeys(name.rpartition(".")[0] for name in report.missing)) == [f"head.{name}" for name in heads]
    assert (report.by, sorted(report.unexpected)) == ("name", ["classifier.6.bias", "classifier.6.weight"])
    assert report.sources["dense.fc6.weight"] == "classifier.0.weight"
    assert "matched as those of a classifier (dense.fc6.weight is classifier.0.weight)" in str(report)


def test_a_vgg_of_another_width_is_told_what_does_not_fit(tmp_path: Path) -> None:
    save_file(vgg16(3, 10, 224, width=2, hidden=5).state_dict(), tmp_path / "vgg16.safetensors")
    report = load_weights(fcn32s(3, 4, 224, **SMALL), tmp_path / "vgg16.safetensors")
    assert report.other_shape["dense.fc6.weight"] == ((5, 784), (4, 16, 7, 7))
    assert len(report.matched) == 26


def test_dropout_acts_in_training_only() -> None:
    network, x = fcn32s(1, 2, 64, width=4, hidden=16), torch.rand(1, 1, 64, 64)
    nn.init.normal_(network.head["score_fc7"].weight)  # type: ignore[arg-type]
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))


@pytest.mark.parametrize("builder", BUILDERS)
def test_is_built_on_the_meta_device_walked_and_has_one_head(builder: Builder) -> None:
    with torch.device("meta"):
        network = builder(3, 3, 64, **SMALL)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}
    network = builder(3, 3, 64, **SMALL)
    assert sum(row.parameters for row in walk(network, (1, 3, 50, 64))) == count(network)
    assert head_of(network) == ("head",)
    assert not any(isinstance(module, nn.Linear) for module in network.modules())
    assert all(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))
