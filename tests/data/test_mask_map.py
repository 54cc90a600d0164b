"""The map from raw values to classes: applied, written, read, and as people say it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from convlens.data.mask_map import COLOUR, MaskMap, text_value, value_text
from convlens.errors import ArtefactError, BadImage, ConfigError

RED, BLUE, BLACK, WHITE = (COLOUR + code for code in (0xFF0000, 0x0000FF, 0, 0xFFFFFF))
TWO = ("background", "cell")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_values_become_classes_whatever_their_type(dtype: type) -> None:
    raw = np.array([[0, 9], [255, 5]], dtype)
    found = MaskMap({0: 0, 9: 1, 5: 2}, ("a", "b", "c"), ignore=(255,)).apply(raw)
    assert (found.tolist(), found.dtype) == ([[0, 1], [255, 2]], np.uint8)


def test_values_without_a_class_are_refused_by_name() -> None:
    with pytest.raises(BadImage, match=r"^x\.png: .* no class: 7, 8; known are 0, 9; add them to data\.mask_values"):
        MaskMap({0: 0, 9: 1}, TWO).apply(np.uint8([[0, 7, 8]]), "x.png")


def test_what_other_values_become() -> None:
    raw = np.int32([[0, 1, 127, 128, 254, 255, 70_000]])
    assert MaskMap({0: 0, 255: 1}, TWO, rest="ignore").apply(raw).tolist() == [[0, 255, 255, 255, 255, 1, 255]]
    assert MaskMap({0: 0}, TWO, rest="foreground").apply(raw).tolist() == [[0, 1, 1, 1, 1, 1, 1]]
    assert MaskMap({0: 0, 255: 1}, TWO, rest="nearest").apply(raw).tolist() == [[0, 0, 0, 1, 1, 1, 1]]
    assert MaskMap({0: 0, 1: 1}, ("a", "b", "c"), rest="foreground").apply(raw[:, :3]).tolist() == [[0, 1, 2]]
    for value in (-1, 0):
        with pytest.raises(BadImage):
            MaskMap({5: 0}, TWO, rest="foreground").apply(np.int32([[value]]))


def test_colours_and_greys_of_one_set_meet() -> None:
    meaning = MaskMap({BLACK: 0, RED: 1, WHITE: 2}, ("background", "red", "white"))
    assert meaning.apply(np.int32([[RED, BLACK, WHITE]])).tolist() == [[1, 0, 2]]
    assert meaning.apply(np.uint8([[0, 255]])).tolist() == [[0, 2]], "a mask of that set without any colour"
    assert MaskMap({0: 0, 255: 1, RED: 2}, ("a", "b", "c")).apply(np.int32([[WHITE, RED]])).tolist() == [[1, 2]]
    assert MaskMap({0: 0, 255: 1}, TWO, rest="ignore").apply(np.int32([[WHITE, RED, BLACK]])).tolist() == [[1, 255, 0]]
    with pytest.raises(BadImage, match="#0000ff"):
        meaning.apply(np.int32([[BLUE]]))  # not white, which is grey 255


def test_the_nearest_colour_is_nearest_in_rgb() -> None:
    meaning = MaskMap({BLACK: 0, RED: 1, BLUE: 2}, ("background", "red", "blue"), rest="nearest")
    raw = np.int32([[COLOUR + 0xF01008, COLOUR + 0x0A0BF0, COLOUR + 0x202020, COLOUR + 0x0000FF]])
    assert meaning.apply(raw).tolist() == [[1, 2, 0, 2]]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (({0: 0}, ("one",)), "2 to 255 classes"),
        (({0: 0}, ("a", "a")), "different names"),
        (({0: 0, 1: 2}, TWO), "no name"),
        (({}, TWO), "got none"),
        (({0: 0, 1: 1}, TWO, (1,)), "ignored too"),
        (({0: 0, 1: 1}, TWO, (), "guess"), "'guess'"),
    ],
)
def test_maps_that_contradict_themselves_are_refused(fields: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        MaskMap(*fields)


# -------------------------------------------------------------------------------------------------------- as it is kept


@pytest.mark.parametrize(
    "meaning",
    [
        MaskMap({0: 0, 9: 1}, TWO, ignore=(255, -1)),
        MaskMap({BLACK: 0, RED: 1}, TWO, rest="nearest"),
        MaskMap({0: 0}, TWO, rest="foreground"),
    ],
)
def test_a_map_is_written_and_read_back(meaning: MaskMap) -> None:
    again = MaskMap.from_json(json.loads(json.dumps(meaning.to_json())))
    assert again == meaning
    assert again.listed == meaning.listed


def test_colours_are_written_as_people_do() -> None:
    assert MaskMap({BLACK: 0, RED: 1}, TWO).to_json()["values"] == {"#000000": 0, "#ff0000": 1}
    assert [text_value(text) for text in ("red", "#0000FF", " 7 ", "-1")] == [RED, BLUE, 7, -1]
    assert [value_text(value) for value in (RED, 7, -1)] == ["#ff0000", "7", "-1"]
    for text in ("#ff00", "1.5", "reddish", "", "#-12345"):
        with pytest.raises(ConfigError, match="not a value of a mask"):
            text_value(text)


def test_damaged_maps_are_refused() -> None:
    good = MaskMap({0: 0, 9: 1}, TWO).to_json()
    for changes in ({"version": 2}, {"values": {"x": 0}}, {"values": 3}, {"names": ["a"]}, {"rest": "x"}, {"more": 1}):
        with pytest.raises(ArtefactError):
            MaskMap.from_json(good | changes)
    for bad in ({}, [], None):
        with pytest.raises(ArtefactError):
            MaskMap.from_json(bad)


# -------------------------------------------------------------------------------------------------- as people say it


@pytest.mark.parametrize(
    ("option", "meaning"),
    [
        ({"0": "background", "255": "cell"}, MaskMap({0: 0, 255: 1}, TWO)),
        ({"255": "cell", "0": "background"}, MaskMap({0: 0, 255: 1}, TWO)),
        ({"2": "b", "1": "a", "3": "b"}, MaskMap({2: 0, 1: 1, 3: 0}, ("b", "a"))),
        ({"0": "background", "1": "cell", "2": None, "3": "ignore"}, MaskMap({0: 0, 1: 1}, TWO, ignore=(2, 3))),
        ({"0": "background", "*": "cell"}, MaskMap({0: 0}, TWO, rest="foreground")),
        ({"0": "a", "1": "x", "2": "y", "*": "x"}, MaskMap({0: 0, 1: 2, 2: 1}, ("a", "y", "x"), rest="foreground")),
        ({"0": "background", "1": "cell", "*": None}, MaskMap({0: 0, 1: 1}, TWO, rest="ignore")),
        ({"0": "background", "255": "cell", "*": "nearest"}, MaskMap({0: 0, 255: 1}, TWO, rest="nearest")),
        ({"black": "background", "#FF0000": "cell"}, MaskMap({BLACK: 0, RED: 1}, TWO)),
        (["background", "cell"], MaskMap({0: 0, 1: 1}, TWO)),
        ('{"0": "background", "255": "cell"}', MaskMap({0: 0, 255: 1}, TWO)),
        ('["background", "cell"]', MaskMap({0: 0, 1: 1}, TWO)),
    ],
)
def test_what_people_say(option: Any, meaning: MaskMap) -> None:
    assert MaskMap.parse(option) == meaning


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (7, "must be like"),
        ('"cell"', "must be like"),
        ("{0: background}", "must be like"),
        ('{"0": "a", "0": "b"}', "named twice"),
        ({"0": "a", "00": "b"}, "twice what 0 means"),
        ({"0": None, "00": None}, "twice"),
        ({"0": "a", "1": ""}, "needs a name"),
        ({"0": "a", "1": "b\nc"}, "control character"),
        ({"0": "a", "1": 1.5}, "text"),
        ({"cat": "a", "1": "b"}, "'cat' is not a value"),
        ({"0": "a"}, "2 to 255 classes"),
        (["a"], "2 to 255 classes"),
        ({"*": "a", "0": None}, "2 to 255 classes"),
    ],
)
def test_what_cannot_be_meant(option: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        MaskMap.parse(option)
