"""The detector: its cells, its boxes at the start, precision, and whether it learns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convlens.errors import ConfigError
from convlens.models.yolo import Yolo, cells_of, yolo
from convlens.nn.boxes import iou
from convlens.nn.detection import decode
from convlens.nn.detection_loss import detection_loss

TINY: dict[str, Any] = {"width": 4, "fpn_width": 8}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def cells_by_hand(height: int, width: int, strides: tuple[int, ...]) -> Iterator[list[float]]:
    for stride in strides:
        for top in range(0, height, stride):
            for left in range(0, width, stride):
                yield [left + stride / 2, top + stride / 2, stride]


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (33, 41), (7, 100), (1, 1), (50, 31)])
@pytest.mark.parametrize("scales", [1, 2, 3])
def test_every_cell_that_touches_the_image_has_one_prediction(size: tuple[int, int], scales: int) -> None:
    network = yolo(2, 5, size, scales=scales, **TINY).eval()
    with torch.no_grad():
        outputs = network(torch.rand(2, 2, *size))
    expected = list(cells_by_hand(*size, (8, 16, 32)[:scales]))
    assert (outputs.shape, outputs.dtype) == ((2, len(expected), 13), torch.float32)
    assert outputs[0, :, 4:7].tolist() == outputs[1, :, 4:7].tolist() == expected


def test_a_prediction_is_about_the_place_its_cell_says() -> None:
    network, x = yolo(1, 2, 96, **TINY).eval(), torch.zeros(2, 1, 96, 128)
    x[1, 0, 40:48, 88:96] = 5.0  # one cell of stride 8
    with torch.no_grad():
        outputs = network(x)
    change = (outputs[1] - outputs[0])[:, [0, 1, 2, 3, 7, 8, 9]].abs().sum(1)
    for stride in (8, 16, 32):
        there = outputs[0, :, 6] == stride
        cx, cy = outputs[0, there][change[there].argmax(), 4:6].tolist()
        assert abs(cx - 92) <= 1.5 * stride
        assert abs(cy - 44) <= 1.5 * stride


def test_an_untrained_box_is_four_strides_wide_around_its_cell_and_next_to_certainly_empty() -> None:
    network = yolo(3, 4, 64, width=8, fpn_width=16)
    outputs = network(torch.randn(4, 3, 64, 64)).detach()
    middle, stride = outputs[..., 4:6], outputs[..., 6:7]
    start = torch.cat([middle - 2 * stride, middle + 2 * stride], 2)
    assert float(iou(outputs[..., :4], start).min()) > 0.6
    chances = outputs[..., 7:].sigmoid()
    assert float(chances.mean()) == pytest.approx(0.01, rel=0.3)
    assert float(chances.max()) < 0.05


def test_boxes_move_by_strides_and_stretch_by_powers_of_e() -> None:
    network = yolo(1, 1, 64, **TINY).eval()
    nn.init.zeros_(network.head.box.weight)
    with torch.no_grad():
        network.head.box.bias.copy_(torch.tensor([0.5, -1.0, math.log(2.0), 100.0]))  # type: ignore[union-attr]
        network.head.stretch[1] = 3.0
        outputs = network(torch.rand(1, 1, 64, 64))[0]
    fine, coarse = outputs[0], outputs[64]  # the first cells of strides 8 and 16
    tall = 4 * math.exp(8)  # no further, whatever the head says
    for row, stride, stretch in [(fine, 8, 1.0), (coarse, 16, 3.0)]:
        cx, cy, wide = stride * (0.5 + 0.5 * stretch), stride * (0.5 - stretch), 4 * stride * 2**stretch
        expected = [cx - wide / 2, cy - stride * tall / 2, cx + wide / 2, cy + stride * tall / 2]
        assert row[:4].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scales", [1, 3])
def test_every_parameter_receives_a_gradient(scales: int) -> None:
    network = yolo(3, 3, 64, scales=scales, **TINY)
    targets = torch.tensor([[[0.0, 4, 4, 34, 30], [1, 10, 20, 60, 62], [2, 0, 0, 64, 64], [2, 40, 2, 60, 30]]])
    detection_loss(network(torch.rand(2, 3, 64, 64)), targets.repeat(2, 1, 1))["total"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.abs().sum() > 0), name


def test_predictions_do_not_depend_on_the_batch() -> None:
    network, x = yolo(3, 3, 64, **TINY).eval(), torch.rand(4, 3, 48, 72)
    with torch.no_grad():
        together, alone = network(x), network(x[2:3])
    torch.testing.assert_close(alone, together[2:3], rtol=0, atol=1e-4)


def test_bfloat16_leaves_boxes_exact() -> None:
    network, x = yolo(1, 2, 640, scales=1, **TINY).eval(), torch.randn(1, 1, 64, 1000)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = network(x)
        assert rounded.dtype == torch.float32
        assert torch.equal(rounded[..., 4:7], exact[..., 4:7])
        # bfloat16 has steps of 4 px from 512 px on
        assert float((rounded - exact)[..., :4].abs().max()) < 0.1
        nn.init.zeros_(network.head.box.weight)
        network.head.box.bias.copy_(torch.tensor([0.3, 0.3, 0.1, 0.1]))  # type: ignore[union-attr]
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(network(x)[..., :4], exact[..., :4])


def test_is_walked_without_memory() -> None:
    with torch.device("meta"):
        assert yolo(1, 2, 64, **TINY)(torch.empty(1, 1, 64, 64)).shape == (1, 84, 10)


def scene(images: int = 4, side: int = 64) -> tuple[Tensor, Tensor]:
    """A bright or a dark rectangle, or both, on noise."""
    x = 0.1 * torch.randn(images, 1, side, side)
    targets = torch.full((images, 2, 5), -1.0)
    for i in range(images):
        for k, (x1, y1, x2, y2) in enumerate([(4 + 3 * i, 6, 24 + 3 * i, 34), (34, 38 - 2 * i, 60, 60)]):
            if i % 3 == k:
                continue
            x[i, 0, y1:y2, x1:x2] += 2.0 - 4.0 * k
            targets[i, k] = torch.tensor([k, x1, y1, x2, y2])
    return x, targets


def train(network: nn.Module, x: Tensor, targets: Tensor, steps: int) -> Iterator[int]:
    """Learn one batch again and again, with a look every ten steps."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        detection_loss(network(x), targets)["total"].backward()
        optimiser.step()
        if step % 10 == 0:
            yield step


