"""X or O: every number of the slides but for their misprints, the same network in torch, and one that learned."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import convlens as cl
from convlens.data.builtin import draw_xo
from convlens.errors import ConfigError, ShapeError
from convlens.lectures import xo
from convlens.models import layered
from convlens.reference import max_pool2d, relu
from parity import assert_parity, assert_traced

FIXED = {"device": "cpu", "threads": 1, "layout": "contiguous", "precision": "float32"}
BACK, FORWARD, CROSS = range(3)
COMPARED = """
-1 -1 -1 -1 -1 -1 -1 -1 -1
-1  X -1 -1 -1 -1  X  X -1
-1  X  X -1 -1  X  X -1 -1
-1 -1  X  1 -1  1 -1 -1 -1
-1 -1 -1 -1  1 -1 -1 -1 -1
-1 -1 -1  1 -1  1  X -1 -1
-1 -1  X  X -1 -1  X  X -1
-1  X  X -1 -1 -1 -1  X -1
-1 -1 -1 -1 -1 -1 -1 -1 -1
"""
PRINTED = {  # as on the slides, misprints and all
    BACK: [
        [0.77, -0.11, 0.11, 0.88, 0.55, -0.11, 0.88],
        [-0.11, 1.0, -0.11, 0.33, -0.11, 0.11, -0.11],
        [0.11, -0.11, 1.0, -0.33, 0.11, -0.11, 0.55],
        [0.11, 0.33, -0.33, 0.55, -0.33, 0.33, 0.33],
        [0.55, -0.11, 0.11, -0.33, 1.0, -0.11, 0.11],
        [-0.11, 0.11, -0.11, 0.33, -0.11, 1.0, -0.11],
        [0.33, -0.11, 0.55, 0.33, 0.11, -0.11, 0.77],
    ],
    FORWARD: [
        [0.38, -0.11, 0.55, 0.38, 0.11, -0.11, 0.77],
        [-0.11, 0.11, -0.11, 0.33, -0.11, 1.0, -0.11],
        [0.55, -0.11, 0.11, -0.33, 1.0, -0.11, 0.11],
        [0.38, 0.33, -0.33, 0.55, -0.33, 0.33, 0.33],
        [0.11, -0.11, 1.0, -0.33, 0.11, -0.11, 0.35],
        [-0.11, 1.0, -0.11, 0.33, -0.11, 0.11, -0.11],
        [0.77, -0.11, 0.11, 0.33, 0.55, -0.11, 0.33],
    ],
    CROSS: [
        [0.88, -0.55, 0.11, -0.11, 0.11, -0.55, 0.88],
        [-0.55, 0.55, -0.55, 0.88, -0.55, 0.55, -0.55],
        [0.11, -0.55, 0.55, -0.77, 0.55, -0.55, 0.11],
        [-0.11, 0.33, -0.77, 1.0, -0.77, 0.33, -0.11],
        [0.11, -0.55, 0.55, -0.77, 0.55, -0.55, 0.11],
        [-0.55, 0.55, -0.55, 0.88, -0.55, 0.55, -0.55],
        [0.38, -0.55, 0.11, -0.11, 0.11, -0.55, 0.88],
    ],
}
MISPRINTS = {  # where, and what stands there in truth
    BACK: {(0, 3): 0.33, (0, 6): 0.33, (3, 0): 0.33},
    FORWARD: {(0, 0): 0.33, (0, 3): 0.33, (3, 0): 0.33, (4, 6): 0.55},
    CROSS: {(0, 0): 0.33, (0, 6): 0.33, (1, 3): 0.33, (5, 3): 0.33, (6, 0): 0.33, (6, 6): 0.33},
}
POOLED = {  # in ninths
    BACK: [[9, 3, 5, 3], [3, 9, 3, 5], [5, 3, 9, 1], [3, 5, 1, 7]],
    FORWARD: [[3, 5, 9, 7], [5, 5, 9, 3], [9, 9, 1, 5], [7, 3, 5, 3]],
    CROSS: [[5, 3, 5, 3], [3, 9, 5, 1], [5, 5, 5, 1], [3, 1, 1, 3]],
}
POOLED_DEFORMED = {
    BACK: [[7, 5, 3, 5], [5, 5, 3, 3], [5, 1, 5, 7], [3, 5, 3, 1]],
    FORWARD: [[5, 3, 7, 1], [5, 5, 5, 5], [3, 5, 3, 3], [7, 1, 5, 1]],
    CROSS: [[3, 1, 3, 1], [1, 9, 1, 1], [1, 1, 1, 3], [3, 1, 1, -3]],
}


# the lecture ----------------------------------------------------------------------------------------------------------


def test_the_whole_pictures_differ_where_the_slide_says() -> None:
    compared = xo.compare(xo.X, xo.DEFORMED_X)
    assert str(compared) == COMPARED.strip("\n")
    assert np.array_equal(compared.first, xo.X)
    assert (compared.different, compared.score) == (16, xo.Fraction(49, 81))
    assert str(compared.score) == "49/81"
    assert xo.compare(xo.O, xo.O).score == 1
    assert xo.compare(xo.X, -xo.X).score == -1


def test_the_pictures_are_letters() -> None:
    assert xo.X.shape == xo.DEFORMED_X.shape == xo.O.shape == (9, 9)
    assert np.array_equal(xo.X, xo.X.T)
    assert np.array_equal(xo.X, xo.X[::-1])
    assert all(np.array_equal(xo.O, np.rot90(xo.O, turns)) for turns in range(4))
    assert xo.FEATURES.tolist()[CROSS] == np.maximum(xo.FEATURES[BACK], xo.FEATURES[FORWARD]).tolist()


@pytest.mark.parametrize("feature", PRINTED)
def test_the_maps_are_the_printed_ones_but_for_the_misprints(feature: int) -> None:
    found, printed = xo.cut(xo.match(xo.X, xo.FEATURES).value[feature]), np.array(PRINTED[feature])
    wrong = {(int(i), int(j)): float(found[i, j]) for i, j in np.argwhere(found != printed)}
    assert wrong == MISPRINTS[feature]


def test_one_slide_shows_a_map_under_another_feature() -> None:
    shown = xo.cut(xo.match(xo.X, xo.FEATURES[BACK]))
    assert (shown != xo.cut(xo.match(xo.X, xo.FEATURES[FORWARD]))).sum() == 20


def test_a_perfect_match_is_one_and_stands_where_the_feature_lies() -> None:
    maps = xo.match(xo.X, xo.FEATURES)
    assert np.argwhere(maps.value == 1).tolist() == [
        [BACK, 1, 1], [BACK, 2, 2], [BACK, 4, 4], [BACK, 5, 5],
        [FORWARD, 1, 5], [FORWARD, 2, 4], [FORWARD, 4, 2], [FORWARD, 5, 1], [CROSS, 3, 3],
    ]  # fmt: skip
    assert maps.value[FORWARD, 3, 3] == 5 / 9
    assert maps.trace((FORWARD, 3, 3)).steps == (("sum of 9 products", 5), ("divided by", 9))
    assert xo.match(xo.X, xo.DEFORMED_X).tolist() == [[49 / 81]]
    assert xo.match(-xo.FEATURES[CROSS], xo.FEATURES[CROSS]).tolist() == [[-1]]


def test_a_match_agrees_with_torch_in_value_gradients_and_traces() -> None:
    random = np.random.default_rng(0)
    inputs = {"image": random.standard_normal((6, 7)), "features": random.standard_normal((2, 3, 2))}

    def twin(image: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(image[None, None], features[:, None])[0] / 6

    assert_parity(xo.match, twin, inputs, traces=1000)
    assert_traced(xo.match(inputs["image"], inputs["features"][0]))


def test_decimals_are_cut_as_on_the_slides() -> None:
    cut = [0, 0.11, 0.22, 0.33, 0.44, 0.55, 0.66, 0.77, 0.88, 1]
    assert xo.cut([ninths / 9 for ninths in range(10)]).tolist() == cut
    assert xo.cut([-sum([1 / 9] * ninths) for ninths in range(10)]).tolist() == [-value for value in cut]
    assert xo.cut(-1.99, 0) == -1
    assert xo.cut(0.29) == 0.29  # though 0.29 * 100 is 28.999999999999996


@pytest.mark.parametrize(("image", "expected"), [(xo.X, POOLED), (xo.DEFORMED_X, POOLED_DEFORMED)])
def test_pooling_keeps_the_windows_at_the_edge(image: np.ndarray, expected: dict[int, list[list[int]]]) -> None:
    ninths = max_pool2d(xo.match(image, xo.FEATURES), 2, partial=True).value * 9
    assert np.rint(ninths).tolist() == list(expected.values())
    stages = xo.of_lecture().stages(image)
    kept = np.maximum(list(expected.values()), 0)
    assert np.rint(stages["pool1"].value * 9).tolist() == kept.tolist()
    assert np.rint(stages["flatten"].value * 9).tolist() == kept.ravel().tolist()


def test_relu_and_pooling_may_change_places() -> None:
    maps = xo.match(xo.DEFORMED_X, xo.FEATURES)
    assert (maps.value < 0).any()
    one, other = max_pool2d(relu(maps), 2, partial=True), relu(max_pool2d(maps, 2, partial=True))
    assert np.array_equal(one.value, other.value)


def test_the_vote_is_for_the_letter_whose_values_are_nearest() -> None:
    network, random = xo.of_lecture(), np.random.default_rng(0)
    ideal = [network.stages(letter)["flatten"].value for letter in (xo.X, xo.O)]
    for image in [xo.X, xo.DEFORMED_X, xo.O, *random.choice([-1, 1], (20, 9, 9))]:
        stages = network.stages(image)
        distances = [((stages["flatten"].value - values) ** 2).sum() for values in ideal]
        assert network.decide(image) == "XO"[int(np.argmin(distances))]
        assert np.diff(stages["vote"].value).item() == pytest.approx((distances[0] - distances[1]) / 2)
        assert stages["softmax"].value.sum() == pytest.approx(1)
    assert [network.decide(image) for image in (xo.X, xo.DEFORMED_X, xo.O)] == ["X", "X", "O"]


def test_every_number_can_be_traced() -> None:
    for result in xo.of_lecture().stages(xo.DEFORMED_X).values():
        assert_traced(result, 12)


# the same in torch ----------------------------------------------------------------------------------------------------


def some_network() -> xo.Network:
    """Two layers of features, with weights and biases of no meaning."""
    draw = np.random.default_rng(0).standard_normal
    filters = ((draw((3, 1, 3, 3)), draw(3)), (draw((5, 3, 3, 3)), draw(5)))
    return xo.Network(filters, (draw((2, 5)), draw(2)))


@pytest.mark.parametrize("network", [xo.of_lecture(), some_network()], ids=["lecture", "two layers"])
@pytest.mark.parametrize("image", [xo.X, xo.DEFORMED_X, xo.O], ids=["X", "deformed X", "O"])
def test_torch_comes_to_the_same_numbers_at_every_stage(network: xo.Network, image: np.ndarray) -> None:
    x = torch.tensor(image, dtype=torch.float64)[None, None]
    stages = network.stages(image)
    twin = network.twin()
    for stage, layer in zip(list(stages.values())[:-1], twin.children(), strict=True):
        x = layer(x)
        assert x[0].shape == stage.shape
        np.testing.assert_allclose(stage.value, x[0].detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(stages["softmax"].value, x.softmax(1)[0].detach().numpy(), rtol=0, atol=1e-12)


def test_a_network_of_torch_is_read_back() -> None:
    network = some_network()
    again = xo.Network.of(network.twin(), ("O", "X"))
    assert again.letters == ("O", "X")
    pairs = zip((*network.filters, network.vote), (*again.filters, again.vote), strict=True)
    assert all(np.array_equal(ours, theirs) for one, other in pairs for ours, theirs in zip(one, other, strict=True))


def test_numpy_alone_is_enough_for_the_story() -> None:
    code = "import sys, convlens.lectures.xo as xo; xo.of_lecture().decide(xo.X); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# without features, and with learned ones ------------------------------------------------------------------------------


def test_the_nearest_picture_has_the_smallest_squared_difference() -> None:
    images, _ = draw_xo(30, 9, seed=1)
    stored, _ = draw_xo(7, 9, seed=2)
    expected = [int(np.argmin([((a.astype(int) - b) ** 2).sum() for b in stored])) for a in images]
    assert len(set(expected)) > 3
    assert xo.nearest(images, stored).tolist() == expected
    assert xo.nearest([xo.O], [xo.O, xo.X, xo.O]).tolist() == [0]


def test_features_learned_from_random_ones_tell_the_letters_apart() -> None:
    """The lecture asks for more than 95 % on held-out images."""
    torch.manual_seed(0)
    network = layered.build(xo.layers(3), in_channels=1, outputs=2, size_px=9)
    before = xo.Network.of(network)
    model = cl.Model(network)
    model.fit(draw_xo(600, 9), epochs=15, preset="none", test_fraction=0, **FIXED)
    score = model.evaluate(draw_xo(300, 9, seed=1))["accuracy"]
    assert score["low"] > 0.95
    after = xo.Network.of(network)
    assert abs(after.filters[0][0] - before.filters[0][0]).max() > 0.1
    assert model.preprocess is not None
    images, _ = draw_xo(2, 9, seed=1)
    for image in images:
        x = model.preprocess(image)
        votes = after.stages(x[0, 0].numpy())["vote"].value
        np.testing.assert_allclose(votes, network(x)[0].detach().numpy(), rtol=0, atol=1e-5)


def test_the_layers_are_those_of_the_lecture() -> None:
    planned = layered.plan(xo.layers(3, 5), in_channels=1, outputs=2, size_px=9)
    assert [row.step.shape for row in planned] == [(3, 7, 7), (3, 4, 4), (5, 2, 2), (5, 1, 1), (5,), (2,)]


# errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (xo.X, xo.X[:8], r"Two pictures of one size, .* got \(9, 9\) and \(8, 9\), values from -1 to 1"),
        (xo.X, xo.X * 2, "of \\+1 and -1 only, .* values from -2 to 2. Use nearest"),
        ([1, -1], [1, 1], r"got \(2,\) and \(2,\)"),
    ],
)
def test_only_pictures_of_one_kind_are_compared(first: np.ndarray, second: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        xo.compare(first, second)


def test_a_picture_has_rows_of_one_length() -> None:
    with pytest.raises(ShapeError, match="rows of equal length"):
        xo.picture("## #")


def test_shapes_that_do_not_go_together_are_named() -> None:
    with pytest.raises(ShapeError, match=r"one image \(H, W\) and features .* got \(1, 9, 9\) and \(3, 3, 3\)"):
        xo.match(xo.X[None], xo.FEATURES)
    with pytest.raises(ShapeError, match="A window of 9 does not fit into 3"):
        xo.match(xo.FEATURES[0], xo.X)
    with pytest.raises(ShapeError, match=r"Images and stored pictures are .* got \(9, 9\) and \(1, 9, 9\)"):
        xo.nearest(xo.X, [xo.X])


def test_a_network_of_other_layers_is_refused() -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.Flatten(), torch.nn.Linear(147, 2))
    with pytest.raises(ConfigError, match=r"Conv2d, ReLU, MaxPool2d once or more, .* got Conv2d, Flatten, Linear"):
        xo.Network.of(other)
