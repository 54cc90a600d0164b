"""U-Net: sizes, skips, padding, the published count, encoders of timm and their weights, and whether it learns."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convlens.errors import ConfigError, ShapeError
from convlens.models import backbone
from convlens.models.depth import head_of
from convlens.models.unet import UNet, unet
from convlens.models.walk import walk
from convlens.models.weights import load_weights

MOBILENET: dict[str, Any] = {"encoder": "timm:mobilenetv2_100", "encoder_options": {"pad_type": "same"}}
RESNET: dict[str, Any] = {"encoder": "timm:resnet18"}
ENCODERS = [pytest.param(MOBILENET, id="mobilenetv2_100"), pytest.param(RESNET, id="resnet18")]


needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def without_gradient(network: nn.Module) -> list[str]:
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def blobs(images: int, side: int) -> tuple[Tensor, Tensor]:
    """Noise with a brighter rectangle in each image, and the mask of it."""
    masks = torch.zeros(images, side, side, dtype=torch.int64)
    for i in range(images):
        top, left = 2 * i, 3 * i % 7
        masks[i, top : top + 5 + i, left : left + 9] = 1
    return torch.rand(images, 1, side, side) + 0.7 * masks[:, None], masks


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 2), (3, 1), (5, 4)])
def test_answers_every_pixel_at_every_size(channels: int, outputs: int, skips: bool) -> None:
    network = unet(channels, outputs, 64, width=2, skips=skips).eval()
    for size in [(1, 1), (7, 7), (1, 50), (33, 40), (128, 128), (16, 32)]:
        assert network(torch.rand(2, channels, *size)).shape == (2, outputs, *size)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_depth_is_how_often_the_sides_are_halved(depth: int) -> None:
    network, x = unet(1, 2, 64, width=2, depth=depth).eval(), torch.rand(1, 1, 64, 96)
    maps = network.encoder(x)
    assert [tuple(found.shape[1:]) for found in maps] == [(2 * 2**i, 64 >> i, 96 >> i) for i in range(depth + 1)]
    assert network(x).shape == (1, 2, 64, 96)
    assert network(torch.rand(1, 1, 9, 3)).shape == (1, 2, 9, 3)


def test_an_image_is_extended_by_its_own_edge_and_only_where_needed() -> None:
    network, seen = unet(2, 2, 32, width=2, depth=3).eval(), []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.rand(1, 2, 24, 32)
    network(x)
    assert seen[0] is x
    x = torch.rand(1, 2, 21, 26)
    answer = network(x)
    assert seen[1].shape == (1, 2, 24, 32)
    assert torch.equal(seen[1][..., :21, :26], x)
    assert torch.equal(seen[1][..., 21:, :26], x[..., -1:, :].expand(-1, -1, 3, -1))
    assert torch.equal(seen[1][..., :, 26:], seen[1][..., :, 25:26].expand(-1, -1, -1, 6))
    assert torch.equal(answer, network(seen[1])[..., :21, :26])


def test_parameters_are_those_of_another_implementation() -> None:
    with torch.device("meta"):
        network = unet(3, 1, 512, width=64)
    assert count(network) == 31_037_633  # of the widely used PyTorch version, with norms and transposed convolutions


def test_without_skips_only_the_convolutions_that_read_them_are_smaller() -> None:
    with_skips, without = (unet(1, 2, 64, width=4, skips=skips) for skips in (True, False))
    assert count(with_skips) - count(without) == sum(9 * width * width for width in (4, 8, 16, 32))


def test_there_are_only_convolutions() -> None:
    kinds = {type(m) for m in unet(1, 2, 64, width=2).modules() if not [*m.children()]}
    assert kinds == {nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Dropout}


def test_skips_carry_what_the_coarsest_map_does_not() -> None:
    def silenced(skips: bool) -> float:
        network = unet(1, 2, 64, width=4, skips=skips).eval()
        network.encoder.levels[-1].register_forward_hook(lambda _m, _x, y: torch.zeros_like(y))  # type: ignore[union-attr]
        first, second = network(torch.rand(1, 1, 64, 64)), network(torch.rand(1, 1, 64, 64))
        return float((first - second).detach().abs().max())

    assert silenced(skips=False) == 0
    assert silenced(skips=True) > 1e-4


def fit(network: nn.Module, images: Tensor, masks: Tensor, steps: int, lr: float = 0.01) -> float:
    """The share of pixels that are right after so many steps, or once it is nearly all."""
    optimiser, share = torch.optim.Adam(network.parameters(), lr=lr), 0.0
    for _ in range(steps):
        logits = network(images)
        share = float((logits.argmax(1) == masks).float().mean())
        if share > 0.995:
            break
        optimiser.zero_grad()
        nn.functional.cross_entropy(logits, masks).backward()
        optimiser.step()
    return share


def test_single_pixels_are_learned_with_skips_and_not_without() -> None:
    def share(skips: bool) -> float:
        torch.manual_seed(0)
        masks = (torch.rand(8, 32, 32) < 0.5).long()
        return fit(unet(1, 2, 32, width=2, skips=skips), masks[:, None].float(), masks, steps=30, lr=0.03)

    assert share(skips=True) > 0.9
    assert share(skips=False) < 0.8


@pytest.mark.parametrize("skips", [True, False])
def test_learns_a_batch_of_masks_by_heart(skips: bool) -> None:
    images, masks = blobs(4, 32)
    assert float((masks == 0).float().mean()) < 0.95, "there is something to learn"
    assert fit(unet(1, 2, 32, width=8, depth=3, skips=skips), images, masks, steps=100) > 0.995


@pytest.mark.parametrize("options", [{}, {"skips": False}, {"dropout": 0.2}, {"depth": 2}])
def test_every_parameter_receives_a_gradient(options: dict[str, Any]) -> None:
    network = unet(2, 3, 32, width=4, **options)
    network(torch.rand(4, 2, 30, 32)).logsumexp(1).sum().backward()
    assert without_gradient(network) == []


def test_residual_begins_by_answering_the_image_and_then_learns() -> None:
    network, x = unet(3, 3, 32, width=4, residual=True), torch.rand(4, 3, 19, 32)
    assert torch.equal(network(x), x)
    assert torch.equal(network.eval()(x), x)
    optimiser = torch.optim.SGD(network.train().parameters(), lr=0.1)
    for _ in range(2):  # the head is zero in the first step, and hands nothing down
        optimiser.zero_grad()
        loss = (network(x) - 0.5).square().sum()
        loss.backward()
        optimiser.step()
    assert without_gradient(network) == []
    torch.testing.assert_close(network(x) - x, UNet.forward(plain(network), x))


def plain(network: UNet) -> UNet:
    other = copy.deepcopy(network)
    other.residual = False
    return other


def test_residual_needs_as_many_outputs_as_channels() -> None:
    with pytest.raises(ConfigError, match=r"as many outputs as channels of the image; got 2 outputs and 3 channels"):
        unet(3, 2, 32, residual=True)


def test_dropout_acts_on_the_coarsest_map_in_training_only() -> None:
    network, x = unet(1, 3, 32, width=4, dropout=0.5), torch.rand(2, 1, 32, 32)
    assert not torch.equal(network(x), network(x))
    seen: list[Tensor] = []
    network.dropout.register_forward_hook(lambda _m, inputs, y: seen.append(inputs[0]))
    network.eval()
    assert torch.equal(network(x), network(x))
    assert seen[0].shape == (2, 64, 2, 2)


def test_starts_with_the_weights_of_the_paper() -> None:
    network = unet(1, 40, 32, width=32, depth=2)
    up: Any = network.ups[0]
    for layer, reads, gain in [(up.conv1.conv, 9 * 128, 2), (up.up, 128, 1), (network.head, 32, 2)]:
        assert float(layer.weight.detach().std()) == pytest.approx((gain / reads) ** 0.5, rel=0.05)
    assert not any(bool(p.any()) for name, p in network.named_parameters() if name.endswith("bias"))


@needs_timm
def test_an_encoder_keeps_the_weights_timm_starts_it_with() -> None:
    network = unet(3, 2, 64, width=2, encoder="timm:test_efficientnet").encoder
    torch.manual_seed(0)
    wanted = backbone.encoder("test_efficientnet", 3)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), wanted.parameters(), strict=True))


def test_the_memory_of_a_pass_is_not_wasted() -> None:
    network = unet(3, 4, 32, width=4).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand(2, 3, 32, 48).to(memory_format=torch.channels_last)
    layouts = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _m, _x, y: layouts.append(y.is_contiguous(memory_format=torch.channels_last))
            )
    answer = network(x)
    assert answer.is_contiguous(memory_format=torch.channels_last)
    assert all(layouts)
    assert all(module.inplace for module in network.modules() if isinstance(module, nn.ReLU))
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    assert half.dtype == torch.bfloat16
    assert float((half - answer).detach().abs().mean()) < 0.05 * float(answer.detach().std())


@pytest.mark.parametrize("options", [{}, {"skips": False, "residual": True}, pytest.param(MOBILENET, marks=needs_timm)])
def test_is_built_on_the_meta_device_and_walked(options: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = unet(3, 3, 64, width=2, **options)
        assert network(torch.rand(1, 3, 50, 64)).shape == (1, 3, 50, 64)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}
    network = unet(3, 3, 64, width=2, **options)
    assert sum(row.parameters for row in walk(network, (1, 3, 50, 64))) == count(network)
    assert head_of(network) == ("head",)


@needs_timm
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("options", ENCODERS)
def test_an_encoder_of_timm_at_two_sizes(options: dict[str, Any], skips: bool) -> None:
    network = unet(3, 4, 64, width=4, skips=skips, **options)
    for name, parameter in network.encoder.named_parameters():
        if name.endswith("bn2.weight"):
            nn.init.ones_(parameter)  # timm starts the branches of a ResNet at zero
    assert network.encoder.reductions == [2, 4, 8, 16, 32]
    assert network.skipped == ([3, 2, 1, 0, None] if skips else [None] * 5)
    assert network.eval()(torch.rand(1, 3, 33, 40)).shape == (1, 4, 33, 40)
    network.train()(torch.rand(2, 3, 64, 64)).logsumexp(1).sum().backward()
    assert without_gradient(network) == []


@needs_timm
@pytest.mark.parametrize("name", ["test_convnext", "test_vit3", "test_byobnet", "test_mambaout"])
def test_encoders_with_other_stems_or_maps_of_one_size(name: str) -> None:
    network = unet(1, 2, (50, 70), width=2, encoder=f"timm:{name}").eval()
    assert network(torch.rand(1, 1, 50, 70)).shape == (1, 2, 50, 70)
    found = [row.output_shape[2:] for row in walk(network, (1, 1, 50, 70)) if row.kind == "ConvTranspose2d"]
    assert found[-1] == (64, 96)


@needs_timm
def test_an_encoder_learns_too_and_may_be_cut_short() -> None:
    options = {"pad_type": "same", "out_indices": [0, 1]}
    network = unet(1, 2, 32, width=4, encoder="timm:test_efficientnet", encoder_options=options)
    assert network.encoder.reductions == [2, 4]
    assert "Conv2dSame" in {type(module).__name__ for module in network.encoder.modules()}
    assert fit(network, *blobs(2, 32), steps=100) > 0.995


@needs_timm
@pytest.mark.parametrize("options", [*ENCODERS, pytest.param({"encoder": "timm:test_convnext"}, id="convnext")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_an_encoder_starts_from_a_classifiers_weights(tmp_path: Path, options: dict[str, Any], suffix: str) -> None:
    network, classifier, path = unet(3, 4, 64, width=2, **options), classifier_of(options), tmp_path / f"c{suffix}"
    (torch.save if suffix == ".pth" else save_file)(classifier.state_dict(), path)
    decoder = [p.detach().clone() for p in network.ups.parameters()]
    report = load_weights(network, path)
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network.eval().encoder(x)[-1], last_map(classifier.eval(), x))
    assert all(torch.equal(a, b) for a, b in zip(decoder, network.ups.parameters(), strict=True))
    tensors = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    assert report.by == "name"
    assert report.missing == tuple(name for name in tensors if not name.startswith("encoder."))
    assert report.other_shape == {}
    assert {report.sources[name] for name in report.matched} | set(report.unexpected) == set(classifier.state_dict())
    assert any(name.split(".")[0] in ("fc", "classifier", "head") for name in report.unexpected)
    first = next(name for name in tensors)
    assert f"matched as those of a classifier ({first} is {report.sources[first]}); left fresh: ups.0" in str(report)
    assert set(report.to_json()["missing"]) == set(report.missing)


def classifier_of(options: dict[str, Any]) -> nn.Module:
    import timm

    network = timm.create_model(options["encoder"].removeprefix("timm:"), **options.get("encoder_options", {}))
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return network


def last_map(classifier: Any, x: Tensor) -> Tensor:
    if hasattr(classifier, "conv_stem"):
        return classifier.blocks(classifier.bn1(classifier.conv_stem(x)))
    return classifier.forward_features(x)


@needs_timm
def test_an_encoder_starts_from_the_same_classifier_under_other_names(tmp_path: Path) -> None:
    classifier, network = classifier_of(MOBILENET), unet(3, 4, 64, width=2, **MOBILENET)
    words = {"blocks": "stages", "bn": "norm", "conv": "c", "classifier": "fc"}
    state = dict(classifier.state_dict())
    for word, other in words.items():
        state = {name.replace(word, other): tensor for name, tensor in state.items()}
    torch.save(state, tmp_path / "c.pth")
    report, x = load_weights(network, tmp_path / "c.pth"), torch.rand(1, 3, 64, 64)
    assert report.by == "order"
    assert "by order and shape, since the names differ (encoder.body.conv_stem.weight is c_stem.weight)" in str(report)
    assert not [name for name in report.missing if name.startswith("encoder.")]
    assert {name.split(".")[0] for name in report.unexpected} == {"c_head", "norm2", "fc"}
    with torch.no_grad():
        assert torch.equal(network.eval().encoder(x)[-1], last_map(classifier.eval(), x))


@needs_timm
def test_a_classifiers_first_layer_for_other_channels_is_left_fresh_and_listed(tmp_path: Path) -> None:
    save_file(classifier_of(RESNET).state_dict(), tmp_path / "c.safetensors")
    network = unet(1, 2, 64, width=2, **RESNET)
    report = load_weights(network, tmp_path / "c.safetensors")
    assert report.other_shape == {"encoder.body.conv1.weight": ((64, 3, 7, 7), (64, 1, 7, 7))}
    assert "encoder.body.conv1.weight (64x1x7x7, file 64x3x7x7)" in str(report)


@needs_timm
def test_a_u_net_starts_from_another_one(tmp_path: Path) -> None:
    options = {"encoder": "timm:test_efficientnet", "width": 2}
    first, second = unet(3, 4, 64, **options), unet(3, 7, 64, **options)
    save_file(first.state_dict(), tmp_path / "u.safetensors")
    report = load_weights(second, tmp_path / "u.safetensors")
    assert (report.missing, report.unexpected) == ((), ())
    assert list(report.other_shape) == ["head.weight", "head.bias"]
    assert torch.equal(first.ups[0].up.weight, second.ups[0].up.weight)  # type: ignore[arg-type]


@needs_timm
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "resnet18"}, "a network of timm, such as timm:resnet18; got 'resnet18'"),
        ({"encoder": "timm:resnet18", "depth": 3}, "depth=3 has no effect beside encoder=timm:resnet18"),
        ({"encoder_options": {"pad_type": "same"}}, "encoder_options have no effect without encoder"),
        ({"encoder": "timm:resnet1"}, "no network 'resnet1'. The nearest are resnet"),
        ({"encoder": "timm:test_vit3", "encoder_options": {"patch_size": 12}}, "gives a map of 1/12 of the image"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        unet(3, 2, 64, **options)


def test_an_encoder_whose_maps_have_odd_sizes_is_refused() -> None:
    class Shrinking(nn.Module):
        feature_info: Any = type("Info", (), {"reduction": lambda _: [2, 4], "channels": lambda _: [1, 1]})()

        def forward(self, x: Tensor) -> list[Tensor]:
            return [x[:, :, ::2, ::2], x[:, :, 4::4, 4::4]]

    network = UNet(backbone.Encoder(Shrinking(), nn.Identity), 2, 2, multiple=4)
    with pytest.raises(ShapeError, match=r"a map of 7 x 7 where 1/4 of 32 x 32 was expected, 8 x 8"):
        network(torch.rand(2, 1, 32, 32))
