from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.data.boxes import BACKGROUND, Box, boxes_text, read_boxes
from convlens.errors import DataError

edges = st.floats(-1e6, 1e6, allow_nan=False)
spans = st.floats(1e-3, 1e6)


@st.composite
def any_box(draw: st.DrawFn) -> Box:
    x, y, width, height = draw(edges), draw(edges), draw(spans), draw(spans)
    name = draw(st.text(min_size=1))
    return Box(name, x, y, x + width, y + height, draw(st.booleans()), draw(st.booleans()))


@given(st.lists(any_box(), max_size=4))
def test_the_text_of_boxes_reads_back_to_the_last_bit(boxes):
    text = boxes_text(boxes)
    assert read_boxes(text) == tuple(boxes)
    assert boxes_text(read_boxes(text)) == text
    assert json.loads(text) is not None


def test_equal_boxes_have_equal_texts_and_short_ones():
    whole, real = Box("a", 0, 1, 2, 3), Box("a", 0.0, 1.0, 2.0, 3.0)
    assert whole == real
    assert boxes_text([whole]) == boxes_text([real]) == '[["a",0,1,2,3]]'
    assert boxes_text([Box("ü", 0, 0, 0.1, 1, difficult=True, crowd=True)]) == '[["ü",0,0,0.1,1,"difficult","crowd"]]'
    assert boxes_text([]) == BACKGROUND
    assert read_boxes(BACKGROUND) == ()


def test_a_box_knows_its_measures():
    box = Box("a", 1, 2, 4, 8)
    assert (box.width, box.height, box.area, box.corners) == (3, 6, 18, (1, 2, 4, 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("", 0, 0, 1, 1), "needs the name of its class"),
        ((None, 0, 0, 1, 1), "needs the name of its class"),
        (("a", 2, 0, 2, 1), "x1 < x2"),
        (("a", 0, 3, 1, 2), "y1 < y2"),
        (("a", 0, 0, math.inf, 1), "finite edges"),
        (("a", math.nan, 0, 1, 1), "finite edges"),
    ],
)
def test_what_is_no_box_is_refused(values, message):
    with pytest.raises(DataError, match=message):
        Box(*values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat", "as a JSON list"),
        ("{}", "as a JSON list"),
        ("[" * 100_000, "as a JSON list"),
        ("[1]", r"as \[class, x1"),
        ('[["a",1,2,3]]', r"as \[class, x1"),
        ('[["a",0,0,"1",1]]', "must be numbers"),
        ('[["a",0,0,true,1]]', "must be numbers"),
        ('[["a",0,0,NaN,1]]', "finite edges"),
        (f'[["a",0,0,1{"0" * 400},1]]', "must be finite"),
        ('[["a",0,0,1,1,"small"]]', "may have the words difficult and crowd"),
        ('[["a",0,0,1,1,"crowd","difficult"]]', "may have the words difficult and crowd"),
        ("[[7,0,0,1,1]]", "needs the name"),
    ],
)
def test_what_is_no_text_of_boxes_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        read_boxes(text)