def given_back(network: nn.Module, x: Tensor, targets: Tensor, least: float) -> bool:
    """Whether decoding finds every object, and nothing else."""
    network.eval()
    found = decode(network(x), 0.3, 0.5)
    network.train()
    for one, objects in zip(found, targets, strict=True):
        objects = objects[objects[:, 0] >= 0]
        order = one.classes.argsort()
        if one.classes[order].tolist() != objects[:, 0].tolist():
            return False
        if bool((iou(one.boxes[order], objects[:, 1:]) <= least).any()):
            return False
    return True


def test_learns_one_batch_by_heart_and_gives_its_boxes_back() -> None:
    network, (x, targets) = yolo(1, 2, 64, scales=2, width=8, fpn_width=16), scene()
    assert any(given_back(network, x, targets, least=0.8) for _ in train(network, x, targets, 150))


def test_an_object_smaller_than_a_cell_can_be_learned() -> None:
    network, x = yolo(1, 1, 32, scales=1, width=8, fpn_width=16), 0.1 * torch.randn(2, 1, 32, 32)
    targets = torch.tensor([[[0.0, 17, 9, 20, 11]], [[0.0, 1, 25, 3, 28]]])  # no middle of a cell within
    x[0, 0, 9:11, 17:20] = x[1, 0, 25:28, 1:3] = 4.0

    def best() -> Tensor:
        outputs = network(x)
        return outputs[torch.arange(2), outputs[..., 7].argmax(1), :4]

    assert any(bool((iou(best(), targets[:, 0, 1:]) > 0.5).all()) for _ in train(network, x, targets, 150))


def test_cells_of_a_map() -> None:
    assert cells_of(2, 1, 16).tolist() == [[8.0, 8.0, 16.0], [8.0, 24.0, 16.0]]


def test_fewer_scales_leave_the_coarse_stages_out() -> None:
    counts = [sum(p.numel() for p in yolo(3, 2, 64, scales=scales, **TINY).parameters()) for scales in (1, 2, 3)]
    assert counts == sorted(set(counts))
    assert [len(yolo(3, 2, 64, scales=scales, **TINY).backbone.stages) for scales in (1, 2, 3)] == [2, 3, 4]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
@pytest.mark.parametrize("scales", [1, 3])
def test_takes_an_encoder_of_timm(name: str, scales: int) -> None:
    network = yolo(2, 3, 64, backbone=f"timm:{name}", scales=scales, fpn_width=16)
    for size in [(64, 64), (33, 70)]:
        outputs = network(torch.rand(2, 2, *size))
        assert outputs[0, :, 4:7].tolist() == list(cells_by_hand(*size, (8, 16, 32)[:scales]))
    targets = torch.tensor([[[0.0, 2, 2, 30, 30], [1, 5, 10, 65, 32], [2, 20, 2, 70, 33]]]).repeat(2, 1, 1)
    detection_loss(outputs, targets)["total"].backward()
    assert [path for path, p in network.named_parameters() if p.grad is None] == []  # coarser stages are not built


def test_what_it_cannot_be_built_with_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backbone must be timm:NAME, such as timm:resnet18.*got 'resnet18'"):
        yolo(3, 2, 64, backbone="resnet18")
    with pytest.raises(ConfigError, match="no effect on the own backbone"):
        yolo(3, 2, 64, backbone_options={"drop_rate": 0.1})
    with pytest.raises(ConfigError, match=r"timm:test_vit gives feature maps of strides 16, not of 8. Choose another"):
        yolo(3, 2, 160, backbone="timm:test_vit", scales=2)


def test_says_what_starts_afresh() -> None:
    network = yolo(1, 2, 32, **TINY)
    assert isinstance(network, Yolo)
    assert network.get_classifier() == [network.pyramid, network.head]
