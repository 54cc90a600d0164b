"""Answers that are pictures: everything is said in levels, noise is what was shown, alarms keep their promise."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

import scenes
from convlens.data.noise import Noise
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.present import Pictured
from convlens.errors import ConfigError, DataError, ShapeError
from convlens.metrics.reconstruction import non_local_means_available
from convlens.report.pictures_page import picture_reading
from convlens.tasks import pictures
from convlens.tasks.pictures import LOSSES, Anomaly, Denoise, PictureMeter, Reconstruct
from convlens.tasks.task import Frame, Seen

MEAN, STD = 0.3, 0.2
FACTS: dict[str, Any] = {
    "mean": [MEAN],
    "std": [STD],
    "mean_picture": [[[51]] * 4] * 4,
    "noise": "gaussian:0.1",
    "noise_seed": 3,
    "groups": [],
}


def task(kind: type[Any] = Reconstruct, **settings: Any) -> Any:
    facts = {key: settings.pop(key) for key in list(settings) if key in FACTS}
    return kind(("grey",), {"data": json.loads(json.dumps(FACTS | facts))}, **settings)


def seen(n: int = 12) -> Seen:
    return Seen(scenes.scenes(n)[0], np.arange(n))


def levels(shown: Seen) -> np.ndarray:
    return shown.images[shown.samples].transpose(0, 3, 1, 2).astype(np.float32) / 255


NONE = np.full(12, -1)


def test_outputs_are_in_the_scale_of_the_input() -> None:
    outputs = torch.tensor([0.0, 1.0, -3.0, 9.0]).view(1, 1, 2, 2)
    torch.testing.assert_close(task().decode(outputs).flatten(), torch.tensor([0.3, 0.5, -0.3, 2.1]))
    torch.testing.assert_close(task().keep(outputs).flatten(), torch.tensor([0.3, 0.5, 0.0, 1.0]))


@pytest.mark.parametrize(("name", "wanted"), [("squared", 4.0), ("absolute", 2.0), ("huber", 1.5)])
def test_losses_count_in_deviations_of_the_data(name: str, wanted: float) -> None:
    assert name in LOSSES
    clean = torch.full((1, 1, 2, 2), MEAN + 2 * STD)
    assert task(loss_name=name).loss(torch.zeros(1, 1, 2, 2), clean).item() == pytest.approx(wanted)
    assert task(loss_name=name).loss(torch.full((1, 1, 2, 2), 2.0), clean).item() == pytest.approx(0.0, abs=1e-6)


def pairs(n: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(n, 1, 5, 4), torch.rand(n, 1, 5, 4)


def test_the_meter_does_not_depend_on_batches() -> None:
    outputs, clean = pairs()
    error = ((MEAN + STD * outputs.double() - clean.double()) ** 2).mean().item()
    for cuts in ([7], [1, 6], [3, 2, 2], [1] * 7):
        meter = task().meter()
        for part in zip(outputs.split(cuts), clean.split(cuts), strict=True):
            meter.update(*part)
        assert meter.compute() == pytest.approx({"loss": error, "psnr": -10 * np.log10(error)}, rel=1e-6)


def test_the_meter_is_restored_exactly() -> None:
    outputs, clean = pairs()
    straight, first, second = (PictureMeter(task()) for _ in range(3))
    for meter in (straight, first):
        meter.update(outputs[:4], clean[:4])
    second.restore(json.loads(json.dumps(first.state())))
    for meter in (straight, second):
        meter.update(outputs[4:], clean[4:])
    assert (second.compute(), second.state()) == (straight.compute(), straight.state())


@pytest.mark.parametrize("kind", [Reconstruct, Denoise, Anomaly])
def test_the_network_must_give_a_picture_like_its_input(kind: type[Any]) -> None:
    task(kind).require((1, 1, 8, 8), (1, 1, 8, 8))
    for outputs in ((1, 1), (1, 1, 7, 8), (1, 2, 8, 8), ()):
        with pytest.raises(ShapeError, match=f"For the task {kind.name} the network must give a picture as large as"):
            task(kind).require(outputs, (1, 1, 8, 8))


def test_a_picture_comes_back_at_the_size_of_its_image() -> None:
    preprocess = Preprocess(ImagePolicy(channels=1), (8, 8), (8, 8), "pad", (MEAN,), (STD,))
    answered = np.zeros((1, 1, 8, 8), np.float32)
    answered[0, 0, 2:6] = np.linspace(0, 1, 8)  # an image of 8 x 16 lies in rows 2..5
    shown = Seen(np.zeros((1, 8, 8, 1), np.uint8), np.arange(1), [Frame((8, 16), preprocess)])
    (answer,) = task().answers(["a.png"], answered, shown, 3)
    assert (answer.levels.shape, answer.levels.dtype) == ((8, 16, 1), np.uint8)
    assert (answer.levels == answer.levels[:1]).all()
    assert np.diff(answer.levels[0, :, 0].astype(int)).min() >= 0
    assert (answer.levels[0, 0, 0], answer.levels[0, -1, 0]) == (0, 255)
    lost = task().unreadable("b.png", "truncated")
    assert (lost.levels, lost.error) == (None, "truncated")


def test_pictures_are_scored_beside_the_mean_of_training() -> None:
    shown = seen()
    report = task().report(levels(shown) * 0.9, NONE, shown)
    assert report["mse"]["value"] == pytest.approx(((levels(shown) * 0.1) ** 2).mean(), rel=1e-5)
    always = report["baselines"][0]
    assert always["name"] == "mean picture"
    assert always["mse"]["value"] == pytest.approx(((levels(shown) - 0.2) ** 2).mean(), rel=1e-5)  # 51 of 255
    assert task().headline(report, "auto")["against"] == {"words": "mean picture", "value": always["psnr"]}
    json.dumps(report, allow_nan=False)
    with pytest.raises(ConfigError, match="reconstruct has the PSNR"):
        task().headline(report, "accuracy")


def test_a_perfect_picture_breaks_no_report() -> None:
    shown = seen()
    asks = task()
    report = asks.report(levels(shown), NONE, shown)
    json.dumps(report, allow_nan=False)
    asks.headline(report, "auto")


@pytest.mark.parametrize("noise", ["gaussian:0.1", "poisson:30", "salt-and-pepper:0.1"])
def test_the_noise_that_is_scored_is_the_noise_that_was_shown(noise: str) -> None:
    asks, shown = task(Denoise, noise=noise), Seen(seen().images, np.array([7, 2, 9]))
    preprocess = Preprocess(ImagePolicy(channels=1), (16, 16), (16, 16), "pad", (MEAN,), (STD,))
    show = Pictured(preprocess, None, Noise.parse(noise), seed=3)
    x, _ = show.still(torch.from_numpy(shown.images[shown.samples]), torch.zeros(3), shown.samples)
    found = np.asarray(asks.noisy(shown))
    near = np.isclose(found, preprocess.levels(x).numpy(), atol=1e-5)
    assert near.mean() > 0.995  # a count of photons may fall on either side of a rounding


def test_denoising_is_scored_beside_the_noisy_input_and_a_method_without_learning() -> None:
    shown = seen()
    asks = task(Denoise)
    noisy = np.asarray(asks.noisy(shown)).clip(0, 1)
    asks.settle(noisy, NONE, shown, promise=None, level=0.95)
    report = asks.report(noisy, NONE, shown)
    assert report["noise"] == "gaussian:0.1"
    assert report["baselines"][0]["name"] == "noisy input"
    assert report["baselines"][0]["gain"]["psnr"]["value"] == pytest.approx(0.0)
    if non_local_means_available():
        assert asks.card["non_local_means"]["sigma"] == pytest.approx(0.1, rel=0.1)
        assert report["baselines"][1]["name"] == "non-local means"
    json.dumps([report, asks.card], allow_nan=False)


@pytest.mark.skipif(not non_local_means_available(), reason="needs scikit-image")
def test_non_local_means_takes_grey_and_colour_alike() -> None:
    for channels in (1, 3):
        images = np.repeat(scenes.scenes(8)[0], channels, axis=3)
        asks, shown = task(Denoise, mean=[MEAN] * channels, std=[STD] * channels), Seen(images, np.arange(8))
        asks.card["data"]["mean_picture"] = [[[51] * channels]]
        asks.settle(levels(shown), NONE[:8], shown, promise=None, level=0.95)
        report = asks.report(levels(shown) * 0.9, NONE[:8], shown)
        assert report["baselines"][1]["psnr"]["value"] > 15


def test_a_baseline_that_was_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, asks = seen(), task(Denoise)
    noisy = np.asarray(asks.noisy(shown)).clip(0, 1)
    unfitted = asks.report(noisy, NONE, shown)
    assert "takes scikit-image and validation images" in unfitted["left_out"]
    assert picture_reading(unfitted).endswith(unfitted["left_out"])
    asks.card["non_local_means"] = {"sigma": 0.1, "strength": 0.8}
    monkeypatch.setattr(pictures, "MOST_VALUES", 1)
    assert "too long for" in asks.report(noisy, NONE, shown)["left_out"]


# anomalies ----------------------------------------------------------------------------------------------------------


def spoilt(n: int = 40, bad: int = 8) -> tuple[Seen, np.ndarray, np.ndarray]:
    """Images, what comes back of them, and their groups: the last ones come back badly, in one corner."""
    shown = Seen(scenes.scenes(n)[0], np.arange(n))
    rng = np.random.default_rng(0)
    back = levels(shown) + 0.02 * rng.standard_normal((n, 1, 16, 16)).astype(np.float32)
    back[-bad:, :, :4, :4] += 0.5
    return shown, back, np.array([0] * (n - bad) + [1] * bad)


def test_the_score_is_the_squared_error_and_the_heat_shows_where() -> None:
    shown, back, groups = spoilt()
    asks = task(Anomaly)
    np.testing.assert_allclose(asks.scores(back, shown), ((back - levels(shown)) ** 2).mean((1, 2, 3)), rtol=1e-4)
    heat = asks.heat(back, shown)
    assert heat.shape == (40, 16, 16)
    flat = (back[0] - levels(shown)[0])[0] ** 2
    assert heat[0, 8, 8] == pytest.approx(flat[6:11, 6:11].mean(), rel=1e-3)
    assert heat[0, 0, 0] == pytest.approx(flat[:3, :3].mean(), rel=1e-3), "the border is not diluted"
    assert (heat[groups == 1, :3, :3].min() > heat[groups == 1, 8:, 8:].max()).all()


def test_the_threshold_comes_from_normal_images_alone() -> None:
    shown, back, groups = spoilt()
    mixed, plain = task(Anomaly), task(Anomaly)
    mixed.settle(back, groups, shown, promise=0.1, level=0.95)
    normal = Seen(shown.images, shown.samples[:32])
    plain.settle(back[:32], groups[:32], normal, promise=0.1, level=0.95)
    assert mixed.card["alarm"] == plain.card["alarm"]
    unlabelled = task(Anomaly)
    unlabelled.settle(back[:32], groups[:32] - 1, normal, promise=0.1, level=0.95)
    assert unlabelled.card["alarm"] == plain.card["alarm"], "what has no class counts as normal"
    with pytest.raises(
        DataError, match=r"at most 1 % false alarms needs 99 normal validation images; got 32\. Hold out"
    ):
        task(Anomaly).settle(back, groups, shown, promise=0.01, level=0.95)
    nineteen = Seen(shown.images, shown.samples[:19])
    task(Anomaly).settle(back[:19], groups[:19], nineteen, promise=0.05, level=0.95)
    with pytest.raises(DataError, match=r"at most 5 % false alarms needs 19 .* got 18"):
        task(Anomaly).settle(back[:18], groups[:18], Seen(shown.images, shown.samples[:18]), promise=0.05, level=0.95)


def test_alarms_are_counted_kind_by_kind() -> None:
    shown, back, groups = spoilt()
    asks = task(Anomaly, groups=["good", "dent"])
    asks.settle(back, groups, shown, promise=0.1, level=0.95)
    report = asks.report(back, groups, shown)
    assert (report["normal"], report["abnormal"], report["groups"]) == (32, 8, ["good", "dent"])
    assert report["auc"]["value"] == 1.0
    kinds = {row["kind"]: row["alarms"]["value"] for row in report["alarm"]["by_kind"]}
    assert kinds["dent"] == 1.0
    assert kinds["good"] <= 0.1
    assert asks.headline(report, "auto")["against"]["words"] == "distance from the mean picture"
    json.dumps(report, allow_nan=False)


def test_without_anomalies_the_headline_is_the_promise() -> None:
    shown, back, groups = spoilt()
    asks, normal = task(Anomaly), Seen(shown.images, shown.samples[:32])
    bare = asks.report(back[:32], groups[:32] - 1, normal)
    assert asks.headline(bare, "auto") == {"name": "auc", "value": bare["auc"], "against": None}
    asks.settle(back[:32], groups[:32] - 1, normal, promise=0.1, level=0.95)
    headline = asks.headline(asks.report(back[:32], groups[:32] - 1, normal), "auto")
    assert headline["name"] == "false_alarms"
    assert headline["against"]["value"] == {"value": 0.1}


def test_an_inspection_says_score_verdict_and_place() -> None:
    shown, back, groups = spoilt()
    asks = task(Anomaly)
    preprocess = Preprocess(ImagePolicy(channels=1), (16, 16), (16, 16), "squash", (MEAN,), (STD,))
    framed = Seen(shown.images, shown.samples, [Frame((16, 32), preprocess)] * 40)
    before = asks.answers([str(i) for i in range(40)], back, framed, 3)
    assert before[0].abnormal is None, "without a threshold there is no verdict"
    asks.settle(back, groups, shown, promise=0.1, level=0.95)
    found = asks.answers([str(i) for i in range(40)], back, framed, 3)
    assert [answer.abnormal for answer in found[-8:]] == [True] * 8
    assert sum(bool(answer.abnormal) for answer in found[:32]) <= 4
    assert found[0].score == pytest.approx(asks.scores(back, shown)[0])
    assert found[-1].heat.shape == (16, 32)
    assert found[-1].heat[:3, :6].min() > found[-1].heat[8:, 16:].max()
    assert asks.unreadable("x", "truncated").error == "truncated"
