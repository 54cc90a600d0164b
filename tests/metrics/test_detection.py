"""Detection scores: hand-worked boxes, equality with pycocotools, properties, thresholds, baselines and intervals."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.average_precision import difference_interval, draw_weights, share_interval
from convlens.metrics.centre_box import CentreBox, centre_box
from convlens.metrics.detection import ScoreThreshold, choose_threshold, detection_report
from convlens.metrics.detection_tally import DetectionTally
from convlens.metrics.interval import wilson
from convlens.metrics.jackknife import SHARE, jackknife_interval
from convlens.metrics.matching import AREAS_PX, IOU_THRESHOLDS, LEFT_OUT, RIGHT, WRONG, box_iou
from intervals import scores_of

Image = dict[str, np.ndarray]
Rows = Sequence[Sequence[float]]
NONE = np.zeros((0, 4))


def image(truths: Rows, found: Rows, ignore: list[int] | None = None, crowd: list[int] | None = None) -> Image:
    """Rows of truths are class, x1, y1, x2, y2; those of found are likewise, and the score."""
    true, boxes = np.array(truths, dtype=float).reshape(-1, 5), np.array(found, dtype=float).reshape(-1, 6)
    made = {"truth_boxes": true[:, 1:], "truth_classes": true[:, 0].astype(int)}
    made |= {"boxes": boxes[:, 1:5], "classes": boxes[:, 0].astype(int), "scores": boxes[:, 5]}
    marks = {"ignore": ignore or [], "crowd": crowd or []}
    return made | {name: np.isin(np.arange(len(true)), rows) for name, rows in marks.items()}


def tally_of(images: list[Image], k: int, **options: Any) -> DetectionTally:
    tally = DetectionTally(k, **options)
    for one in images:
        tally.add(**one)
    return tally


def random_images(seed: int, n: int, k: int, *, ties: bool = False, marked: bool = True) -> list[Image]:
    """Whole-pixel boxes of every size; detections are moved true boxes, some of another class, and inventions."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(n):
        m, wild = int(generator.integers(0, 6)), int(generator.integers(0, 4))
        corner, side = generator.integers(0, 120, (m + wild, 2)), 2 ** generator.uniform(2.5, 7.5, (m + wild, 1))
        side = (side * generator.uniform(0.7, 1.3, (m + wild, 2))).astype(int) + 1
        boxes = np.hstack([corner, corner + side]).astype(float)
        classes = generator.integers(0, max(1, k - 1), m + wild)  # the last class is never true
        copies = generator.integers(0, 3, m + wild) if m + wild else np.zeros(0, dtype=int)
        copies[m:] = 1
        shift = generator.integers(-4, 5, (copies.sum(), 4)) * generator.integers(0, 4, (copies.sum(), 1))
        found = np.repeat(boxes, copies, axis=0) + shift
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        called = np.repeat(classes, copies)
        called = np.where(generator.random(len(called)) < 0.2, generator.integers(0, k, len(called)), called)
        scores = generator.random(len(found))
        images.append(
            {
                "truth_boxes": boxes[:m],
                "truth_classes": classes[:m],
                "boxes": found,
                "classes": called,
                "scores": scores.round(1) if ties else scores,
                "ignore": marked & (generator.random(m) < 0.15),
                "crowd": marked & (generator.random(m) < 0.15),
            }
        )
    return images


def values_of(report: Any) -> list[float | None]:
    return [score["value"] for score in scores_of(report)]


def plain(tally: DetectionTally) -> tuple[np.ndarray, np.ndarray]:
    precision, recall = tally.precisions(np.ones((tally.n, 1)))
    return precision[..., 0], recall[..., 0]


def test_overlap_of_boxes_and_crowds() -> None:
    boxes = np.array([[0, 0, 4, 4], [2, 2, 2, 2]])
    others = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 8, 8], [9, 9, 9, 9], [2, 2, 2, 2]])
    assert box_iou(boxes, others).tolist() == [[1, 8 / 24, 16 / 64, 0, 0], [0, 0, 0, 0, 0]]
    assert box_iou(boxes, others, np.array([False, True, True, True, False]))[0].tolist() == [1, 0.5, 1, 0, 0]


