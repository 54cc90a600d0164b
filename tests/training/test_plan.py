"""What is open becomes decided, with a reason; what was asked stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

import rig
from convlens.config import Config
from convlens.data.symmetry import mirror_test
from convlens.errors import ConfigError, ShapeError
from convlens.training.defaults import Facts, complete
from convlens.training.finder import find_rate
from convlens.training.plan import make_plan


def test_nothing_stays_open_and_everything_chosen_has_a_reason(tmp_path: Path) -> None:
    config, data = rig.prepared(tmp_path)
    config, _ = make_plan(rig.network(), config, data, from_scratch=True)
    left = [name for name, value, _ in config.rows() if value == "auto" and name.split(".")[0] in ("train", "augment")]
    assert left == []
    assert config.train.epochs == 3
    assert config.origins["train.epochs"] == "argument"
    assert config.origins["train.optimiser"].startswith("chosen: ")


class TwoInTraining(nn.Sequential):
    """Gives an answer, and a second one while it is trained."""

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = super().forward(x)
        return (x, x) if self.training else x


def test_a_network_that_gives_more_in_training_is_refused_before_it(tmp_path: Path) -> None:
    config, data = rig.prepared(tmp_path)
    with pytest.raises(ShapeError, match=r"TwoInTraining gives no tensor but a tuple of 2"):
        make_plan(TwoInTraining(nn.Flatten(), nn.Linear(100, 3)), config, data, from_scratch=True)


def test_a_batch_of_one_is_refused_where_a_norm_would_see_one_value(tmp_path: Path) -> None:
    config, data = rig.prepared(tmp_path, batch_size=1)
    network = nn.Sequential(nn.Flatten(), nn.Linear(100, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(ConfigError, match=r"needs two images or more in a batch; got 1, with train\.batch_size=1\."):
        make_plan(network, config, data, from_scratch=True)
    assert network[2].num_batches_tracked == 0
    make_plan(rig.network(), config, data, from_scratch=True)  # the norm of a map has many values


def test_more_images_need_fewer_epochs_and_the_user_wins() -> None:
    def epochs(images: int, **options: object) -> int:
        facts = Facts(train_images=images, size_px=28, from_scratch=True, normalised=True)
        return int(complete(Config.build({f"train.{k}": v for k, v in options.items()}), facts).train.epochs)

    assert epochs(1_000) > epochs(50_000) >= epochs(10_000_000) >= 1
    assert epochs(1_000, epochs=2) == 2


def test_the_rate_follows_optimiser_and_batch() -> None:
    facts = Facts(train_images=50_000, size_px=28, from_scratch=True, normalised=True)
    sgd, small, adam = (
        float(complete(Config.build(layer), facts).train.rate)
        for layer in ({}, {"train.batch_size": 32}, {"train.optimiser": "adamw"})
    )
    assert small == sgd / 2
    bare = replace(facts, normalised=False)
    assert float(complete(Config(), bare).train.rate) < sgd / 5, "a network without norms bears less"
    assert adam < sgd / 10


def test_a_detector_that_starts_from_trained_weights_learns_at_a_lower_rate() -> None:
    config = Config.build({"task": "detect", "train.batch_size": 16})
    facts = Facts(train_images=200, size_px=320, from_scratch=True, normalised=True)
    fresh, tuned = (complete(config, replace(facts, from_scratch=fresh)) for fresh in (True, False))
    assert float(tuned.train.rate) < float(fresh.train.rate) / 2
    assert tuned.train.epochs == fresh.train.epochs
    assert float(tuned.train.depth_decay) < 1.0 == float(fresh.train.depth_decay)
    assert "from trained weights" in tuned.origins["train.rate"] + tuned.origins["train.optimiser"]


def test_mirror_images_of_arrows_mislead_and_of_discs_do_not() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (400, 14, 14, 1), dtype=np.uint8)
    targets = np.arange(400) % 2
    images[targets == 0, 4:10, :6] += 90  # class 0 is bright on the left, class 1 on the right
    images[targets == 1, 4:10, 8:] += 90
    assert mirror_test(images, targets, np.arange(400)).gain < 0

    level = rng.integers(0, 60, (400, 14, 14, 1), dtype=np.uint8)
    for image, target in zip(level, targets, strict=True):
        row = 2 if target else 9  # class 0 is bright at the bottom, class 1 at the top, left or right alike
        column = rng.integers(0, 10)
        image[row : row + 3, column : column + 4] += 150
    found = mirror_test(level, targets, np.arange(400))
    assert found.gain >= 0
    assert str(found.questions) in str(found)


def test_the_rate_finder_leaves_the_network_alone_and_finds_a_rate_that_learns(tmp_path: Path) -> None:
    config, data = rig.prepared(tmp_path)
    network = rig.network()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    config, hardware = make_plan(network, config, data, from_scratch=True)
    curve = find_rate(network, config, data, hardware)
    assert all((t == before[name]).all() for name, t in network.state_dict().items())
    assert list(curve.rates) == sorted(curve.rates)
    assert 1e-5 < curve.suggestion < 3
    made = rig.engine(tmp_path, epochs=4, rate=curve.suggestion)
    assert made.fit()[-1]["train_loss"] < 0.6 * made.history[0]["train_loss"] + 0.1
