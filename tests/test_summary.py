"""What the report of a run shows: the right mistakes, in the right order, with their pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import rig
import small
from convlens import summary
from convlens.summary import SHEET_DRAWS, draw_contact_sheet, find_mistakes
from convlens.tasks.classify import Classify
from convlens.training.plan import make_plan


def test_mistakes_are_the_wrong_answers_the_surest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, prepared = rig.prepared(tmp_path)
    rows, names = prepared.split.test, prepared.classes.names
    targets = prepared.targets[rows]
    logits = np.full((len(rows), 3), -9.0, np.float32)
    logits[np.arange(len(rows)), targets] = 9.0
    wrong = {4: 2.0, 1: 6.0, 7: 4.0}  # row and how sure
    for row, sure in wrong.items():
        logits[row] = 0.0
        logits[row, (targets[row] + 1) % 3] = sure
    classify = Classify(names)
    found = find_mistakes(classify, prepared, logits)
    assert [mistake.id for mistake in found] == [prepared.store.records[rows[i]].id for i in (1, 7, 4)]
    for mistake, row in zip(found, (1, 7, 4), strict=True):
        assert mistake.true == names[targets[row]]
        assert mistake.predicted == names[(targets[row] + 1) % 3]
        assert mistake.probability == pytest.approx(np.exp(wrong[row]) / (2 + np.exp(wrong[row])))
        with Image.open(io.BytesIO(mistake.png)) as picture:
            np.testing.assert_array_equal(np.asarray(picture)[:, :, 0], prepared.store.images[rows[row]][:, :, 0])
    assert find_mistakes(classify, prepared, logits[:0]) == []
    monkeypatch.setattr(summary, "MOST_MISTAKES", 2)
    assert [mistake.id for mistake in find_mistakes(classify, prepared, logits)] == [one.id for one in found[:2]]


def test_a_contact_sheet_shows_images_and_what_becomes_of_them(tmp_path: Path) -> None:
    config, prepared = rig.prepared(tmp_path)
    config, _ = make_plan(rig.network(), config, prepared, from_scratch=True)
    with Image.open(io.BytesIO(draw_contact_sheet(config, prepared))) as sheet:
        assert sheet.height > (1 + SHEET_DRAWS) * 10
        assert len(set(sheet.convert("L").tobytes())) > 20


def test_the_page_tells_what_the_files_tell() -> None:
    run = small.finished()
    page = run.report_path.read_text(encoding="utf-8")
    for word in (*small.CLASSES, run.model_path.name, "compact", "photos"):
        assert word in page
    assert page.count("data:image/png;base64,") >= 1
    assert "http://" not in page.replace("http://www.w3.org", "")
