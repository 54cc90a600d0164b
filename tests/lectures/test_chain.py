"""The lecture that runs from an image to probabilities: its numbers, its slips, its twin, its traces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convlens.lectures import chain
from parity import assert_traced

RIGHT = {
    "conv": [[2, 3, 2], [0, 2, 1], [-2, 1, 0]],
    "relu": [[2, 3, 2], [0, 2, 1], [0, 1, 0]],
    "pool": [[3, 3], [2, 2]],
    "flatten": [3, 3, 2, 2],
    "hidden": [8.1, 7.2, 7.5, 7.1],
    "hidden relu": [8.1, 7.2, 7.5, 7.1],
    "output": [9.74, 6.68],
    "softmax": [0.9552122969502134, 0.04478770304978672],
}
PRINTED = {  # the slides; what they do not show follows from what they do
    **RIGHT,
    "hidden": [8, 7.1, 7.4, 7],
    "hidden relu": [8, 7.1, 7.4, 7],
    "output": [9.61, 6.49],
    "softmax": [0.9577102281579662, 0.04228977184203383],
}


@pytest.mark.parametrize(("as_printed", "expected"), [(False, RIGHT), (True, PRINTED)], ids=["right", "as printed"])
def test_every_stage_has_its_value(as_printed: bool, expected: dict[str, list[float]]) -> None:
    stages = chain.stages(as_printed=as_printed)
    assert [stage.name for stage in stages] == list(expected)
    for stage in stages:
        assert stage.result.shape == np.shape(expected[stage.name])
        np.testing.assert_allclose(stage.result.value, expected[stage.name], rtol=0, atol=1e-12, err_msg=stage.name)


def test_the_slides_are_quoted_as_they_are() -> None:
    shown = {stage.name: stage.printed.tolist() for stage in chain.stages() if stage.printed is not None}
    assert shown == {
        "conv": [[2, 3, 2], [0, 2, 1], [-2, 1, 0]],
        "flatten": [3, 3, 2, 2],
        "hidden relu": [8, 7.1, 7.4, 7],
        "output": [9.61, 6.49],
        "softmax": [0.95, 0.04],
    }


def test_the_slips_are_where_the_slides_differ() -> None:
    right = {stage.name: stage.agrees for stage in chain.stages()}
    assert [name for name, agrees in right.items() if agrees is False] == ["hidden relu", "output"]
    assert [name for name, agrees in right.items() if agrees is None] == ["relu", "pool", "hidden"]
    assert {stage.agrees for stage in chain.stages(as_printed=True)} == {True, None}
    assert all(stage.slip for stage in chain.stages() if stage.agrees is False)


def test_a_value_in_another_order_does_not_agree() -> None:
    stage = chain.stages()[0]
    turned = chain.Stage(stage.name, stage.result, np.array(stage.printed)[::-1], "")
    assert turned.agrees is False


def test_torch_comes_to_the_same_numbers_at_every_stage() -> None:
    twins, stages = chain.twin_stages(), chain.stages()
    assert list(twins) == [stage.name for stage in stages]
    for stage in stages:
        assert twins[stage.name].shape == stage.result.shape
        np.testing.assert_allclose(twins[stage.name], stage.result.value, rtol=0, atol=1e-12, err_msg=stage.name)


def test_the_twin_is_one_network() -> None:
    image = torch.tensor(chain.IMAGE, dtype=torch.float64)
    chances = chain.twin()(image[None, None]).softmax(1)
    np.testing.assert_allclose(chances.detach().numpy(), [RIGHT["softmax"]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("as_printed", [False, True])
def test_every_number_can_be_traced(as_printed: bool) -> None:
    for stage in chain.stages(as_printed=as_printed):
        assert_traced(stage.result)
