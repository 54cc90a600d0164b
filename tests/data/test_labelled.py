"""What an existing model is scored on: read with its own preprocessing, and refused where it would be scored amiss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from convlens.data.classes import Classes
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ConfigError
from convlens.model import Model

SIDE, IMAGES, DEVIATION = 12, 6, 25
LEARNED = {"mean": [0.5], "std": [0.25], "mean_picture": np.full((4, 4, 1), 127).tolist()}


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[str, str]:
    """Folders of noisy and of clean pictures, named alike."""
    dice = np.random.default_rng(0)
    for number in range(IMAGES):
        clean = dice.uniform(80, 170) * np.ones((SIDE, SIDE))
        for name, levels in (("noisy", clean + dice.normal(0, DEVIATION, clean.shape)), ("clean", clean)):
            (tmp_path / name).mkdir(exist_ok=True)
            png = encode_png(levels.clip(0, 255).astype(np.uint8)[..., None])
            (tmp_path / name / f"{number}.png").write_bytes(png)
    return str(tmp_path / "noisy"), str(tmp_path / "clean")


def denoiser(**learned: object) -> Model:
    """One that gives back what it is shown."""
    network = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(network.weight)
    preprocess = Preprocess(ImagePolicy(channels=1), (SIDE, SIDE), (SIDE, SIDE), "squash", (0.5,), (0.25,))
    return Model(network.eval(), "denoise", Classes(("grey",)), preprocess, card={"data": {**LEARNED, **learned}})


def test_a_denoiser_that_learned_from_pairs_is_not_scored_on_its_own_input(pairs: tuple[str, str]) -> None:
    noisy, clean = pairs
    with pytest.raises(ConfigError, match=r"trained on pairs: give --clean FOLDER \(clean=\.\.\. in Python\)"):
        denoiser().evaluate(noisy)
    assert denoiser().evaluate(noisy, clean=clean)["psnr"]["value"] == pytest.approx(20.2, abs=1.0)


def test_pairs_get_no_other_noise_than_theirs(pairs: tuple[str, str]) -> None:
    noisy, clean = pairs
    model = denoiser(noise="gaussian:0.1", noise_seed=0)
    report = model.evaluate(noisy, clean=clean)
    assert report["noise"] == "as in the files"
    shown = report["baselines"][0]["psnr"]["value"]
    assert report["psnr"]["value"] == pytest.approx(shown, rel=1e-4), "it answers with the noisy input"
    assert report["psnr"]["value"] == pytest.approx(20.2, abs=1.0)  # 25 of 255 levels; 17.1 dB with both
    assert model.evaluate(clean)["noise"] == "gaussian:0.1"
