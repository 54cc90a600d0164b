"""The linear probe: it is what scikit-learn fits, it reads only training images, and it leaves the network alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import rig
from convlens.data.prepare import Prepared
from convlens.training import probe as module
from convlens.training.features import compute_features
from convlens.training.plan import make_plan
from convlens.training.probe import answer, fit, linear_probe


def prepared(folder: Path) -> Prepared:
    return rig.prepared(folder)[1]


def labelled(data: Prepared, targets: np.ndarray) -> Prepared:
    return replace(data, answers=replace(data.answers, values=targets))


def scored(network: nn.Module, data: Prepared) -> dict:
    return linear_probe(network, data, device="cpu", level=0.95, seed=0)


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_it_is_what_scikit_learn_fits(penalty: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = rng.normal(size=(200, 5)) + 0.7 * np.eye(3, 5)[y]
    reference = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    fitted = fit(torch.from_numpy(x).float(), torch.from_numpy(y), 3, penalty)
    ours = answer(torch.from_numpy(x).float(), fitted).softmax(1).numpy()
    np.testing.assert_allclose(ours, reference.predict_proba(x), atol=2e-3)


def test_it_scores_validation_and_test_with_interval_and_leaves_the_network_alone(tmp_path: Path) -> None:
    network, data = rig.network(), prepared(tmp_path)
    network[2].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = scored(network, data)
    assert {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])} == set()
    assert [module.training for module in network] == [True, True, False, True, True, True, True]
    assert (found["features"], found["train_images"]) == (64, len(data.split.train))
    for part in ("valid", "test"):
        score = found[part]["accuracy"]
        assert score["n"] == found[part]["n"] == len(getattr(data.split, part))
        assert 0.8 < score["low"] < score["value"] <= 1
        assert set(found[part]) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "n", "level"}
    assert found == scored(network, data), "the same every time"


def test_test_images_decide_nothing_and_the_penalty_is_chosen_on_validation(tmp_path: Path) -> None:
    network, data = rig.network(), prepared(tmp_path)
    found = scored(network, data)
    shuffled = data.targets.copy()
    shuffled[data.split.test] = np.roll(shuffled[data.split.test], 1)
    other = scored(network, labelled(data, shuffled))
    assert other["valid"] == found["valid"]
    assert other["test"]["accuracy"]["value"] < found["test"]["accuracy"]["value"]
    noise = data.targets.copy()
    noise[data.split.valid] = (noise[data.split.valid] + 1) % 3
    assert scored(network, labelled(data, noise))["penalty"] == 0.1, "where all answers are wrong, be least sure"
    assert found["penalty"] < 0.1


def test_without_validation_or_test(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    nobody = np.zeros(0, np.int64)
    found = scored(rig.network(), replace(data, split=replace(data.split, valid=nobody)))
    assert found["penalty"] == 0.01
    assert "valid" not in found
    assert "test" in found
    found = scored(rig.network(), replace(data, split=replace(data.split, test=nobody)))
    assert "test" not in found


def test_at_most_so_many_images_are_read_and_none_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, data, seen = rig.network(), prepared(tmp_path), []
    network[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    scored(network, data)
    assert sum(seen) == len(data.targets) + 1, "and one for the shape"
    monkeypatch.setattr(module, "MOST_IMAGES", 20)
    assert scored(network, data)["train_images"] == 20


def test_features_known_already_are_not_computed_again(tmp_path: Path) -> None:
    network, seen = rig.network(), []
    config, data = rig.prepared(tmp_path, finetune="head")
    config, hardware = make_plan(network, config, data, from_scratch=False)
    known = compute_features(network, config, data, hardware)
    expected = scored(network, data)
    network[0].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    found = linear_probe(network, data, device="cpu", level=0.95, seed=0, known=known)
    assert sum(seen) == len(data.split.test) + 1
    assert found["test"]["accuracy"] == expected["test"]["accuracy"]
    seen.clear()
    linear_probe(network, data, device="cpu", level=0.95, seed=0, known=replace(known, of_changed=True))
    assert sum(seen) == len(data.split.test) + len(data.split.train) + 1, "changed pictures are not the images"


def test_maps_before_a_convolutional_head_count_by_their_mean(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = scored(network, prepared(tmp_path))
    assert found["features"] == 6
