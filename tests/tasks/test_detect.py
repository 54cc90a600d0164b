"""The task detect: its loss and running figures, the threshold, the scores, answers in pixels of the image."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ConfigError, DataError, ShapeError
from convlens.nn import detection_loss as module
from convlens.nn.detection_loss import detection_loss
from convlens.tasks.detect import MOST, Detect, Detection, FoundObject
from convlens.tasks.task import Frame, Seen

NAMES = ("cat", "dog")
LEARNED = {
    "box_counts": [5, 1],
    "box_images": 4,
    "mean_count": 1.5,
    "centre_box": {"label": 0, "width_px": 16.0, "height_px": 8.0},
    "overlap": 0.5,
}
SEEN = Seen(np.zeros((2, 32, 32, 1), np.uint8), np.arange(2))


def task(**card: Any) -> Detect:
    return Detect(NAMES, json.loads(json.dumps({"data": LEARNED, **card})))


def prediction(box: tuple[float, ...], label: int, sure: float = 9.0) -> list[float]:
    middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 8.0]
    return [*box, *middle, sure, *(9.0 if label == k else -9.0 for k in range(2))]


def kept(*rows: tuple[float, ...]) -> np.ndarray:
    """Rows x1, y1, x2, y2, score, class as `keep` gives them."""
    found = np.zeros((MOST, 6), np.float32)
    found[:, 5] = -1
    found[: len(rows)] = np.reshape(rows, (-1, 6))
    return found


OUTPUTS = torch.tensor(
    [[prediction((0, 0, 8, 8), 0), prediction((8, 8, 24, 24), 1)], [prediction((4, 4, 9, 9), 0)] * 2]
)
TARGETS = torch.tensor([[[0.0, 0, 0, 8, 8], [1, 8, 8, 24, 24]], [[0, 4, 4, 9, 9], [-1, 0, 0, 0, 0]]])


# learning -------------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_the_network_library() -> None:
    assert task().loss(OUTPUTS, TARGETS).item() == detection_loss(OUTPUTS, TARGETS)["total"].item()


def test_in_training_the_meter_takes_the_loss_that_was_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    one, calls = task(), []
    monkeypatch.setattr(module, "assign", lambda *a, real=module.assign, **k: calls.append(1) or real(*a, **k))
    outputs, meter = OUTPUTS.clone().requires_grad_(), one.meter()
    loss = one.loss(outputs, TARGETS)
    meter.update(outputs, TARGETS)
    assert len(calls) == 1
    assert meter.compute() == {"loss": pytest.approx(loss.item())}
    meter.update(outputs.detach() + 1.0, TARGETS)  # other outputs have another loss
    assert len(calls) == 2
    assert meter.compute()["loss"] != pytest.approx(loss.item())


def test_on_validation_the_meter_tells_the_precision_too() -> None:
    meter = task().meter()
    for row in range(2):
        meter.update(OUTPUTS[row : row + 1], TARGETS[row : row + 1])
    assert meter.compute()["map50"] == 1.0
    swapped = task().meter()
    swapped.update(OUTPUTS.flip(0), TARGETS)
    assert swapped.compute()["map50"] == 0.0
    nothing = task().meter()
    nothing.update(OUTPUTS, torch.full_like(TARGETS, -1.0))
    assert "map50" not in nothing.compute()


def test_the_meter_survives_a_checkpoint() -> None:
    whole, first, second = task().meter(), task().meter(), task().meter()
    outputs = OUTPUTS.clone().requires_grad_()
    for row in range(2):
        whole.update(outputs[row : row + 1], TARGETS[row : row + 1])
    first.update(outputs[:1], TARGETS[:1])
    second.restore(json.loads(json.dumps(first.state())))
    second.update(outputs[1:], TARGETS[1:])
    assert second.compute() == whole.compute()


@pytest.mark.parametrize("shape", [(1, 2), (1, 5, 9), (1, 5, 11), (2, 5, 10), ()])
def test_the_shape_of_the_outputs_is_checked(shape: tuple[int, ...]) -> None:
    task().require((1, 7, 10), (1, 3, 32, 32))
    with pytest.raises(ShapeError, match=r"must give \(1, A, 10\).*cat, dog.*Choose yolo"):
        task().require(shape, (1, 3, 32, 32))


# what is kept and shown -----------------------------------------------------------------------------------------------


def test_one_detection_of_each_object_is_kept() -> None:
    twice = torch.tensor([[prediction((0, 0, 8, 8), 0), prediction((0, 0, 8, 7), 0, 2.0), prediction((0, 0, 8, 8), 1)]])
    rows = task().keep(twice)[0]
    assert rows.shape == (MOST, 6)
    assert rows[:3, 5].tolist() == [0, 1, -1]
    loose = task()
    loose.card["data"]["overlap"] = 0.9
    assert loose.keep(twice)[0][:4, 5].tolist() == [0, 1, 0, -1]


def test_the_threshold_is_the_one_of_the_best_f1() -> None:
    settled = task()
    outputs = np.stack(
        [kept((0, 0, 8, 8, 0.9, 0), (8, 8, 24, 24, 0.5, 1)), kept((4, 4, 9, 9, 0.4, 0), (0, 0, 4, 4, 0.2, 0))]
    )
    assert settled.threshold == 0.3
    settled.settle(outputs, TARGETS.numpy(), SEEN, promise=None, level=0.95)
    assert json.loads(json.dumps(settled.card))["score_threshold"]["f1"] == 1.0
    assert settled.threshold == pytest.approx(0.3, abs=1e-6)
    settled.settle(outputs[:1], TARGETS.numpy()[:1], SEEN, promise=None, level=0.95)
    assert settled.threshold == pytest.approx(0.5)
    with pytest.raises(DataError, match="needs validation images with true boxes"):
        settled.settle(outputs, -np.ones((2, 1, 5)), SEEN, promise=None, level=0.95)
    with pytest.raises(ConfigError, match=r"evaluate\.abstain"):
        settled.settle(outputs, TARGETS.numpy(), SEEN, promise=0.9, level=0.95)


def test_the_report_counts_right_boxes_and_stands_beside_the_centre_box() -> None:
    outputs = np.stack([kept((0, 0, 8, 8, 0.9, 0), (8, 8, 24, 24, 0.8, 1)), kept((20, 20, 29, 29, 0.7, 0))])
    targets = np.array([[[0, 0, 0, 8, 8], [1, 8, 8, 24, 24]], [[0, 8, 12, 24, 20], [-1, 0, 0, 0, 0]]], np.float32)
    report = task().report(outputs, targets, SEEN)
    assert report["precision"]["value"] == report["recall"]["value"] == pytest.approx(2 / 3)
    assert [row["support"] for row in report["per_class"]] == [2, 1]
    assert report["baseline"]["map50"]["value"] > 0  # the third box is the centre box
    assert report["counts"]["baseline"]["mean"] == 1.5
    assert report["stored_px"] == [32, 32]
    assert {row["kind"]: row["count"] for row in report["errors"]["detections"]}["right"] == 2
    assert {row["kind"]: row["count"] for row in report["errors"]["truths"]}["missed"] == 1
    json.dumps(report, allow_nan=False)
    head = task().headline(report, "auto")
    assert (head["name"], head["value"]) == ("map50", report["map50"])
    assert head["against"]["value"] == report["baseline"]["map50"]
    with pytest.raises(ConfigError, match=r"evaluate\.headline=accuracy"):
        task().headline(report, "accuracy")


def test_without_training_boxes_there_is_no_baseline() -> None:
    bare = Detect(NAMES)
    report = bare.report(np.stack([kept(), kept()]), TARGETS.numpy(), SEEN)
    assert report["baseline"] is None
    assert bare.headline(report, "auto")["against"] is None


def test_boxes_that_do_not_count_are_neither_found_nor_missed() -> None:
    targets = np.array([[[-2, 0, 0, 8, 8], [0, 16, 16, 24, 24]]], np.float32)  # a difficult cat
    outputs = kept((0, 0, 8, 8, 0.9, 0), (16, 16, 24, 24, 0.8, 0))[None]
    report = task().report(outputs, targets, SEEN)
    assert report["precision"]["value"] == report["recall"]["value"] == 1.0
    assert (report["boxes"], report["ignored_boxes"]) == (1, 1)


def test_detections_are_cut_off_at_the_stored_image() -> None:
    outputs, targets = kept((-20, 0, 8, 8, 0.9, 0))[None], np.array([[[0, 0, 0, 8, 8]]], np.float32)
    assert task().report(outputs, targets, SEEN)["map50"]["value"] == 1.0


def test_answers_are_in_pixels_of_the_image_and_from_the_threshold_on() -> None:
    preprocess = Preprocess(ImagePolicy(channels=1), (32, 32), (32, 32), "pad", (0.5,), (0.5,))
    frames = [Frame((64, 128), preprocess), Frame((32, 32), preprocess)]  # the first lies in rows 8 to 24, four times
    outputs = np.stack([kept((8, 10, 16, 30, 0.9, 1), (0, 0, 32, 8, 0.8, 0), (8, 10, 9, 12, 0.1, 0)), kept()])
    answers = task().answers(["a", "b"], outputs, Seen(SEEN.images, SEEN.samples, frames), 3)
    assert answers == [
        Detection("a", (FoundObject("dog", pytest.approx(0.9), 32.0, 8.0, 64.0, 64.0),), (64, 128)),  # type: ignore[arg-type]
        Detection("b", (), (32, 32)),
    ]
    assert task().unreadable("c", "broken") == Detection("c", error="broken")
