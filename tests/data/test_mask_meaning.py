"""What the values of masks are taken for, and which are asked about."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convlens.data.findings import Finding
from convlens.data.mask_map import COLOUR, MaskMap
from convlens.data.mask_meaning import choose, propose
from convlens.data.masks import ValueCounts, histogram, read_mask
from convlens.errors import ConfigError, DataError

RED, BLUE, BLACK = (COLOUR + code for code in (0xFF0000, 0x0000FF, 0))


def of(*masks: Sequence[int]) -> ValueCounts:
    return histogram(np.array([mask], np.int32) for mask in masks)


def only(meaning: tuple[MaskMap, tuple[Finding, ...]]) -> tuple[MaskMap, Finding]:
    (finding,) = meaning[1]
    return meaning[0], finding


def objects(most: int = 30, masks: int = 20) -> ValueCounts:
    """Masks of 1, 2, .., n numbered objects, another n in each."""
    return of(*(np.repeat([*[0] * 99, *range(1, most - index + 1)], 4).tolist() for index in range(masks)))


@pytest.mark.parametrize("value", [1, 2, 128, 255, 40_000])
def test_0_and_another_value_are_background_and_foreground(value: int) -> None:
    meaning, finding = only(propose(of([0, 0, 0, value])))
    assert meaning == MaskMap({0: 0, value: 1}, ("background", "foreground"))
    assert (finding.kind, finding.severity) == ("mask-values", "note")
    assert finding.message == f"The values of 1 masks: 0 is background (75 %), {value} is foreground (25 %)."


def test_indices_are_classes() -> None:
    meaning, finding = only(propose(of([0, 2], [0, 1], [0, 3, 3])))
    assert meaning == MaskMap({0: 0, 1: 1, 2: 2, 3: 3}, ("background", "class 1", "class 2", "class 3"))
    assert "3 is class 3 (28.6 %)" in finding.message
    gaps = MaskMap({0: 0, 5: 1, 15: 2}, ("background", "class 5", "class 15"))
    assert only(propose(of([0, 5], [0, 15])))[0] == gaps


def test_a_part_within_a_part_is_a_class_not_a_numbered_object() -> None:
    organ = of([0, 1, 2], [0, 1], [0, 1, 2], [0, 1])
    assert only(propose(organ))[0].names == ("background", "class 1", "class 2")


def test_255_beside_small_indices_does_not_count() -> None:
    meaning, finding = only(propose(of([0, 1, 1, 255], [0, 20, 7, 7])))
    assert meaning == MaskMap(
        {0: 0, 1: 1, 7: 2, 20: 3}, ("background", "class 1", "class 7", "class 20"), ignore=(255,)
    )
    assert "255 does not count (12.5 %)" in finding.message


@pytest.mark.parametrize(
    "masks",
    [
        ([0, 0, 1, 1], [0, 0, 255]),  # never together: some masks are 0 and 1, others 0 and 255
        ([0, 1, 255, 255, 255],),  # more of it than of the classes
        ([0, 128, 255], [0, 128, 255, 128]),  # three greys
    ],
)
def test_255_that_may_be_a_class_is_asked_about(masks: tuple[list[int], ...]) -> None:
    with pytest.raises(DataError, match=r"whether 255 is a class or marks pixels .* The masks hold "):
        propose(of(*masks))


def test_names_are_given_in_the_order_of_the_values() -> None:
    assert only(propose(of([0, 255]), ["sky", "cell"]))[0] == MaskMap({0: 0, 255: 1}, ("sky", "cell"))
    assert only(propose(of([1, 2], [3]), ["a", "b", "c"]))[0] == MaskMap({1: 0, 2: 1, 3: 2}, ("a", "b", "c"))
    more = ["background", "a", "b", "c"]
    wanted = MaskMap({0: 0, 1: 1, 2: 2, 3: 3}, tuple(more))
    assert only(propose(of([0, 3], [0, 1]), more))[0] == wanted, "2 is rare"
    assert only(propose(of([0, 3, 3, 255]), more))[0] == MaskMap(wanted.values, wanted.names, ignore=(255,))
    assert only(propose(of([0, 2]), more))[0] == wanted
    with pytest.raises(DataError, match="names 2 classes, but the masks hold"):
        propose(of([0, 5, 9], [0, 5]), ["background", "cell"])
    for counts in (of([0, 1, 255, 1]), of([0, 255])):
        with pytest.raises(DataError, match="whether 255"):
            propose(counts, ["a", "b", "c"])
    with pytest.raises(ConfigError, match="at least two"):
        propose(of([0, 1]), ["a"])


def test_numbered_objects_are_one_class() -> None:
    meaning, finding = only(propose(objects()))
    assert meaning == MaskMap({0: 0}, ("background", "foreground"), rest="foreground")
    assert "number their objects, up to 30 in one mask" in finding.message
    assert "objects that touch" in finding.message
    assert only(propose(objects(), ["background", "nucleus"]))[0].names == ("background", "nucleus")
    assert only(propose(objects(300, 5)))[0].rest == "foreground", "with 254 and 255 among them"
    assert only(propose(objects(5, 4), ["background", "nucleus"]))[0].rest == "foreground", "two names, six values"
    with pytest.raises(DataError, match="3 classes named"):
        propose(objects(), ["a", "b", "c"])


@pytest.mark.parametrize("counts", [objects(6, 6), objects(30, 1), objects(90, 4)])
def test_few_numbers_that_may_be_objects_or_classes_are_asked_about(counts: ValueCounts) -> None:
    with pytest.raises(DataError, match="classes, numbered objects or no masks") as caught:
        propose(counts)
    assert 'data.mask_values = {"0": "background", "1": "class 1"' in str(caught.value)
    names = [str(value) for value in counts.pixels]
    assert only(propose(counts, names))[0].rest == "error", "as many names as values: classes"


def test_a_class_map_with_many_classes_is_no_map_of_objects() -> None:
    draw = np.random.default_rng(0)
    city = of(*([0, *draw.choice(np.arange(1, 34), 12, replace=False).tolist()] for _ in range(40)))
    assert len(only(propose(city))[0].names) == 34
    rooms = of(*([0, *draw.choice(np.arange(1, 151), 40, replace=False).tolist()] for _ in range(60)))
    with pytest.raises(DataError, match="which of so many values are classes"):
        propose(rooms)
    assert len(only(propose(rooms, [f"thing {index}" for index in range(151)]))[0].names) == 151


def smeared(quality: int) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.zeros((64, 64), np.uint8)
    drawn[10:40, 15:50] = 255
    buffer = io.BytesIO()
    Image.fromarray(drawn).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)), drawn


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_what_jpeg_leaves_of_black_and_white_is_divided_at_128(quality: int) -> None:
    raw, drawn = smeared(quality)
    meaning, finding = only(propose(histogram([raw])))
    assert meaning == MaskMap({0: 0, 255: 1}, ("background", "foreground"), rest="nearest")
    assert (finding.kind, finding.severity) == ("smeared-mask", "warning")
    assert "128 and more was read as foreground (25.6 %)" in finding.message
    np.testing.assert_array_equal(meaning.apply(raw), drawn // 255)
    assert only(propose(histogram([raw]), ["a", "b"]))[0].names == ("a", "b")
    with pytest.raises(DataError, match="3 classes"):
        propose(histogram([raw]), ["a", "b", "c"])


def test_a_smear_between_other_levels_is_not_taken_for_black_and_white() -> None:
    for counts in (of(list(range(256))), of([*[0] * 500, *range(1, 120)]), of([0] * 9 + [255] * 9, range(0, 256, 5))):
        with pytest.raises(DataError):
            propose(counts)


def test_photographs_are_no_maps_of_objects() -> None:
    draw = np.random.default_rng(0)
    photos = [draw.integers(0, 100 + index, (60, 60)).astype(np.uint8) for index in range(20)]
    counts = histogram(photos)
    assert counts.running == 20
    for names in (None, ["background", "cell"]):
        with pytest.raises(DataError, match="no masks at all"):
            propose(counts, names)


def test_a_few_colours_are_classes_named_by_colour() -> None:
    odd = COLOUR + 0x123456
    meaning, finding = only(propose(of([BLACK, BLACK, RED], [BLACK, BLUE, odd])))
    names = ("background", "blue", "#123456", "red")
    assert meaning == MaskMap({BLACK: 0, BLUE: 1, odd: 2, RED: 3}, names)
    assert "black is background (50 %), blue is class blue (16.7 %), #123456 is class #123456" in finding.message
    no_black, finding = only(propose(of([RED, BLUE])))
    assert no_black.names == ("blue", "red")
    assert "none is black" in finding.message
    assert only(propose(of([BLACK, RED]), ["ground", "car"]))[0] == MaskMap({BLACK: 0, RED: 1}, ("ground", "car"))


def test_colours_that_say_too_little_are_asked_about() -> None:
    for counts, names, says in (
        (of(range(COLOUR, COLOUR + 65 * 256, 256)), None, "which of 65 colours"),
        (of([BLACK, RED, BLUE]), ["a", "b", "c"], "which name belongs to which colour"),
        (of([RED, BLUE]), ["a", "b"], "which name belongs"),
        (of([300, RED]), None, "colours and numbers"),
    ):
        with pytest.raises(DataError, match=says):
            propose(counts, names)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (of([0, 0]), "The masks hold 0 in 100 %"),
        (of([255]), "at least two values"),
        (histogram([]), "hold nothing"),
        (of([-1, 0, 1]), "below 0"),
        (of([1, 2, 3]), "background, for none is 0"),
        (of([0, *range(1, 3000, 7)], [0, 5]), "so many values"),
    ],
)
def test_what_cannot_be_told_is_an_error(counts: ValueCounts, says: str) -> None:
    with pytest.raises(DataError, match=says):
        propose(counts)


def test_the_error_shows_the_histogram_and_what_to_write() -> None:
    with pytest.raises(DataError) as caught:
        propose(of([1, 1, 1, 2, 2, 3, 4]))
    assert str(caught.value) == (
        "It cannot be told which value is the background, for none is 0. The masks hold 1 in 42.9 % of the pixels "
        "(1 of 1 masks), 2 in 28.6 % (1), 3 in 14.3 % (1), 4 in 14.3 % (1). Say what each value means: "
        'data.mask_values = {"1": "background", "2": "class 1", "3": "class 2", "*": "class 3"}; '
        "'ignore' for pixels that do not count, '*' for all other values."
    )


# ------------------------------------------------------------------------------------------------------- as users say


def test_the_user_decides() -> None:
    counts = of([0, 0, 1, 2])
    meaning, finding = only(choose(counts, {"0": "background", "1": "cell", "2": None}))
    assert meaning == MaskMap({0: 0, 1: 1}, ("background", "cell"), ignore=(2,))
    says = "as data.mask_values says, background has 50 %, cell has 25 %, what does not count has 25 % of the pixels"
    assert says in finding.message
    assert choose(counts) == propose(counts)
    assert choose(counts, ["a", "b", "c"]) == propose(counts, ["a", "b", "c"])
    assert only(choose(objects(), '{"0": "background", "*": "cell"}'))[0].rest == "foreground"


def test_values_the_user_forgot_are_an_error_and_needless_ones_a_warning() -> None:
    counts = of([0, 0, 1, 2])
    with pytest.raises(DataError, match=r"says nothing of 2\. The masks hold 0 in 50 %"):
        choose(counts, {"0": "background", "1": "cell"})
    assert len(choose(counts, {"0": "background", "1": "cell", "*": "ignore"})[1]) == 1
    _, findings = choose(counts, {"0": "background", "1": "cell", "2": "cell", "255": "edge"})
    assert [(f.kind, f.severity) for f in findings] == [("mask-values", "note"), ("unused-mask-value", "warning")]
    assert "occur in no mask: 255" in findings[1].message


@pytest.mark.parametrize("option", [{"black": "background", "white": "cell"}, {"0": "background", "#ffffff": "cell"}])
def test_greys_may_be_named_as_colours(option: dict[str, Any]) -> None:
    raw = np.uint8([[0, 255]])
    meaning, _ = only(choose(histogram([raw]), option))
    assert meaning.apply(raw).tolist() == [[0, 1]]
    coloured = np.int32([[BLACK, RED, COLOUR + 0xFFFFFF]])
    named, _ = only(choose(histogram([coloured]), {"0": "background", "255": "cell", "*": "ignore"}))
    assert named.apply(read_mask(np.uint8([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]]))).tolist() == [[0, 1, 255]]
