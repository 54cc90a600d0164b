"""Denoising from two folders: noisy images, and the clean picture of the same name for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import convlens as cl
from convlens.config import Config
from convlens.data.augment import Augment, resolve
from convlens.data.opening import open_all
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.present import Paired
from convlens.errors import DataError

SIDE, IMAGES = 16, 24


def folders(root: Path) -> tuple[Path, Path]:
    """Pictures of one soft spot each, clean and with grain; named alike, and in another order."""
    dice = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(IMAGES):
        middle = dice.uniform(4, 12, 2)
        clean = 40 + 180 * np.exp(-((y - middle[0]) ** 2 + (x - middle[1]) ** 2) / 12)
        noisy = clean + dice.normal(0, 25, clean.shape)
        for name, levels in (("clean", clean), ("noisy", noisy)):
            (root / name).mkdir(parents=True, exist_ok=True)
            suffix = "_gt" if name == "clean" else ""
            (root / name / f"{number}{suffix}.png").write_bytes(
                encode_png(levels.clip(0, 255).astype(np.uint8)[..., None])
            )
    return root / "noisy", root / "clean"


def test_noisy_and_clean_files_are_paired_by_name_and_learned_from(tmp_path: Path) -> None:
    noisy, clean = folders(tmp_path)
    options = {"network": "dncnn", "options": {"depth": 3, "width": 4}, "epochs": 2, "directory": str(tmp_path)}
    run = cl.train(str(noisy), task="denoise", clean=str(clean), **options)
    report = run.evaluation["test"]
    assert report["noise"] == "as in the files"
    assert report["baselines"][0]["name"] == "noisy input"
    assert 18 < report["baselines"][0]["psnr"]["value"] < 23  # 25 of 255 levels are 20.2 dB
    assert "noise" not in run.model.card["data"]
    again = run.model.evaluate(str(noisy), clean=str(clean))
    assert again["n"] == IMAGES
    answer = run.model.predict(str(noisy / "0.png"))
    assert answer.levels.shape == (SIDE, SIDE, 1)
    (clean / "1_gt.png").write_bytes(encode_png(np.zeros((SIDE, SIDE + 1, 1), np.uint8)))
    with pytest.raises(DataError, match=r"1\.png: the clean picture is 16 x 17"):
        cl.train(str(noisy), task="denoise", clean=str(clean), **options)


def test_every_noisy_image_has_its_own_clean_picture(tmp_path: Path) -> None:
    noisy, clean = folders(tmp_path)
    source = open_all(Config.build({"task": "denoise", "data.source": str(noisy), "data.clean": str(clean)}))
    assert source.kind == "pair"
    assert {record.id: record.label for record in source.records}["7.png"] == "7_gt.png"
    (clean / "7_gt.png").unlink()
    fewer = open_all(Config.build({"task": "denoise", "data.source": str(noisy), "data.clean": str(clean)}))
    assert len(fewer.records) == IMAGES - 1
    assert any("7.png" in finding.message for finding in fewer.findings)


def test_both_pictures_of_a_pair_are_moved_and_lit_alike() -> None:
    preprocess = Preprocess(ImagePolicy(channels=1), (12, 12), (16, 16), "squash", (0.4,), (0.3,))
    asked = Config.build({"augment.flip": "both", "augment.rotate_deg": 20.0, "augment.brightness": 0.3}).augment
    present = Paired(preprocess, Augment(resolve(asked, "none"), preprocess, seed=3, classes=1))
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 16, 16, 1), dtype=np.uint8))
    for epoch in range(3):
        x, clean = present.changed(pictures, pictures, np.arange(6), epoch)
        torch.testing.assert_close(preprocess.levels(x), clean)
        other, _ = present.changed(pictures, 255 - pictures, np.arange(6), epoch)
        assert torch.equal(x, other)
