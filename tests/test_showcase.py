"""The cases a page shows: from the best to the worst, each strip of what its words say, none larger than shown."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image

from convlens import showcase
from convlens.config import Config
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, prepare
from convlens.data.preprocess import Preprocess
from convlens.model import Model
from convlens.report.overlay import error_map, heat, overlay
from convlens.report.sections import Section
from convlens.showcase import READINGS, answer_sections
from convlens.summary import draw_contact_sheet
from convlens.tasks.catalog import TASKS
from convlens.tasks.task import Seen
from scenes import NETWORKS, finished


@cache
def opened(task: str) -> tuple[Prepared, Model]:
    """The data of a finished run, and its model."""
    run = finished(task)
    stored = run.read("run")
    config = Config.from_json(stored["config"])
    preprocess = Preprocess.from_json(stored["preprocess"])
    return prepare(config, open_all(config), preprocess, learn_normalisation=False), run.model


def shown(task: str) -> tuple[Section, np.ndarray]:
    """The section of a run, and the outputs it was made from."""
    prepared, model = opened(task)
    outputs = model.outputs(prepared.store.images, prepared.split.test, scored=True)
    (section,) = answer_sections(finished(task).evaluation, prepared, model, outputs)
    return section, outputs


def pictures(png: bytes, across: int) -> list[np.ndarray]:
    """A strip as the pictures it is made of, (H, W, 3) each."""
    sheet = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    side = sheet.shape[0]
    gap = (sheet.shape[1] - across * side) // (across - 1)
    assert across * side + gap * (across - 1) == sheet.shape[1]
    return [sheet[:, i * (side + gap) : i * (side + gap) + side] for i in range(across)]


def rows_of(section: Section, task: str) -> list[int]:
    """Which of the test images the shots show."""
    prepared, _ = opened(task)
    ids = [prepared.store.records[int(row)].id for row in prepared.split.test]
    return [ids.index(shot.id) for shot in section.shots]


def rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., :1], 3, axis=2)


def levels(output: np.ndarray) -> np.ndarray:
    return rgb(np.rint(255 * output).astype(np.uint8).transpose(1, 2, 0))


def test_every_task_that_has_sections_has_a_reading() -> None:
    assert set(READINGS) == set(TASKS) - {"classify"}


def test_a_strip_of_masks_is_image_truth_answer_and_their_difference() -> None:
    section, outputs = shown("segment")
    prepared, _ = opened("segment")
    assert section.columns == ("image", "true mask", "answer", "where they differ")
    for shot, i in zip(section.shots, rows_of(section, "segment"), strict=True):
        row = prepared.split.test[i]
        image, true = prepared.store.images[row], prepared.targets[row]
        expected = [rgb(image), overlay(image, true), overlay(image, outputs[i]), error_map(true, outputs[i])]
        np.testing.assert_array_equal(pictures(shot.png, 4), expected)


def test_shots_go_from_the_best_to_the_worst() -> None:
    for task, sign in (("segment", -1), ("reconstruct", -1), ("denoise", -1)):
        section, outputs = shown(task)
        figures = [float(shot.lines[0].split()[-2 if task != "segment" else -1]) for shot in section.shots]
        assert figures == sorted(figures, key=lambda value: sign * value)
        assert len({shot.id for shot in section.shots}) == min(showcase.SHOTS, len(outputs))


def test_pictures_are_shown_as_they_came_back() -> None:
    section, outputs = shown("reconstruct")
    prepared, _ = opened("reconstruct")
    for shot, i in zip(section.shots, rows_of(section, "reconstruct"), strict=True):
        row = prepared.split.test[i]
        np.testing.assert_array_equal(pictures(shot.png, 2), [rgb(prepared.store.images[row]), levels(outputs[i])])
        clean = prepared.store.images[row].transpose(2, 0, 1) / 255
        assert float(shot.lines[0].split()[0]) == pytest.approx(
            -10 * np.log10(((outputs[i] - clean) ** 2).mean()), abs=0.06
        )


def test_the_noise_that_is_shown_is_the_noise_that_was_scored() -> None:
    section, outputs = shown("denoise")
    prepared, model = opened("denoise")
    noisy = np.asarray(model.asks.noisy(Seen(prepared.store.images, prepared.split.test)))  # type: ignore[attr-defined]
    for shot, i in zip(section.shots, rows_of(section, "denoise"), strict=True):
        clean = rgb(prepared.store.images[prepared.split.test[i]])
        expected = [levels(noisy[i].clip(0, 1)), levels(outputs[i]), clean]
        np.testing.assert_array_equal(pictures(shot.png, 3), expected)


def test_anomalies_are_shown_with_their_kind_and_where_they_differ() -> None:
    section, outputs = shown("anomaly")
    prepared, model = opened("anomaly")
    report = finished("anomaly").evaluation["test"]
    hardest = [case["position"] for name in ("highest_normal", "lowest_abnormal") for case in report[name]]
    assert rows_of(section, "anomaly") == hardest
    seen = Seen(prepared.store.images, prepared.split.test)
    warmth = model.asks.heat(outputs, seen)  # type: ignore[attr-defined]
    top = float(np.quantile(warmth, 0.999))
    for shot, i in zip(section.shots, hardest, strict=True):
        row = prepared.split.test[i]
        image = prepared.store.images[row]
        expected = [rgb(image), levels(outputs[i]), heat(image, warmth[i], low=0.0, high=top)]
        np.testing.assert_array_equal(pictures(shot.png, 3), expected)
        kind = prepared.store.records[int(row)].label
        assert shot.lines == [f"{kind}, score {report_score(report, i):.4g}"]


def report_score(report: dict[str, list[dict[str, float]]], position: int) -> float:
    cases = [*report["highest_normal"], *report["lowest_abnormal"]]
    return next(case["score"] for case in cases if case["position"] == position)


def test_codes_are_drawn_with_what_lies_between_two() -> None:
    section, _ = shown("reconstruct")
    code, between = section.cards
    assert code.svg
    assert code.caption.startswith("Each point is an image: its 6 numbers in the two directions of largest spread")
    assert between.across == showcase.STEPS // 2
    assert between.png


@pytest.mark.parametrize("task", NETWORKS)
def test_one_image_is_enough_for_a_page(task: str) -> None:
    prepared, model = opened(task)
    alone = replace(prepared, split=replace(prepared.split, test=prepared.split.test[:1]))
    outputs = model.outputs(prepared.store.images, alone.split.test, scored=True)
    seen = Seen(prepared.store.images, alone.split.test)
    report = model.asks.report(outputs, prepared.targets[alone.split.test], seen, level=0.95, seed=0)
    evaluation = {"headline": {"part": "test", **model.asks.headline(report, "auto")}, "test": report}
    (section,) = answer_sections(evaluation, alone, model, outputs)
    assert len(section.shots) == 1
    assert section.lead


def test_without_a_score_there_are_no_sections() -> None:
    prepared, model = opened("segment")
    assert answer_sections({}, prepared, model, np.zeros((0, 2))) == []


def test_large_pictures_are_shown_smaller_and_small_ones_as_they_are() -> None:
    large = [np.zeros((600, 300, 3), np.uint8)] * 3
    with Image.open(io.BytesIO(showcase._side_by_side(large))) as sheet:
        assert sheet.height == showcase.SHOWN_PX
        assert 3 * showcase.SHOWN_PX // 2 < sheet.width < 2 * showcase.SHOWN_PX
    small = [np.arange(48, dtype=np.uint8).reshape(6, 8, 1), np.zeros((6, 8, 3), np.uint8)]
    with Image.open(io.BytesIO(showcase._side_by_side(small))) as sheet:
        assert sheet.size == (17, 6)
        assert (np.asarray(sheet)[:, :8, 0] == small[0][..., 0]).all()


def test_what_is_not_counted_is_hatched_in_the_answer_too() -> None:
    prepared, model = opened("segment")
    targets = prepared.targets.copy()
    targets[:, :5] = 255
    aside = replace(prepared, answers=replace(prepared.answers, values=targets))
    outputs = model.outputs(prepared.store.images, prepared.split.test, scored=True)
    (section,) = answer_sections(finished("segment").evaluation, aside, model, outputs)
    for shot, i in zip(section.shots, rows_of(section, "segment"), strict=True):
        image = prepared.store.images[prepared.split.test[i]]
        hatched = overlay(image, np.full((16, 16), 255, np.uint8))[:5]
        _, true, answer, error = pictures(shot.png, 4)
        np.testing.assert_array_equal(true[:5], hatched)
        np.testing.assert_array_equal(answer[:5], hatched)
        assert (error[:5] == 0).any(), "and in the map of errors"


def test_windows_fill_the_cells_of_the_contact_sheet() -> None:
    prepared, _ = opened("segment")
    config = Config.from_json(finished("segment").read("run")["config"])
    half = replace(prepared, preprocess=replace(prepared.preprocess, size_px=(8, 8)))
    with Image.open(io.BytesIO(draw_contact_sheet(config, half))) as sheet:
        levels = np.asarray(sheet.convert("L"))
    rows = [levels[top : top + 16] for top in (0, 16 + 3, 16 + 3 + 17)]
    for row in rows:
        cells = [row[:, left : left + 16] for left in range(0, row.shape[1], 17)]
        assert len(cells) == 12
        assert min(float(cell.std()) for cell in cells) > 0
        assert all(len(np.unique(cell[:, 0])) > 1 for cell in cells), "nothing of the paper around them"
