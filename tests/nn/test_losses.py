"""The losses against plain loops in NumPy, against torch, and at the extremes where formulas break."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import ConfigError, ShapeError
from convlens.nn.losses import PIXEL_LOSSES, cross_entropy, dice_loss, focal_loss, huber_loss, mixed_loss

IGNORE = 255
ALL = pytest.mark.parametrize("name", PIXEL_LOSSES)


def case(shape: tuple[int, ...] = (3, 4, 5, 6), seed: int = 0, ignored: float = 0.2) -> tuple[Tensor, Tensor]:
    """Logits and targets in which some pixels are ignored."""
    generator = np.random.default_rng(seed)
    n, k, *rest = shape
    targets = generator.integers(k, size=(n, *rest))
    targets[generator.random(targets.shape) < ignored] = IGNORE
    return torch.tensor(2 * generator.normal(size=shape), requires_grad=True), torch.tensor(targets)


def at_pixels(logits: Tensor, targets: Tensor) -> list[tuple[int, np.ndarray, int]]:
    """Image, probabilities and target of every pixel that counts, one after the other."""
    found = []
    scores, truth = logits.detach().numpy(), targets.numpy()
    for place in np.ndindex(truth.shape):
        if truth[place] != IGNORE:
            raised = np.exp(scores[(place[0], slice(None), *place[1:])])
            found.append((place[0], raised / raised.sum(), int(truth[place])))
    return found


def plain_focal(logits: Tensor, targets: Tensor, gamma: float, weights: list[float]) -> float:
    total = weight = 0.0
    for _, p, t in at_pixels(logits, targets):
        total -= weights[t] * (1 - p[t]) ** gamma * math.log(p[t])
        weight += weights[t]
    return total / weight


def plain_dice(logits: Tensor, targets: Tensor, classes: list[int], smooth: float) -> float:
    pixels, images = at_pixels(logits, targets), []
    for image in range(len(logits)):
        inside = [(p, t) for i, p, t in pixels if i == image]
        if not inside:
            continue
        scores = []
        for k in classes:
            both = sum(p[k] for p, t in inside if t == k)
            either = sum(p[k] for p, _ in inside) + sum(t == k for _, t in inside)
            scores.append((2 * both + smooth) / (either + smooth))
        images.append(1 - sum(scores) / len(scores))
    return sum(images) / len(images)


@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (7, 3), (2, 2, 4, 4)])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_and_focal_loss_are_their_definitions(shape: tuple[int, ...], weighted: bool) -> None:
    logits, targets = case(shape)
    weights = [0.5, 2.0, 1.0, 0.25][: shape[1]] if weighted else [1.0] * shape[1]
    given = torch.tensor(weights) if weighted else None
    found = cross_entropy(logits, targets, class_weights=given, ignore_index=IGNORE)
    assert found.item() == pytest.approx(plain_focal(logits, targets, 0.0, weights))
    for gamma in (0.5, 2.0):
        found = focal_loss(logits, targets, gamma=gamma, class_weights=given, ignore_index=IGNORE)
        assert found.item() == pytest.approx(plain_focal(logits, targets, gamma, weights))


@pytest.mark.parametrize(("background", "smooth"), [(None, 1.0), (0, 1.0), (2, 1e-3)])
def test_dice_loss_is_its_definition(background: int | None, smooth: float) -> None:
    logits, targets = case()
    targets[1] = IGNORE  # an image in which nothing counts
    found = dice_loss(logits, targets, ignore_index=IGNORE, background=background, smooth=smooth)
    classes = [k for k in range(4) if k != background]
    assert found.item() == pytest.approx(plain_dice(logits, targets, classes, smooth))


def test_dice_loss_by_hand() -> None:
    # one image of four pixels, p of class 1 is 1, 1, 1/2, 0 and truth 1, 1, 0, 0
    logits = torch.tensor([[[[0.0, 0.0, 0.0, 60.0]], [[60.0, 60.0, 0.0, 0.0]]]])
    targets = torch.tensor([[[1, 1, 0, 0]]])
    class_0, class_1 = (2 * 1.5 + 1) / (1.5 + 2 + 1), (2 * 2 + 1) / (2.5 + 2 + 1)
    assert dice_loss(logits, targets).item() == pytest.approx(1 - (class_0 + class_1) / 2)
    assert dice_loss(logits, targets, background=0).item() == pytest.approx(1 - class_1)


def test_cross_entropy_is_torchs() -> None:
    logits, targets = case()
    weights = torch.tensor([0.5, 2.0, 1.0, 0.0], dtype=torch.float64)
    found = cross_entropy(logits, targets, class_weights=weights, ignore_index=IGNORE)
    expected = F.cross_entropy(logits, targets, weights, ignore_index=IGNORE)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(one, logits)[0] for one in (found, expected)))


def test_focal_loss_turns_easy_positions_down() -> None:
    easy, hard = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    target = torch.tensor([0])
    ratio = [
        focal_loss(easy, target, gamma=g).item() / focal_loss(hard, target, gamma=g).item() for g in (0.0, 1.0, 2.0)
    ]
    p = 1 / (1 + math.exp(-3))
    assert ratio[1] / ratio[0] == pytest.approx((1 - p) / p)
    assert ratio[2] / ratio[1] == pytest.approx((1 - p) / p)


@ALL
def test_gradients_are_those_of_the_value(name: str) -> None:
    logits, targets = case((2, 3, 2, 3))
    assert torch.autograd.gradcheck(lambda x: PIXEL_LOSSES[name](x, targets, ignore_index=IGNORE), logits)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_gradient_of_the_focal_loss_for_every_gamma(gamma: float) -> None:
    logits, targets = case((4, 3))
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, targets, gamma=gamma, ignore_index=IGNORE), logits)


@ALL
def test_ignored_pixels_change_nothing_and_get_no_gradient(name: str) -> None:
    logits, targets = case()
    loss = PIXEL_LOSSES[name](logits, targets, ignore_index=IGNORE)
    (gradient,) = torch.autograd.grad(loss, logits)
    ignored = (targets == IGNORE).unsqueeze(1).expand_as(logits)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).all()
    moved = torch.where(ignored, 50 * torch.randn_like(logits), logits)
    torch.testing.assert_close(PIXEL_LOSSES[name](moved, targets, ignore_index=IGNORE), loss)


@ALL
def test_nothing_that_counts_is_no_loss_and_no_gradient(name: str) -> None:
    logits, targets = case()
    loss = PIXEL_LOSSES[name](logits, torch.full_like(targets, IGNORE), ignore_index=IGNORE)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert (gradient == 0).all()


@ALL
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sure_answers_right_or_wrong_are_finite(name: str, size: float, dtype: torch.dtype) -> None:
    for options in ({}, {"gamma": 0.0}, {"gamma": 0.3}) if name == "focal" else ({},):
        for side in (size, -size):
            logits = torch.zeros(1, 3, 2, 2, dtype=dtype)
            logits[:, 0] = side
            logits.requires_grad_()
            loss = PIXEL_LOSSES[name](logits, torch.zeros(1, 2, 2, dtype=torch.long), **options)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert torch.isfinite(loss)
            assert torch.isfinite(gradient).all()
            assert (loss.item() < 1e-6) == (side > 0)


@ALL
def test_a_perfect_answer_costs_nothing(name: str) -> None:
    _, targets = case()
    one_hot = F.one_hot(targets.where(targets != IGNORE, 0), 4).movedim(-1, 1).double()
    good, bad = (PIXEL_LOSSES[name](scale * one_hot, targets, ignore_index=IGNORE).item() for scale in (60, -60))
    assert good == pytest.approx(0, abs=1e-12)
    assert bad > 0.5


@ALL
def test_the_order_of_the_images_does_not_matter(name: str) -> None:
    logits, targets = case()
    turned = PIXEL_LOSSES[name](logits[[2, 0, 1]], targets[[2, 0, 1]], ignore_index=IGNORE)
    torch.testing.assert_close(turned, PIXEL_LOSSES[name](logits, targets, ignore_index=IGNORE))


def test_dice_loss_of_a_batch_is_the_mean_of_its_images() -> None:
    logits, targets = case()
    each = [dice_loss(logits[i : i + 1], targets[i : i + 1], ignore_index=IGNORE) for i in range(3)]
    torch.testing.assert_close(dice_loss(logits, targets, ignore_index=IGNORE), torch.stack(each).mean())


@ALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_worked_out_in_single(name: str, dtype: torch.dtype) -> None:
    logits, targets = case((1, 3, 40, 40), ignored=0.0)
    half = logits.detach().to(dtype)
    loss = PIXEL_LOSSES[name](half, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, PIXEL_LOSSES[name](half.float(), targets))
    numbers = huber_loss(half, torch.zeros_like(logits))
    assert numbers.dtype == torch.float32


@ALL
def test_targets_that_are_no_class_are_refused_by_torch(name: str) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        PIXEL_LOSSES[name](torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), 3))


@ALL
def test_bytes_serve_as_targets(name: str) -> None:
    logits, targets = case()
    loss = PIXEL_LOSSES[name](logits, targets.to(torch.uint8), ignore_index=IGNORE)
    torch.testing.assert_close(loss, PIXEL_LOSSES[name](logits, targets, ignore_index=IGNORE))


def test_huber_loss_by_hand() -> None:
    outputs, targets = torch.tensor([0.0, 1.0, 5.0], requires_grad=True), torch.tensor([0.5, 1.0, -5.0])
    assert huber_loss(outputs, targets, delta=2.0).item() == pytest.approx((0.125 + 0 + 2 * (10 - 1)) / 3)
    (gradient,) = torch.autograd.grad(huber_loss(outputs, targets, delta=2.0), outputs)
    assert gradient.tolist() == pytest.approx([-0.5 / 3, 0, 2 / 3])
    far = torch.tensor([1e30], requires_grad=True)
    (gradient,) = torch.autograd.grad(huber_loss(far, torch.zeros(1)), far)
    assert gradient.item() == 1.0


def test_a_mixture_is_the_weighted_sum() -> None:
    logits, targets = case()
    options: dict[str, Any] = {
        "dice": {"ignore_index": IGNORE, "background": 0},
        "focal": {"ignore_index": IGNORE, "gamma": 1.0},
    }
    mixed = mixed_loss({"dice": 0.25, "focal": 2.0}, **options)
    parts = dice_loss(logits, targets, **options["dice"]), focal_loss(logits, targets, **options["focal"])
    torch.testing.assert_close(mixed(logits, targets), 0.25 * parts[0] + 2 * parts[1])
    (gradient,) = torch.autograd.grad(mixed(logits, targets), logits)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: mixed_loss({"dise": 1.0}), r"no pixel loss 'dise'\. Did you mean 'dice'"),
        (lambda: mixed_loss({"dice": 1.0}, focal={"gamma": 1}), "options of 'focal' have no effect"),
        (lambda: mixed_loss({"dice": 0.0}), r"not all 0; got \{'dice': 0\.0\}"),
        (lambda: mixed_loss({"dice": 1.0, "focal": -1.0}), "at least 0"),
        (lambda: mixed_loss({}), r"got \{\}"),
        (lambda: focal_loss(*case(), gamma=-1.0), "at least 0, such as 2; got -1"),
        (lambda: dice_loss(*case(), smooth=0.0), "positive, such as 1; got 0"),
        (lambda: dice_loss(*case(), background=4), r"classes 0\.\.3, or None; got 4"),
        (lambda: huber_loss(torch.zeros(1), torch.zeros(1), delta=0.0), "must be positive.*got 0"),
    ],
)
def test_wrong_options_are_named(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong()


@ALL
def test_wrong_shapes_are_named(name: str) -> None:
    loss, targets = PIXEL_LOSSES[name], torch.zeros(2, 4, 4, dtype=torch.long)
    with pytest.raises(ShapeError, match=r"got \(2, 3, 4, 5\) and \(2, 4, 4\)"):
        loss(torch.zeros(2, 3, 4, 5), targets)
    with pytest.raises(ShapeError, match="at least two classes"):
        loss(torch.zeros(2, 1, 4, 4), targets)
    with pytest.raises(ShapeError, match="at least two classes"):
        loss(torch.zeros(4), targets)
    with pytest.raises(ShapeError, match=r"whole numbers; got torch\.float32"):
        loss(torch.zeros(2, 3, 4, 4), targets.float())


def test_one_weight_for_each_class_and_no_stretching() -> None:
    for loss in (cross_entropy, focal_loss):
        with pytest.raises(ShapeError, match=r"each of the 4 classes; got shape \(3,\)"):
            loss(*case(), class_weights=torch.ones(3))
    with pytest.raises(ShapeError, match=r"got \(3, 1\) and \(3,\)"):
        huber_loss(torch.zeros(3, 1), torch.zeros(3))
