"""A class for every pixel: losses and figures over the pixels that count, scores, answers at the image's own size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import scenes
from convlens.config import Config, option_names
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ConfigError, ShapeError
from convlens.nn.losses import cross_entropy, dice_loss, focal_loss
from convlens.options import KINDS
from convlens.tasks.catalog import OPTIONS_OF, TASKS, make, require_options
from convlens.tasks.segment import LOSSES, Segment, SegmentMeter, regions
from convlens.tasks.task import Frame, Seen

NAMES = ("ground", "disc", "square")


def task(**changed: Any) -> Segment:
    return Segment(NAMES, {}, **changed)


def batch(n: int = 6, ignored: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    targets = torch.randint(0, 3, (n, 5, 7), dtype=torch.uint8)
    if ignored:
        targets[:, 0] = 255
        targets[2] = 255
    return 2 * torch.randn(n, 3, 5, 7), targets


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_the_sum_of_its_parts(name: str) -> None:
    weights = torch.tensor([0.5, 1.0, 3.0])
    outputs, targets = batch()
    expected = torch.zeros(())
    if "cross_entropy" in name:
        expected = expected + cross_entropy(outputs, targets, class_weights=weights, ignore_index=255)
    if "focal" in name:
        expected = expected + focal_loss(outputs, targets, class_weights=weights, ignore_index=255)
    if "dice" in name:
        expected = expected + dice_loss(outputs, targets, ignore_index=255)
    found = task(loss_name=name, class_weights=weights).loss(outputs, targets)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_pixels_that_do_not_count_pull_nothing(name: str) -> None:
    outputs, targets = batch()
    outputs.requires_grad_(True)
    task(loss_name=name).loss(outputs, targets).backward()
    assert outputs.grad is not None
    assert (outputs.grad.permute(0, 2, 3, 1)[targets == 255] == 0).all()
    assert (outputs.grad.permute(0, 2, 3, 1)[targets != 255] != 0).any()


def test_a_batch_in_which_nothing_counts_has_no_loss() -> None:
    outputs, targets = batch()
    assert task().loss(outputs, torch.full_like(targets, 255)).item() == 0.0
    meter = task().meter()
    meter.update(outputs, torch.full_like(targets, 255))
    assert meter.compute() == {"loss": 0.0, "dice": 0.0}


def meter_of(*parts: tuple[torch.Tensor, torch.Tensor]) -> SegmentMeter:
    meter = task().meter()
    for outputs, targets in parts:
        meter.update(outputs, targets)
    return meter


def test_the_meter_does_not_depend_on_batches() -> None:
    outputs, targets = batch()
    whole = meter_of((outputs, targets)).compute()
    for cuts in ([1, 5], [2, 3, 1], [1] * 6):
        parts = meter_of(*zip(outputs.split(cuts), targets.split(cuts), strict=True))
        assert parts.compute() == pytest.approx(whole, rel=1e-6)
    counts = targets != 255
    flat = outputs.permute(0, 2, 3, 1)[counts]
    assert whole["loss"] == pytest.approx(torch.nn.functional.cross_entropy(flat, targets[counts].long()).item())
    said, true = flat.argmax(1), targets[counts]
    both = ((said == true) & (true > 0)).sum()
    assert whole["dice"] == pytest.approx(float(2 * both / ((said > 0).sum() + (true > 0).sum())))


def test_the_meter_is_restored_exactly() -> None:
    outputs, targets = batch()
    straight, first, second = task().meter(), task().meter(), task().meter()
    for meter in (straight, first):
        meter.update(outputs[:4], targets[:4])
    second.restore(json.loads(json.dumps(first.state())))
    for meter in (straight, second):
        meter.update(outputs[4:], targets[4:])
    assert second.compute() == straight.compute()
    assert second.state() == straight.state()


def test_the_network_must_give_a_logit_for_each_class_at_each_pixel() -> None:
    task().require((1, 3, 8, 8), (1, 1, 8, 8))
    for outputs in ((1, 3), (1, 2, 8, 8), (1, 3, 4, 4), ()):
        with pytest.raises(
            ShapeError, match=r"\(1, 3, 8, 8\) .* logit for each class \(ground, disc, square\) at each pixel"
        ):
            task().require(outputs, (1, 1, 8, 8))


def test_the_most_probable_class_is_kept() -> None:
    outputs, _ = batch()
    kept = task().keep(outputs)
    assert kept.dtype == torch.uint8
    assert torch.equal(kept, outputs.softmax(1).argmax(1).to(torch.uint8))


def seen(n: int = 8, kinds: int = 2) -> tuple[Seen, np.ndarray]:
    images, masks = scenes.scenes(n, kinds=kinds)
    return Seen(images, np.arange(n)), masks


def test_scores_stand_beside_background_and_a_threshold() -> None:
    asks, (shown, masks) = task(), seen()
    asks.settle(masks, masks, shown, promise=None, level=0.95)
    assert asks.card["otsu_bright"] is True
    dark = Seen(255 - shown.images, shown.samples)
    other = task()
    other.settle(masks, masks, dark, promise=None, level=0.95)
    assert other.card["otsu_bright"] is False, "objects are darker than their ground"
    report = asks.report(np.roll(masks, 1, 2), masks, shown)
    assert [row["name"] for row in report["baselines"]] == ["all background", "Otsu threshold"]
    assert report["baselines"][1]["foreground_dice"]["value"] > 0.9
    json.dumps(report, allow_nan=False)
    headline = asks.headline(report, "auto")
    assert (headline["name"], headline["value"]) == ("mean_dice", report["mean_dice"])
    assert headline["against"]["words"] == "all background", "the threshold does not tell disc from square"
    perfect = asks.report(masks, masks, shown)
    assert perfect["mean_dice"]["value"] == perfect["boundary_f1"]["value"] == 1.0


def test_of_two_classes_the_foreground_is_the_headline() -> None:
    two, (shown, masks) = Segment(NAMES[:2]), seen(kinds=1)
    two.settle(masks, masks, shown, promise=None, level=0.95)
    headline = two.headline(two.report(np.roll(masks, 1, 1), masks, shown), "auto")
    assert headline["name"] == "foreground_dice"
    assert headline["against"]["words"] == "Otsu threshold"
    with pytest.raises(ConfigError, match="segment has the Dice"):
        two.headline(two.report(masks, masks, shown), "accuracy")


def test_a_report_does_not_see_pixels_that_do_not_count() -> None:
    asks, (shown, masks) = task(), seen()
    targets = masks.copy()
    targets[:, :3] = 255
    answered, other = np.roll(masks, 1, 1), np.roll(masks, 1, 1)
    other[:, :2] = 2
    asks.settle(answered, targets, shown, promise=None, level=0.95)
    first, second = (asks.report(one, targets, shown) for one in (answered, other))
    assert first["mean_dice"] == second["mean_dice"]
    assert first["ignored_pixels"] == 8 * 3 * 16


def test_an_answer_has_the_size_of_its_image() -> None:
    preprocess = Preprocess(ImagePolicy(channels=1), (8, 8), (8, 8), "pad", (0.5,), (0.5,))
    classes = np.zeros((1, 8, 8), np.uint8)
    classes[0, 2:6, :4] = 1  # of an image 10 x 20, all of it but the padding: rows 2..5
    classes[0, 0] = 2  # on the padding
    shown = Seen(np.zeros((1, 8, 8, 1), np.uint8), np.arange(1), [Frame((10, 20), preprocess)])
    (answer,) = task().answers(["a.png"], classes, shown, top=3)
    assert answer.name == "a.png"
    expected = np.zeros((10, 20), np.uint8)
    expected[:, :10] = 1
    assert (answer.mask == expected).all()
    assert answer.shares == (("ground", 0.5), ("disc", 0.5), ("square", 0.0))
    assert answer.objects == (("disc", 1), ("square", 0))
    lost = task().unreadable("b.png", "truncated")
    assert (lost.name, lost.mask, lost.error) == ("b.png", None, "truncated")


def test_what_the_network_did_not_see_is_in_no_share() -> None:
    preprocess = Preprocess(ImagePolicy(channels=1), (8, 8), (8, 8), "crop", (0.5,), (0.5,))
    shown = Seen(np.zeros((1, 8, 8, 1), np.uint8), np.arange(1), [Frame((8, 12), preprocess)])
    (answer,) = task().answers(["a.png"], np.ones((1, 8, 8), np.uint8), shown, top=3)
    assert (answer.mask[:, :2] == 255).all()
    assert (answer.mask[:, 2:10] == 1).all()
    assert dict(answer.shares)["disc"] == 1.0


def test_regions_that_touch_at_a_corner_are_one() -> None:
    assert regions(np.eye(4, dtype=bool)) == 1
    assert regions(np.array([[1, 0, 1]], bool)) == 2


# options of a task ------------------------------------------------------------------------------------------------


def test_every_task_has_its_file_and_says_its_losses() -> None:
    assert set(TASKS) == set(KINDS)
    with pytest.raises(ConfigError, match=r"train\.loss=dicey is no loss of the task segment\. Did you mean 'dice'\?$"):
        make("segment", NAMES, {}, loss_name="dicey")
    with pytest.raises(ConfigError, match=r"no loss of the task regress\. Choose from: absolute, huber, squared\.$"):
        make("regress", NAMES, {}, loss_name="zzz")
    with pytest.raises(ConfigError, match=r"no task 'segmnt'\. Did you mean 'segment'"):
        make("segmnt", NAMES, {})


ASKED = {
    "data.label_column": "a",
    "data.bounds": (0.0, 1.0),
    "data.masks": "m",
    "data.mask_values": ["a", "b"],
    "data.corruption": "poisson:30",
    "data.clean": "c",
    "data.normal": "good",
    "data.format": "coco",
    "train.loss": "dice",
    "train.label_smoothing": 0.1,
    "train.class_weights": "balanced",
    "evaluate.headline": "accuracy",
    "evaluate.false_alarms": 0.1,
    "evaluate.abstain": 0.9,
    "evaluate.overlap": 0.4,
}


@pytest.mark.parametrize("option", ASKED)
def test_an_option_without_an_effect_is_refused(option: str) -> None:
    for name in KINDS:
        config = Config.build({"task": name, option: ASKED[option]})
        if name in OPTIONS_OF[option]:
            require_options(config)
        else:
            with pytest.raises(ConfigError, match=f"{option} has no effect on the task {name}; it is for "):
                require_options(config)


def test_options_that_are_refused_exist_and_are_for_some_task() -> None:
    assert set(ASKED) <= set(OPTIONS_OF) <= set(option_names())
    assert all(tasks and set(tasks) < set(KINDS) for tasks in OPTIONS_OF.values())
    for name in KINDS:
        require_options(Config.build({"task": name}))
