from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from convlens.data import shapes_set
from convlens.data.shapes_set import CONTRAST, MOST, MOST_OVERLAP, SHAPES, make_shapes
from convlens.errors import DataError


@pytest.fixture(scope="module")
def drawn():
    return make_shapes(200, 64)


def test_pictures_are_bytes_and_boxes_lie_inside(drawn):
    images, boxes = drawn
    assert (images.shape, images.dtype, len(boxes)) == ((200, 64, 64, 3), np.uint8, 200)
    for box in (box for found in boxes for box in found):
        assert 0 <= box.x1 < box.x2 <= 64
        assert 0 <= box.y1 < box.y2 <= 64
    grey = (images == images[..., :1]).all(axis=(1, 2, 3))
    assert 30 < grey.sum() < 70


def test_numbers_classes_and_sizes_vary(drawn):
    _, boxes = drawn
    assert set(map(len, boxes)) == set(range(MOST + 1))
    names = Counter(box.name for found in boxes for box in found)
    assert set(names) == set(SHAPES)
    assert min(names.values()) > 0.8 * max(names.values())
    sides = np.array([max(box.width, box.height) for found in boxes for box in found])
    assert (sides < 0.2 * 64).mean() > 0.1
    assert (sides > 0.4 * 64).mean() > 0.1


def test_boxes_hardly_overlap(drawn):
    shares = []
    for found in drawn[1]:
        for i, one in enumerate(found):
            for other in found[:i]:
                width = min(one.x2, other.x2) - max(one.x1, other.x1)
                height = min(one.y2, other.y2) - max(one.y1, other.y1)
                shares.append(max(width, 0) * max(height, 0) / min(one.area, other.area))
    assert 0 < max(shares) <= MOST_OVERLAP + 1e-9


def test_a_box_is_as_large_as_what_is_drawn(monkeypatch):
    """On a plain ground without noise, the pixels that changed fill the box to a pixel or two."""
    monkeypatch.setattr(shapes_set, "_waves", lambda rng, y, x, size_px: np.zeros((len(y), len(x)), np.float32))
    seen = Counter[str]()
    for seed in range(40):
        layout = np.random.default_rng(seed)
        placed = shapes_set._place(layout, 128)[:1]
        for box, _, _ in placed:
            picture = shapes_set._draw(layout, Still(), 128, placed).astype(int)  # type: ignore[arg-type]
            ground = picture[0, 0] if box.x1 > 2 or box.y1 > 2 else picture[-1, -1]
            change = np.abs(picture - ground).sum(axis=2) > 0.3 * CONTRAST
            rows, columns = np.flatnonzero(change.any(axis=1)), np.flatnonzero(change.any(axis=0))
            edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert edges == pytest.approx(box.corners, abs=2.5)
            share = change.sum() / box.area
            expected = {"disc": (0.7, 0.87), "square": (0.49, 1.03), "triangle": (0.38, 0.6)}[box.name]
            assert expected[0] < share < expected[1], box
            assert abs(picture[change].mean() - ground.mean()) > 0.6 * CONTRAST
            seen[box.name] += 1
    assert set(seen) == set(SHAPES)


class Still:
    """A generator of no noise."""

    def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.zeros(shape, dtype)


def test_one_seed_one_set_and_a_longer_set_begins_with_the_shorter(drawn):
    images, boxes = make_shapes(20, 64)
    assert (images == drawn[0][:20]).all()
    assert boxes == drawn[1][:20]
    other, other_boxes = make_shapes(20, 64, seed=1)
    assert (images != other).any(axis=(1, 2, 3)).all()
    assert boxes != other_boxes
    shifted, _ = make_shapes(19, 64, seed=1)
    assert (other[:19] == shifted).all()
    assert not any((picture == drawn[0]).all(axis=(1, 2, 3)).any() for picture in other)


def test_brightness_alone_tells_no_class():
    """Ground and shapes of all classes have the same range of levels."""
    images, boxes = make_shapes(300, 48, seed=3)
    means: dict[str, list[float]] = {name: [] for name in SHAPES}
    for image, found in zip(images, boxes, strict=True):
        for box in found:
            y, x = int((box.y1 + box.y2) / 2), int((box.x1 + box.x2) / 2)
            means[box.name].append(float(image[y, x].mean()))
    middles = [np.mean(levels) for levels in means.values()]
    assert max(middles) - min(middles) < 15
    assert all(np.std(levels) > 50 for levels in means.values())


@pytest.mark.parametrize(("n", "size_px"), [(0, 64), (1, 15)])
def test_what_cannot_be_drawn_is_refused(n, size_px):
    with pytest.raises(DataError, match=f"n >= 1 and size_px >= 16; got n={n} and size_px={size_px}"):
        make_shapes(n, size_px)