def test_the_hand_worked_average_precision() -> None:
    # By falling score: right, wrong, right, and one of three objects is never found.
    first = image([[0, 0, 0, 40, 40], [0, 100, 0, 140, 40]], [[0, 0, 0, 40, 40, 0.9], [0, 60, 60, 99, 99, 0.8]])
    second = image([[0, 0, 0, 40, 40]], [[0, 0, 0, 40, 30, 0.7]])  # IoU 0.75
    precision, recall = plain(tally_of([first, second], 1))
    low, high = (34 * 1.0 + 33 * 2 / 3) / 101, 34 / 101  # recall levels 0..0.33 and 0.34..0.66
    assert precision[0, 0] == pytest.approx([low] * 6 + [high] * 4)
    assert recall[0, 0] == pytest.approx([2 / 3] * 6 + [1 / 3] * 4)


def test_the_most_certain_chooses_first_and_the_nearest() -> None:
    truths: Rows = [[0, 0, 0, 10, 10], [0, 4, 0, 14, 10]]
    found: Rows = [[0, 1, 0, 11, 10, 0.5], [0, 0, 0, 10, 10, 0.9], [0, 1, 0, 11, 10, 0.4]]
    status = tally_of([image(truths, found)], 1).images[0]
    assert status.taken.tolist() == [1, 0, -1]  # the first box is nearer, but taken
    assert status.status[:, 0, 0].tolist() == [RIGHT, RIGHT, WRONG]
    assert status.status[:, 0, 1].tolist() == [WRONG, RIGHT, WRONG]  # 7 of 13 is not enough at IoU 0.55
    other = tally_of([image([[1, 0, 0, 10, 10]], [[0, 0, 0, 10, 10, 0.9]])], 2)
    assert other.images[0].status[0, 0, 0] == WRONG


def test_equal_overlaps_take_the_last_and_what_counts_goes_first() -> None:
    twice: Rows = [[0, 0, 0, 10, 10], [0, 0, 0, 10, 10]]
    one: Rows = [[0, 0, 0, 10, 10, 0.9]]
    assert tally_of([image(twice, one)], 1).images[0].taken.tolist() == [1]
    assert tally_of([image(twice, one, ignore=[1])], 1).images[0].taken.tolist() == [0]
    near: Rows = [[0, 0, 0, 10, 10], [0, 0, 0, 10, 7]]
    kept = tally_of([image(near, one, ignore=[0])], 1).images[0]  # IoU 0.7 that counts before 1.0 that does not
    assert kept.status[0, 0].tolist() == [RIGHT] * 5 + [LEFT_OUT] * 5


def test_difficult_boxes_excuse_once_and_crowds_always() -> None:
    found: Rows = [[0, 0, 0, 10, 10, 0.9], [0, 0, 0, 10, 10, 0.8]]
    difficult = tally_of([image([[0, 0, 0, 10, 10]], found, ignore=[0])], 1)
    assert difficult.images[0].status[:, 0, 0].tolist() == [LEFT_OUT, WRONG]
    crowd = tally_of([image([[0, 0, 0, 90, 90]], found, crowd=[0])], 1)
    assert crowd.images[0].status[:, 0, 0].tolist() == [LEFT_OUT, LEFT_OUT]
    assert difficult.truths.sum() == crowd.truths.sum() == 0


def test_sizes_and_their_borders() -> None:
    truths: Rows = [[0, 0, 0, 32, 32], [0, 100, 0, 131, 32], [0, 0, 200, 97, 297]]
    tally = tally_of([image(truths, [[0, 400, 400, 410, 410, 0.9], [0, 0, 0, 32, 40, 0.8]])], 1)
    assert tally.truths[0, 0].tolist() == [3, 2, 1, 1]  # 32 x 32 is small and medium
    assert tally.images[0].status[:, :, 0].tolist() == [
        [WRONG, WRONG, LEFT_OUT, LEFT_OUT],
        [RIGHT, RIGHT, RIGHT, LEFT_OUT],  # by its true box, not by its own size
    ]


