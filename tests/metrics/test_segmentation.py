"""The segmentation report: hand-worked maps, equality with scikit-learn, intervals over images, and baselines."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score

from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.boundary import boundary_f1
from convlens.metrics.interval import wilson
from convlens.metrics.jackknife import SHARE, jackknife_interval
from convlens.metrics.otsu import foreground_map, otsu_map
from convlens.metrics.pixel_tally import PixelTally, foreground_dice, ious
from convlens.metrics.segmentation import segmentation_report
from intervals import scores_of
from label_maps import random_pairs, square, tally_of


@pytest.fixture(scope="module")
def hand_worked() -> dict[str, Any]:
    """Two images of three classes, of which the last never occurs; together [[5, 1, 0], [2, 3, 0], [0, 0, 0]]."""
    first = np.array([[0, 0, 1], [0, 1, 1]]), np.array([[0, 1, 1], [0, 1, 0]])
    second = np.array([[0, 0, 0], [1, 1, 255]]), np.array([[0, 0, 0], [1, 0, 2]])
    return segmentation_report(tally_of([first, second], 3, ignore_index=255), ["ground", "cell", "dust"])


def test_the_hand_worked_scores(hand_worked: dict[str, Any]) -> None:
    ground, cell, dust = hand_worked["per_class"]
    assert (hand_worked["n"], hand_worked["pixels"], hand_worked["ignored_pixels"]) == (2, 11, 1)
    assert hand_worked["confusion"] == [[5, 1, 0], [2, 3, 0], [0, 0, 0]]
    assert hand_worked["pixel_accuracy"]["value"] == pytest.approx(8 / 11)
    assert (ground["iou"]["value"], cell["iou"]["value"]) == pytest.approx((5 / 8, 3 / 6))
    assert (ground["dice"]["value"], cell["dice"]["value"]) == pytest.approx((10 / 13, 6 / 9))
    assert [cell[key] for key in ("images", "true_pixels", "predicted_pixels", "right_pixels")] == [2, 5, 4, 3]
    assert hand_worked["mean_iou"]["value"] == pytest.approx((5 / 8 + 3 / 6) / 2)
    assert hand_worked["mean_dice"]["value"] == pytest.approx((10 / 13 + 6 / 9) / 2)
    assert hand_worked["foreground_dice"]["value"] == pytest.approx(6 / 9)
    assert hand_worked["image_dice"]["value"] == pytest.approx((4 / 6 + 2 / 3) / 2)
    reason = "in no true map and never predicted"
    assert dust["iou"] == {"value": None, "low": None, "high": None, "n": 0, "note": reason}
    assert dust["dice"]["note"] == dust["iou"]["note"]


def test_a_class_that_never_occurs_is_left_out_and_said_so(hand_worked: dict[str, Any]) -> None:
    for name in ("mean_iou", "mean_dice"):
        assert hand_worked[name]["note"].startswith("mean over 2 of 3 classes; the others are in no true map")
    assert "note" not in hand_worked["pixel_accuracy"]


def test_the_worst_images_come_first() -> None:
    true = np.array([[0, 1], [0, 1]])
    wrong_once, ignored = np.array([[0, 1], [1, 1]]), np.full((2, 2), 255)
    tally = tally_of([(true, true), (ignored, true), (true, 1 - true), (true, wrong_once)], 2, ignore_index=255)
    report = segmentation_report(tally, ["a", "b"])
    assert [one["position"] for one in report["worst"]] == [2, 3, 0]
    assert report["worst"][0]["mean_iou"] == 0.0
    assert (report["n"], report["ignored_images"], report["ignored_pixels"]) == (3, 1, 4)


def test_all_background_is_the_baseline(hand_worked: dict[str, Any]) -> None:
    baseline = hand_worked["baselines"][0]
    assert baseline["name"] == "all background"
    assert baseline["pixel_accuracy"]["value"] == pytest.approx(6 / 11)
    assert baseline["mean_iou"]["value"] == pytest.approx((6 / 11 + 0) / 2)
    assert (baseline["foreground_dice"]["value"], baseline["foreground_dice"]["high"]) == (0.0, 0.0)
    assert baseline["gain"]["pixel_accuracy"]["value"] == pytest.approx(2 / 11)
    assert baseline["gain"]["foreground_dice"]["value"] == pytest.approx(6 / 9)


@pytest.mark.parametrize("k", [2, 5])
def test_scores_equal_scikit_learn(k: int) -> None:
    pairs = random_pairs(6, k, seed=k)
    report = segmentation_report(tally_of(pairs, k), [str(i) for i in range(k)])
    true, predicted = (np.concatenate([pair[i].ravel() for pair in pairs]) for i in range(2))
    each: Any = {"average": None, "labels": range(k)}
    for name, function in (("iou", jaccard_score), ("dice", f1_score)):
        expected = np.asarray(function(true, predicted, **each))
        assert [row[name]["value"] for row in report["per_class"]] == pytest.approx(list(expected))
        assert report[f"mean_{name}"]["value"] == pytest.approx(expected.mean())
    assert report["pixel_accuracy"]["value"] == pytest.approx((true == predicted).mean())
    assert report["foreground_dice"]["value"] == pytest.approx(f1_score(true > 0, predicted > 0))
    images = [f1_score(t.ravel() > 0, p.ravel() > 0) for t, p in pairs]
    assert report["image_dice"]["value"] == pytest.approx(np.mean(images))


def test_any_class_may_be_the_background() -> None:
    matrix = tally_of(random_pairs(3, 4, seed=2), 4).total
    turned = np.roll(matrix, (1, 1), (0, 1))
    assert foreground_dice(turned, background=1) == foreground_dice(matrix)
    assert foreground_dice(turned) != foreground_dice(matrix)
    pairs = random_pairs(5, 4, seed=2)
    others = [(true, np.where(true == 2, 0, predicted)) for true, predicted in pairs]
    seen = [(foreground_map(true), foreground_map(predicted)) for true, predicted in others]
    reports = []
    for shift in (0, 1):
        ours, its = (tally_of([((t + shift) % 4, (p + shift) % 4) for t, p in some], 4) for some in (pairs, others))
        baselines = {"four": its, "two": tally_of(seen, 2)}
        reports.append(segmentation_report(ours, "abcd", background=shift, baselines=baselines))
    for name in ("foreground_dice", "image_dice", "boundary_f1"):
        assert reports[0][name] == pytest.approx(reports[1][name])
    for rows in zip(*(report["baselines"] for report in reports), strict=True):
        for one, other in (rows, [row["gain"] for row in rows]):
            assert one["foreground_dice"] == other["foreground_dice"]
    four, two = (row["foreground_dice"] for row in reports[0]["baselines"][1:])
    assert four == two
    report = segmentation_report(tally_of(pairs, 4), "abcd", background=None)
    assert report["baselines"] == []
    assert report["foreground_dice"]["note"] == "no class is the background"


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(7)), st.integers(0, 7))
def test_neither_order_nor_batches_matter(order: list[int], cut: int) -> None:
    pairs = [(np.where(true == 1, -1, true), predicted) for true, predicted in random_pairs(7, 4, seed=9)]
    whole, first, second = (tally_of(some, 4, ignore_index=-1) for some in (pairs, [], [pairs[i] for i in order[cut:]]))
    for i in order[:cut]:
        first.add(*pairs[i])
    first.merge(second)
    assert (first.n, first.ignored) == (7, whole.ignored)
    assert np.array_equal(first.total, whole.total)
    assert first.scores() == whole.scores()
    one, other = (scores_of(segmentation_report(tally, "abcd")) for tally in (whole, first))
    for a, b in zip(one, other, strict=True):
        assert a["n"] == b["n"]
        for end in ("value", "low", "high"):
            assert a[end] == pytest.approx(b[end])


def test_the_interval_is_over_images_not_pixels() -> None:
    pairs = random_pairs(10, 3, seed=5)
    report = segmentation_report(tally_of(pairs, 3), "abc")
    for name in ("pixel_accuracy", "mean_iou", "foreground_dice"):
        left_out = np.array([
            segmentation_report(tally_of(pairs[:i] + pairs[i + 1 :], 3), "abc")[name]["value"] for i in range(10)
        ])  # fmt: skip
        expected = jackknife_interval(report[name]["value"], left_out, 0.95, SHARE)
        assert (report[name]["low"], report[name]["high"]) == pytest.approx((expected.low, expected.high))
        assert report[name]["n"] == 10
    pixels = report["pixels"]
    by_pixel = wilson(round(report["pixel_accuracy"]["value"] * pixels), pixels)
    assert report["pixel_accuracy"]["high"] - report["pixel_accuracy"]["low"] > 2 * (by_pixel.high - by_pixel.low)


def test_a_class_is_judged_on_the_images_that_show_it() -> None:
    here, gone = np.array([[0, 1], [1, 1]]), np.zeros((2, 2), dtype=int)
    pairs = [(here, here), (gone, gone), (gone, np.array([[0, 0], [0, 1]])), (here, np.array([[0, 0], [1, 1]]))]
    one = segmentation_report(tally_of(pairs, 2), ["a", "b"])["per_class"][1]
    assert (one["iou"]["n"], one["images"]) == (3, 2)
    expected = jackknife_interval(5 / 7, np.array([2 / 4, 5 / 6, 3 / 4]), 0.95, SHARE)
    assert (one["iou"]["low"], one["iou"]["high"]) == pytest.approx((expected.low, expected.high))
    assert one["dice"]["low"] == pytest.approx(2 * expected.low / (1 + expected.low))
    single = segmentation_report(tally_of([(here, here), (gone, gone)], 2), ["a", "b"])["per_class"][1]
    assert (single["iou"]["value"], single["iou"]["low"]) == (1.0, None)


def test_perfect_maps_of_few_images_are_not_certain() -> None:
    pairs = [(true, true) for true, _ in random_pairs(5, 3, seed=6)]
    report = segmentation_report(tally_of(pairs, 3), "abc")
    for name in ("pixel_accuracy", "mean_iou", "mean_dice", "foreground_dice", "image_dice", "boundary_f1"):
        assert (report[name]["value"], report[name]["low"]) == (1.0, wilson(5, 5).low), name


def test_intervals_of_the_mean_iou_hold_as_often_as_they_say() -> None:
    # In each image a share of its pixels is wrong that varies from image to image; the two classes are alike.
    generator = np.random.default_rng(0)

    def drawn(n: int) -> np.ndarray:
        size, right = generator.integers(100, 400, size=n), generator.beta(8, 2, size=n)
        hits = (size * right).round().astype(int)
        return np.array([[[h, s - h], [s - h, h]] for h, s in zip(hits, size, strict=True)])

    known = float(ious(drawn(100_000).sum(axis=0)).mean())
    held = 0
    for _ in range(120):
        tally = PixelTally(2, tolerance_px=None)
        tally._matrices = list(drawn(10))
        score = segmentation_report(tally, ["a", "b"])["mean_iou"]
        held += score["low"] <= known <= score["high"]
    assert 0.9 <= held / 120 <= 0.99


def test_images_without_a_boundary_are_left_out_of_its_mean() -> None:
    true = np.zeros((8, 8), dtype=int)
    report = segmentation_report(tally_of([(true, true), (true, square(2, 2, 3, 8).astype(int))], 2), ["a", "b"])
    assert report["boundary_f1"]["value"] == 0.0
    assert report["boundary_f1"]["note"].startswith("mean over 1 of 2 samples; the others have no boundary")


def test_the_mean_over_boundaries_leaves_the_background_out() -> None:
    pairs = random_pairs(5, 3, seed=7)
    tally = tally_of(pairs, 3, tolerance_px=1.0)
    by_hand = np.array([[boundary_f1(t == k, p == k, 1.0) for k in range(3)] for t, p in pairs])
    report = segmentation_report(tally, "abc")
    assert tally.boundaries == pytest.approx(by_hand)
    assert report["boundary_f1"]["value"] == pytest.approx(by_hand[:, 1:].mean())
    assert [row["boundary_f1"]["value"] for row in report["per_class"]] == pytest.approx(by_hand.mean(axis=0))
    everything = segmentation_report(tally, "abc", background=None)
    assert everything["boundary_f1"]["value"] == pytest.approx(by_hand.mean())
    without = segmentation_report(tally_of(pairs, 3, tolerance_px=None), "abc")
    assert without["boundary_f1"]["note"] == "boundaries were not compared"
    assert without["mean_iou"] == report["mean_iou"]


def test_a_baseline_of_two_classes_stands_beside_more() -> None:
    pairs = random_pairs(6, 3, seed=8)
    grey = [(true, np.where(true > 0, 200, 20) + np.arange(true.shape[1])) for true, _ in pairs]
    otsu = tally_of([(foreground_map(true), otsu_map(image, bright=True)) for true, image in grey], 2, ignore_index=-1)
    report = segmentation_report(tally_of(pairs, 3), "abc", baselines={"Otsu": otsu})
    row = report["baselines"][1]
    assert row["name"] == "Otsu"
    assert row["foreground_dice"]["value"] == 1.0
    assert row["gain"]["foreground_dice"]["value"] == pytest.approx(report["foreground_dice"]["value"] - 1)
    assert "mean_iou" not in row


def test_the_gain_is_judged_on_the_same_images() -> None:
    # Images differ much, the two methods hardly: each of ours has one pixel more right.
    ours, theirs = PixelTally(2), PixelTally(2)
    for wrong in range(2, 20):
        true = np.zeros((20, 20), dtype=int)
        true[:, 10:] = 1
        for tally, extra in ((ours, 0), (theirs, 1)):
            predicted = true.copy()
            predicted[: wrong + extra, 9] = 1
            tally.add(true, predicted)
    row = segmentation_report(ours, ["a", "b"], baselines={"theirs": theirs})["baselines"][1]
    assert row["gain"]["pixel_accuracy"]["value"] == pytest.approx(1 / 400)
    assert row["gain"]["mean_iou"]["low"] > 0
    assert row["mean_iou"]["high"] - row["mean_iou"]["low"] > 5 * row["gain"]["mean_iou"]["value"]
    assert row["gain"]["boundary_f1"]["value"] == 0.0
    assert row["boundary_f1"]["value"] == 1.0


def test_a_baseline_of_other_images_is_refused() -> None:
    pairs = random_pairs(4, 3, seed=1)
    tally = tally_of(pairs, 3)
    for others, k in ((pairs[:3], 3), (pairs[::-1], 3), ([(p, t) for t, p in pairs], 3), (pairs, 4)):
        with pytest.raises(DataError, match="'it' must be tallied on the same images in the same order"):
            segmentation_report(tally, "abc", baselines={"it": tally_of(others, k)})


def test_no_images_is_a_report_not_a_crash() -> None:
    ignored = np.full((4, 4), 255)
    for tally in (PixelTally(3), tally_of([(ignored, ignored)], 3, ignore_index=255)):
        report = segmentation_report(tally, "abc")
        assert report["n"] == 0
        assert all(score["value"] is None and score["note"] for score in scores_of(report))
        json.dumps(report, allow_nan=False)
        assert all(np.isnan(value) for value in tally.scores().values())


def test_every_score_has_an_interval_around_it() -> None:
    pairs = random_pairs(12, 3, seed=3)
    other = tally_of([(t, (p + (np.indices(p.shape)[0] == 1)) % 3) for t, p in pairs], 3)
    report = segmentation_report(tally_of(pairs, 3), "abc", baselines={"other": other})
    found = scores_of(report)
    assert len(found) == 6 + 3 * 3 + 8 + 10
    for score in found:
        assert score["low"] <= score["value"] <= score["high"]
        assert score["low"] < score["high"] or score["value"] == 0.0
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_errors_name_what_came() -> None:
    with pytest.raises(ShapeError, match="each of the 2 classes; got 3"):
        segmentation_report(PixelTally(2), "abc")
    with pytest.raises(ConfigError, match=r"classes 0\.\.1, or None; got 2"):
        segmentation_report(PixelTally(2), "ab", background=2)
