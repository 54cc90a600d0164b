"""What the page says of pictures given back and of anomalies, in sentences that stay true whatever the figures are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convlens.metrics.anomaly import alarm_threshold, anomaly_report
from convlens.metrics.reconstruction import image_scores, reconstruction_report
from convlens.report.numbers import short
from convlens.report.overlay import heat
from convlens.report.page import RunSummary, render
from convlens.report.pictures_page import (
    anomaly_reading,
    anomaly_sections,
    anomaly_tables,
    picture_reading,
    picture_sections,
    picture_tables,
)
from convlens.report.sections import Card
from convlens.report.tables import tables_of

RNG = np.random.default_rng(0)
CLEAN = RNG.random((9, 1, 16, 16))


def restored(ours: float, theirs: float, name: str = "mean picture") -> dict[str, Any]:
    """A report of answers whose error is drawn from a deviation of `ours`, beside others'."""
    rng = np.random.default_rng(1)
    scores = [image_scores(CLEAN + size * rng.standard_normal(CLEAN.shape), CLEAN, 1.0) for size in (ours, theirs)]
    return reconstruction_report(scores[0], {name: scores[1]})


def alarms(normal: int = 40, abnormal: int = 10, threshold: bool = True, kinds: bool = True) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    scores = np.concatenate([rng.normal(0, 1, normal), rng.normal(4, 1, abnormal)])
    strange = np.arange(normal + abnormal) >= normal
    chosen = alarm_threshold(rng.normal(0, 1, 60), 0.05) if threshold else None
    named = ["bent" if is_strange else "good" for is_strange in strange] if kinds else None
    return anomaly_report(scores, strange, chosen, kinds=named, baselines={"other": rng.random(len(scores))})


def test_more_and_less_are_said_in_words() -> None:
    better, worse = picture_reading(restored(0.1, 0.2)), picture_reading(restored(0.2, 0.1))
    assert "; the mean picture reaches 14" in better
    assert f"That is {short(restored(0.1, 0.2)['baselines'][0]['gain']['psnr']['value'])} (" in better
    assert "dB more, and 100" in better
    assert "dB less, and 0" in worse
    assert "-" not in worse, "less is not minus more"
    low, high = worse.split("That is ")[1].split("(")[1].split(")")[0].split("\u2013")
    assert float(low) < float(high)
    assert "; non-local means reaches" in picture_reading(restored(0.1, 0.2, "non-local means"))


def test_a_perfect_answer_has_no_gain_that_could_be_stated() -> None:
    perfect = image_scores(CLEAN, CLEAN, 1.0)
    report = reconstruction_report(perfect, {"mean picture": image_scores(CLEAN * 0.5, CLEAN, 1.0)})
    said = picture_reading(report)
    assert said.startswith("The pictures come back with a PSNR of ")
    assert "nan" not in said
    assert "None" not in said
    assert picture_tables(report)


def test_errors_stand_beside_the_baselines_and_what_is_gained() -> None:
    scores, gains = picture_tables(restored(0.1, 0.2))
    assert [row[0] for row in scores.rows] == ["this network", "mean picture"]
    assert [row[0] for row in gains.rows] == ["over mean picture"]
    assert tables_of(restored(0.1, 0.2)) == [scores, gains]


def test_ranking_and_alarms_are_read_out() -> None:
    said = anomaly_reading(alarms())
    assert "of all pairs of one normal image and one that is not, the latter has the higher score." in said
    assert "of the normal images raise an alarm; 5\u00a0% were promised." in said
    assert "of the others are found." in said


@pytest.mark.parametrize(
    ("normal", "abnormal", "missing"),
    [(40, 0, "No image is known to be abnormal"), (0, 10, "No image is known to be normal")],
)
def test_what_one_side_alone_cannot_tell_is_said(normal: int, abnormal: int, missing: str) -> None:
    said = anomaly_reading(alarms(normal, abnormal))
    assert said.startswith(missing)
    assert ("normal images raise an alarm" in said) == (normal > 0)
    assert ("of the others are found" in said) == (abnormal > 0)
    assert anomaly_reading(alarms(normal, abnormal, threshold=False)).startswith(missing)
    for table in anomaly_tables(alarms(normal, abnormal)):
        assert all(len(row) == len(table.head) for row in table.rows)


def test_alarms_are_told_kind_by_kind() -> None:
    ranking, alarm, kinds = anomaly_tables(alarms())
    assert ranking.title == "How well the score tells them apart, on 40 normal and 10 other images"
    assert [row[0] for row in ranking.rows] == ["this network", "chance", "other"]
    assert [row[1] for row in kinds.rows] == ["no", "yes"]
    assert [row[0] for row in kinds.rows] == ["bent", "good"]
    assert alarm.rows[0][2] == "5\u00a0% promised"
    assert tables_of(alarms()) == [ranking, alarm, kinds]
    assert len(anomaly_tables(alarms(threshold=False))) == 1
    assert len(anomaly_tables(alarms(kinds=False))) == 2


def test_the_curve_marks_the_threshold_that_is_kept() -> None:
    with_one, without = (
        anomaly_sections(alarms(threshold=one), [], ("image", "heat"))[0].cards[0] for one in (True, False)
    )
    assert "The dot is the one chosen on validation." in with_one.caption
    assert "dot" not in without.caption.replace("dotted", "")
    report = alarms()["alarm"]
    words = f"false alarms {report['false_alarms']['value']:.1%}, found {report['detection']['value']:.1%}"
    assert words in with_one.svg
    assert "At the stored threshold" not in without.svg
    assert anomaly_sections(alarms(40, 0), [], ("image", "heat"))[0].cards == []


def test_the_legend_of_heat_has_the_colours_that_are_painted() -> None:
    (section,) = anomaly_sections(alarms(), [], ("image", "given back", "where it differs"))
    ((title, levels),) = section.legend
    assert title == "where it differs"
    warm = heat(np.full((1, 3, 1), 0, np.uint8), np.array([[0.0, 0.5, 1.0]]))
    for (colour, _), pixel, share in zip(levels, warm[0], (0.25, 0.55, 0.85), strict=True):
        painted = share * np.array(list(bytes.fromhex(colour[1:])))
        np.testing.assert_allclose(pixel, painted, atol=1.5)
    assert section.shots_title == "The hardest images: normal ones of the highest score and others of the lowest"
    assert anomaly_sections(alarms(40, 0), [], ("a", "b"))[0].shots_title.endswith(": normal ones of the highest score")


def test_sections_are_on_the_page() -> None:
    cards = [Card("The code", "In two directions.", "<svg></svg>")]
    probe = {
        "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
        "baseline": {"class": "a", "accuracy": {"value": 0.5}},
    }
    sections = picture_sections(restored(0.1, 0.2), [], ("image", "given back"), cards, probe)
    page = render(RunSummary("run", "reconstruct", "today", sections=sections))
    for words in ("What it gives back", "The code", "linear classifier on the codes", "over mean picture"):
        assert words in page
    page = render(RunSummary("run", "anomaly", "today", sections=anomaly_sections(alarms(), [], ("image", "heat"))))
    for words in ("What it notices", "Found against false alarms", "Kind by kind", "5\u00a0% promised"):
        assert words in page
