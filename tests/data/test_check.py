"""A look at a data set before any training: everything is read, nothing is written, and torch is not needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convlens as cl
import rig
import scenes
import small
from convlens.data.check import check
from convlens.data.pixels import encode_png


def test_health_can_be_looked_at_without_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[str, int, int]] = []
    opened, health = cl.check(small.shared_photos(), progress=lambda *news: seen.append(news))
    assert len(opened.records) == 120
    assert seen[-1] == ("decoding", 120, 120)
    assert not [finding for finding in health.findings if finding.severity == "error"]
    assert list(tmp_path.iterdir()) == []
    opened, _ = cl.check(rig.pictures())
    assert opened.name == "arrays"


def test_a_look_at_the_data_finds_masks_that_do_not_fit(tmp_path: Path) -> None:
    root = scenes.masked(tmp_path)
    images, masks = root / "images", root / "masks"
    name = sorted(masks.iterdir())[2].name
    (masks / name).write_bytes(encode_png(np.zeros((5, 7, 1), np.uint8)))
    _, health = check(str(images), task="segment", masks=str(masks))
    (wrong,) = [finding for finding in health.findings if finding.kind == "bad-mask"]
    assert wrong.severity == "error"
    assert "the mask is 5 x 7 pixels" in wrong.message
    assert len(wrong.records) == 1


def test_a_look_needs_no_torch() -> None:
    code = (
        "import sys, convlens as cl; "
        f"_, health = cl.check({str(small.shared_photos())!r}); "
        "print(len(health.findings), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "False"