def test_the_least_certain_beyond_the_limit_are_dropped() -> None:
    found: Rows = [[0, 0, 0, 10, 10, 0.1], [0, 50, 0, 60, 10, 0.9], [1, 0, 0, 10, 10, 0.05]]
    tally = tally_of([image([[0, 0, 0, 10, 10]], found)], 2, max_detections=1)
    assert tally.dropped == 1
    assert tally.images[0].status[:, 0, 0].tolist() == [LEFT_OUT, WRONG, WRONG]
    report = detection_report(tally, "ab", threshold=0.0)
    assert (report["dropped_detections"], report["detections"], report["precision"]["value"]) == (1, 3, 0.0)


def coco_scores(images: list[Image], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and recall (K, R, T) by pycocotools, -1 where undefined."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for i, one in enumerate(images):
        for kind, kept in (("truth_", truths), ("", found)):
            for j, (x1, y1, x2, y2) in enumerate(one[f"{kind}boxes"].tolist()):
                row = {"id": len(kept) + 1, "image_id": i + 1, "category_id": int(one[f"{kind}classes"][j]) + 1}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                if kind:
                    row["iscrowd"] = int(one["crowd"][j])
                    row["area"] = 1e11 if one["ignore"][j] else row["area"]  # of no size: ignored at every size
                else:
                    row["score"] = float(one["scores"][j])
                kept.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        sides: list[Any] = []
        for rows in (truths, found):
            side: Any = COCO()
            side.dataset = {
                "images": [{"id": i + 1} for i in range(len(images))],
                "categories": [{"id": i + 1} for i in range(k)],
                "annotations": rows,
            }
            side.createIndex()
            sides.append(side)
        judge = COCOeval(sides[0], sides[1], "bbox")
        judge.params.maxDets = [100]
        judge.evaluate()
        judge.accumulate()
    precision, recall = judge.eval["precision"].mean(axis=1), judge.eval["recall"]  # (T, K, R, 1) each
    return precision[..., 0].transpose(1, 2, 0), recall[..., 0].transpose(1, 2, 0)


@pytest.mark.parametrize("part", range(10))
def test_equality_with_pycocotools(part: int) -> None:
    pytest.importorskip("pycocotools")
    for seed in range(20 * part, 20 * part + 20):
        images = random_images(seed, 1 + seed % 4, 3, ties=seed % 2 == 0)
        tally = tally_of(images, 3)
        ours, theirs = plain(tally), coco_scores(images, 3)
        for mine, its in zip(ours, theirs, strict=True):
            assert np.nan_to_num(mine, nan=-1) == pytest.approx(its, abs=1e-6), seed
        scores, known = tally.scores(), theirs[0][:, 0][theirs[0][:, 0] > -1]
        at_half = theirs[0][:, 0, 0][theirs[0][:, 0, 0] > -1]
        assert np.isnan(scores["map"]) if len(known) == 0 else scores["map"] == pytest.approx(known.mean(), abs=1e-6)
        assert len(known) == 0 or scores["map50"] == pytest.approx(at_half.mean(), abs=1e-6)
    assert AREAS_PX[1:3].tolist() == [[0, 32**2], [32**2, 96**2]]


def test_the_report_holds_the_means_of_pycocotools() -> None:
    pytest.importorskip("pycocotools")
    images = random_images(1, 40, 4)
    report, (precision, recall) = detection_report(tally_of(images, 4), "abcd", threshold=0.5), coco_scores(images, 4)
    rows = [report, *report["by_size"]]
    for r, row in enumerate(rows):
        for key, scores in (("map50", precision[:, r, 0]), ("map", precision[:, r]), ("ar", recall[:, r])):
            assert row[key]["value"] == pytest.approx(scores[scores > -1].mean(), abs=1e-6), (r, key)
            assert row[key]["note"].startswith("mean over 3 of 4 classes; the others have no true box"), (r, key)
    for i, row in enumerate(report["per_class"][:3]):
        assert row["ap50"]["value"] == pytest.approx(precision[i, 0, 0], abs=1e-6)
        assert row["ap"]["value"] == pytest.approx(precision[i, 0].mean(), abs=1e-6)
    assert report["per_class"][3]["ap"]["value"] is None
    assert (report["per_class"][3]["support"], report["per_class"][3]["curve"]) == (0, None)


def test_the_order_of_the_images_changes_nothing() -> None:
    images = random_images(3, 10, 3)
    turned = [images[i] for i in np.random.default_rng(0).permutation(10)]
    one, two = (detection_report(tally_of(each, 3), "abc", threshold=0.4, mean_count=2.0) for each in (images, turned))
    assert values_of(one) == pytest.approx(values_of(two))
    assert choose_threshold(tally_of(images, 3)) == choose_threshold(tally_of(turned, 3))
    assert [row["curve"] for row in one["per_class"]] == [row["curve"] for row in two["per_class"]]


@pytest.mark.parametrize("rise", [lambda s: s**3, lambda s: 5 * s - 9, np.exp], ids=["cube", "line", "exp"])
def test_a_rising_function_of_the_scores_changes_nothing(rise: Callable[[np.ndarray], np.ndarray]) -> None:
    images = random_images(4, 10, 3)
    moved = [{**one, "scores": rise(one["scores"])} for one in images]
    tallies = tally_of(images, 3), tally_of(moved, 3)
    chosen = [choose_threshold(tally) for tally in tallies]
    assert chosen[0].f1 == chosen[1].f1
    reports = [detection_report(tally, "abc", threshold=one.value) for tally, one in zip(tallies, chosen, strict=True)]
    assert scores_of(reports[0]) == scores_of(reports[1])  # the intervals too


def test_a_least_certain_wrong_detection_never_raises_a_score() -> None:
    for seed in range(20):
        images = random_images(seed, 4, 2)
        before, _ = plain(tally_of(images, 2))
        one = images[seed % 4]
        extra = {"boxes": np.vstack([one["boxes"], [[900, 900, 940, 950]]]), "scores": np.append(one["scores"], -1.0)}
        images[seed % 4] = one | extra | {"classes": np.append(one["classes"], 0)}
        after, _ = plain(tally_of(images, 2))
        assert np.array_equal(before, after, equal_nan=True)
        extra["scores"][-1] = 2.0  # and the most certain one lowers it wherever anything was found
        images[seed % 4] |= extra
        worst, _ = plain(tally_of(images, 2))
        assert (worst[0, 0] < before[0, 0])[before[0, 0] > 0].all()


def test_a_weighted_draw_is_the_images_repeated() -> None:
    images = random_images(8, 6, 3)
    weights = np.random.default_rng(0).integers(0, 4, (6, 5)).astype(float)
    drawn = tally_of(images, 3).precisions(weights)
    for b in range(5):
        repeated = [one for one, times in zip(images, weights[:, b], strict=True) for _ in range(int(times))]
        for many, alone in zip(drawn, plain(tally_of(repeated, 3)), strict=True):
            assert np.nan_to_num(many[..., b], nan=-1) == pytest.approx(np.nan_to_num(alone, nan=-1))


def test_draws_hold_as_many_images_as_there_are() -> None:
    weights = draw_weights(30, 1)
    assert weights.shape == (30, 500)
    assert (weights.sum(axis=0) == 30).all()
    assert weights.mean() == 1.0
    assert 0.8 < weights.var() < 1.1  # binomial(30, 1/30)
    assert draw_weights(30, 10**12).shape == (30, 200)
    assert draw_weights(0, 1).shape == (0, 500)


def test_merged_tallies_are_one() -> None:
    images = random_images(5, 6, 3)
    halves = tally_of(images[:2], 3), tally_of(images[2:], 3)
    halves[0].merge(halves[1])
    one, two = (detection_report(each, "abc", threshold=0.3) for each in (halves[0], tally_of(images, 3)))
    assert one == two
    with pytest.raises(ShapeError, match=r"got \(3, 100\) and \(3, 50\)"):
        halves[0].merge(DetectionTally(3, max_detections=50))


@pytest.fixture(scope="module")
def hand_worked() -> dict[str, Any]:
    """Two cats and a dog: one cat found, the dog called a cat, one box of nothing, one hidden by the threshold."""
    first = image(
        [[0, 0, 0, 20, 20], [1, 50, 50, 90, 90]],
        [[0, 0, 0, 20, 19, 0.9], [0, 50, 50, 90, 90, 0.6], [1, 50, 50, 90, 90, 0.2]],
    )
    second = image([[0, 0, 0, 20, 20]], [[1, 40, 0, 60, 20, 0.5]])
    third = image([], [])
    return detection_report(tally_of([first, second, third], 3), ["cat", "dog", "owl"], threshold=0.5, mean_count=0.5)


def test_the_hand_worked_report(hand_worked: dict[str, Any]) -> None:
    cat, dog, owl = hand_worked["per_class"]
    keys = ("n", "images_with_objects", "boxes", "detections", "ignored_boxes", "dropped_detections")
    assert [hand_worked[key] for key in keys] == [3, 2, 3, 4, 0, 0]
    assert [hand_worked[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert [cat[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx([1 / 2, 1 / 2, 1 / 2])
    assert [dog[key]["value"] for key in ("precision", "recall", "f1")] == [0, 0, 0]
    assert [cat[key] for key in ("support", "images", "shown")] == [2, 2, 2]
    assert [dog[key] for key in ("support", "images", "shown")] == [1, 1, 1]
    assert cat["ap50"]["value"] == pytest.approx(51 / 101)
    assert dog["ap50"]["value"] == pytest.approx(1 / 2)  # the hidden detection counts here, behind a wrong one
    assert hand_worked["map50"]["value"] == pytest.approx((51 / 101 + 1 / 2) / 2)
    assert owl["f1"] == {"value": None, "low": None, "high": None, "n": 0, "note": "no true box and no detection"}
    assert owl["ap"]["note"] == owl["recall"]["note"] == "no true box"
    assert cat["curve"] == {"score": [0.9, 0.6], "precision": [1.0, 0.5], "recall": [0.5, 0.5]}
    assert [row["boxes"] for row in hand_worked["by_size"]] == [2, 1, 0]


def test_the_number_of_objects_is_judged_beside_the_mean(hand_worked: dict[str, Any]) -> None:
    counts = hand_worked["counts"]  # shown 2, 1, 0 and true 2, 1, 0
    assert (counts["mae"]["value"], counts["bias"]["value"]) == (0, 0)
    assert counts["baseline"]["mean"] == 0.5
    assert counts["baseline"]["mae"]["value"] == pytest.approx((1.5 + 0.5 + 0.5) / 3)
    assert counts["baseline"]["mae_gain"]["value"] == pytest.approx(2.5 / 3)
    tally = tally_of([image([], [[0, 0, 0, 9, 9, 0.9]]), image([[0, 0, 0, 9, 9]], [])], 1)
    counts = detection_report(tally, "a", threshold=0.5)["counts"]
    assert (counts["mae"]["value"], counts["bias"]["value"]) == (1, 0)
    assert counts["baseline"] == {"mean": None, "note": "the mean number in training images was not given"}


def test_shares_have_jackknife_intervals_over_images() -> None:
    images = random_images(11, 9, 2, marked=False)
    tally = tally_of(images, 2)
    recall = detection_report(tally, "ab", threshold=0.4)["recall"]
    shown = [(one.status[:, 0, 0] == RIGHT) & (one.scores >= 0.4) for one in tally.images]
    found, true = np.array([one.sum() for one in shown]), np.array([len(one["truth_boxes"]) for one in images])
    found, true = found[true > 0], true[true > 0]
    left_out = (found.sum() - found) / (true.sum() - true)
    assert recall == jackknife_interval(found.sum() / true.sum(), left_out, scale=SHARE).to_json()


def test_curves_are_short_and_agree_with_the_threshold() -> None:
    report = detection_report(tally_of(random_images(6, 250, 2), 2), "ab", threshold=0.5)
    row = report["per_class"][0]
    curve = row["curve"]
    assert 100 < len(curve["score"]) <= 200
    assert len(curve["score"]) == len(curve["precision"]) == len(curve["recall"])
    assert (np.diff(curve["score"]) < 0).all()
    assert (np.diff(curve["recall"]) >= 0).all()
    at = np.searchsorted(-np.array(curve["score"]), -0.5, side="right") - 1
    again = detection_report(tally_of(random_images(6, 250, 2), 2), "ab", threshold=curve["score"][at])
    found = again["per_class"][0]
    assert found["precision"]["value"] == pytest.approx(curve["precision"][at])
    assert found["recall"]["value"] == pytest.approx(curve["recall"][at])


def test_equal_scores_are_one_point_of_a_curve() -> None:
    found: Rows = [[0, 0, 0, 10, 10, 0.5], [0, 50, 0, 60, 10, 0.5], [0, 70, 0, 80, 10, 0.5]]
    tally = tally_of([image([[0, 0, 0, 10, 10]], found)], 1)
    curve = detection_report(tally, "a", threshold=0.5)["per_class"][0]["curve"]
    assert curve == {"score": [0.5], "precision": [pytest.approx(1 / 3)], "recall": [1.0]}


def test_the_threshold_is_the_best_of_all() -> None:
    for seed in range(10):
        tally = tally_of(random_images(seed, 8, 3, ties=seed % 2 == 0), 3)
        chosen = choose_threshold(tally)
        candidates = [chosen.value, *np.linspace(-0.005, 1.0, 202)]
        f1 = [detection_f1(tally, one) for one in candidates]
        assert chosen.f1 == pytest.approx(f1[0])
        assert chosen.f1 >= max(f1) - 1e-12
        assert chosen.n == 8


def detection_f1(tally: DetectionTally, threshold: float) -> float:
    right = called = true = 0
    for one in tally.images:
        shown = (one.scores >= threshold) & (one.status[:, 0, 0] != LEFT_OUT)
        right += int((one.status[shown, 0, 0] == RIGHT).sum())
        called, true = called + int(shown.sum()), true + int((~one.ignore).sum())
    return 2 * right / (called + true)


def test_the_threshold_lies_half_way_and_of_equals_highest() -> None:
    box = [0, 0, 0, 10, 10]
    away = [0, 50, 50, 60, 60]
    # F1 is 2/3 with one right of one shown, and again with two right of four shown
    found = [[*box, 0.9], [*away, 0.6], [*away, 0.5], [0, 20, 20, 30, 30, 0.4]]
    tally = tally_of([image([box, [0, 20, 20, 30, 30]], found)], 1)
    chosen = choose_threshold(tally)
    assert chosen.value == pytest.approx(0.75)
    assert chosen.f1 == pytest.approx(2 / 3)
    assert ScoreThreshold.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen
    lowest = choose_threshold(tally_of([image([box], [[*box, 0.3]])], 1))
    assert lowest == ScoreThreshold(0.3, 1.0, 1)
    above = float(np.nextafter(0.3, 1))
    between = choose_threshold(tally_of([image([box], [[*box, above], [*away, 0.3]])], 1))
    assert 0.3 < between.value <= above  # no number lies between neighbours


def test_no_threshold_can_be_chosen_without_objects() -> None:
    with pytest.raises(DataError, match="got 1 images without one"):
        choose_threshold(tally_of([image([[0, 0, 0, 9, 9]], [[0, 0, 0, 9, 9, 0.5]], ignore=[0])], 1))
    for found in ([], [[0, 50, 50, 60, 60, 0.9]]):
        assert choose_threshold(tally_of([image([[0, 0, 0, 9, 9]], found)], 1)) == ScoreThreshold(0.5, 0.0, 1)


def test_perfect_images_do_not_make_a_perfect_network() -> None:
    perfect = tally_of([image([[0, 0, 0, 10, 10]], [[0, 0, 0, 10, 10, 0.9]]) for _ in range(8)], 1)
    report = detection_report(perfect, "a", threshold=0.5)
    expected = wilson(8, 8).to_json()
    assert report["map50"] == report["map"] == report["per_class"][0]["ap"] == pytest.approx(expected)
    nothing = tally_of([image([[0, 0, 0, 10, 10]], []) for _ in range(8)], 1)
    assert detection_report(nothing, "a", threshold=0.5)["map50"] == wilson(0, 8).to_json()


def test_intervals_of_draws() -> None:
    drawn = np.random.default_rng(0).normal(0.6, 0.05, 4000)
    interval = share_interval(0.6, drawn, 400)
    assert (interval.low, interval.high) == pytest.approx((0.6 - 1.97 * 0.05, 0.6 + 1.97 * 0.05), abs=0.005)
    few = share_interval(0.6, drawn, 4)
    assert few.high - few.low > 1.7 * (interval.high - interval.low)  # Student's t with 3 degrees of freedom
    assert share_interval(0.99, drawn + 0.39, 400).high <= 1.0
    holes = np.where(np.arange(4000) < 40, np.nan, drawn)
    assert share_interval(0.6, holes, 400).note == "40 of 4000 bootstrap draws were undefined and left out"
    assert "one image shows no spread" in share_interval(0.6, drawn, 1).note
    assert share_interval(float("nan"), drawn, 3, missing="no box").note == "no box"
    gain = difference_interval(-0.2, np.random.default_rng(1).normal(-0.2, 0.01, 4000), 400)
    assert (gain.low, gain.high) == pytest.approx((-0.2197, -0.1803), abs=0.002)
    assert "no image differs" in difference_interval(0.0, np.zeros(100), 400).note


def test_the_baseline_is_one_box_at_the_centre() -> None:
    training = [
        (np.array([[0, 0, 10, 20], [0, 0, 30, 20.0]]), np.array([2, 2]), (40, 100)),
        (np.array([[0, 0, 5, 5.0]]), np.array([0]), (50, 50)),
        (NONE, np.zeros(0, dtype=int), (10, 10)),
    ]
    box = centre_box(training)
    assert box == CentreBox(label=2, width=(0.1 + 0.3) / 2, height=0.5, mean_count=1.0, n=3)
    boxes, classes, scores = box.detect(80, 200)
    assert boxes.tolist() == [[80, 20, 120, 60]]
    assert (classes.tolist(), scores.tolist()) == ([2], [1.0])
    with pytest.raises(DataError, match="got 1 images without one"):
        centre_box(training[2:])


def test_the_gain_over_the_baseline_is_judged_on_the_same_images() -> None:
    # Images differ much, the two detectors hardly: the baseline misses one box more in each image.
    ours, theirs = DetectionTally(1), DetectionTally(1)
    for i in range(24):
        boxes = np.array([[40 * j, 0, 40 * j + 20, 20] for j in range(6)], dtype=float)
        for tally, found in ((ours, 1 + i % 5), (theirs, i % 5)):
            tally.add(boxes, np.zeros(6, dtype=int), boxes[:found], np.zeros(found, dtype=int), np.ones(found))
    report = detection_report(ours, "a", threshold=0.5, baseline=theirs)
    row = report["baseline"]
    gain = row["gain"]["map50"]
    assert gain["value"] == pytest.approx(report["map50"]["value"] - row["map50"]["value"])
    assert gain["low"] > 0
    assert row["map50"]["high"] - row["map50"]["low"] > 5 * (gain["high"] - gain["low"])
    assert detection_report(ours, "a", threshold=0.5)["baseline"] is None


def test_a_baseline_of_other_images_is_refused() -> None:
    images = random_images(2, 5, 2, marked=False)
    tally = tally_of(images, 2)
    for others, k in ((images[:4], 2), (images[::-1], 2), (images, 3)):
        with pytest.raises(DataError, match="on the same images in the same order"):
            detection_report(tally, "ab", threshold=0.5, baseline=tally_of(others, k))


def test_nothing_at_all_is_a_report_not_a_crash() -> None:
    empty, truths_only = image([], []), image([[0, 0, 0, 9, 9]], [])
    found_only, ignored = image([], [[1, 0, 0, 9, 9, 0.5]]), image([[0, 0, 0, 9, 9]], [], ignore=[0])
    for images in ([], [empty], [empty] * 3, [truths_only], [found_only], [ignored], [truths_only, found_only]):
        tally = tally_of(images, 2)
        report = detection_report(tally, "ab", threshold=0.5, baseline=tally, mean_count=1.5)
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        assert report["n"] == len(images)
        assert all(one["note"] for one in scores_of(report) if one["value"] is None)
        if report["boxes"] == 0:
            assert report["map"]["value"] is None
            assert np.isnan(tally.scores()["map"])


def test_every_score_has_an_interval_around_it() -> None:
    images = random_images(3, 30, 3)
    other = tally_of([{**one, "boxes": one["boxes"] + 9} for one in images], 3)
    report = detection_report(tally_of(images, 3), "abc", threshold=0.3, baseline=other, mean_count=2.0)
    found = scores_of(report)
    assert len(found) == 3 + 3 + 3 * 5 + 3 * 3 + 4 + 4
    for score in found:
        if score["value"] is None:
            assert score["note"]
            continue
        assert score["low"] <= score["value"] <= score["high"]
        assert score["low"] < score["high"]
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    narrow = detection_report(tally_of(images, 3), "abc", threshold=0.3, level=0.5)["map"]
    assert narrow["high"] - narrow["low"] < 0.5 * (report["map"]["high"] - report["map"]["low"])


def test_errors_name_what_came() -> None:
    tally, it, box = DetectionTally(2), np.array([0]), np.array([[0.0, 0, 9, 9]])
    with pytest.raises(ShapeError, match=r"Expected detections \(N, 4\) .* got \(1, 5\) and \(1,\)"):
        tally.add(box, it, np.zeros((1, 5)), it, np.ones(1))
    with pytest.raises(ShapeError, match=r"Expected scores to be \(1,\), one for each box; got \(2,\)"):
        tally.add(box, it, box, it, np.ones(2))
    with pytest.raises(ShapeError, match=r"Expected crowd to be \(1,\)"):
        tally.add(box, it, box, it, np.ones(1), crowd=np.zeros(3))
    with pytest.raises(DataError, match=r"row 0 of the true boxes is .* Corners, not centre and size"):
        tally.add(box[:, ::-1], it, box, it, np.ones(1))
    with pytest.raises(DataError, match="row 0 of the detections"):
        tally.add(box, it, box * np.nan, it, np.ones(1))
    for label in (-1, 2, 0.5, np.nan):
        with pytest.raises(DataError, match=rf"true boxes must be whole numbers in 0\.\.1; got {label}"):
            tally.add(box, np.array([label]), box, it, np.ones(1))
    with pytest.raises(DataError, match="Scores must be finite; detection 0 is not"):
        tally.add(box, it, box, it, np.array([np.nan]))
    with pytest.raises(ConfigError, match="got 0 classes"):
        DetectionTally(0)
    assert tally.n == 0
    with pytest.raises(ShapeError, match="each of the 2 classes; got 3"):
        detection_report(tally, "abc", threshold=0.5)
    with pytest.raises(ConfigError, match="finite number; got nan"):
        detection_report(tally, "ab", threshold=float("nan"))
    with pytest.raises(ConfigError, match="at least 0; got -1"):
        detection_report(tally, "ab", threshold=0.5, mean_count=-1)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        detection_report(tally, "ab", threshold=0.5, level=95)
    assert len(IOU_THRESHOLDS) == 10
