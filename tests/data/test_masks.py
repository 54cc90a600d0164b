"""Masks as they are stored, read as the values that were drawn; and how often each value occurs."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data.mask_map import COLOUR
from convlens.data.masks import histogram, lossy_masks, read_mask, require_size
from convlens.errors import BadImage, DataError
from torture import chunk, encoded, exif, npy, png, zeros

DRAWN = np.array([[0, 1, 2], [3, 0, 1]], np.uint8)


def read(folder: Path, content: bytes, name: str = "a.png", **options: int) -> np.ndarray:
    (folder / name).write_bytes(content)
    return read_mask(folder / name, **options)


def palette(indices: np.ndarray, colours: bytes = bytes(range(255, 255 - 24, -1))) -> Image.Image:
    image = Image.fromarray(indices, "L").convert("L")
    image.putpalette(colours)
    return image


def refused(folder: Path, content: bytes, name: str = "a.png", **options: int) -> BadImage:
    with pytest.raises(BadImage) as caught:
        read(folder, content, name, **options)
    assert str(folder / name) in str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("format_", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_gives_indices_not_colours(tmp_path: Path, format_: str) -> None:
    found = read(tmp_path, encoded(palette(DRAWN), format_), f"a.{format_.lower()}")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, DRAWN)


def test_a_palette_with_transparency_and_few_bits_gives_indices(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, encoded(palette(DRAWN), "PNG", transparency=0, bits=2)), DRAWN)


def test_one_bit_gives_0_and_1(tmp_path: Path) -> None:
    found = read(tmp_path, encoded(Image.fromarray(DRAWN > 0), "PNG"))
    assert found.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert found.dtype == np.uint8


def test_grey_of_two_and_four_bits_is_what_was_stored(tmp_path: Path) -> None:
    two = png(4, 1, 2, 0, zlib.compress(b"\0\x1b"))
    four = png(2, 1, 4, 0, zlib.compress(b"\0\x3f"))
    assert read(tmp_path, two).tolist() == [[0, 1, 2, 3]]
    assert read(tmp_path, four).tolist() == [[3, 15]]


def test_a_pgm_gives_its_own_levels(tmp_path: Path) -> None:
    assert read(tmp_path, b"P5 3 1 7\n\0\3\7", "a.pgm").tolist() == [[0, 3, 7]]
    assert read(tmp_path, b"P2 3 1 300\n0 299 300\n", "a.pgm").tolist() == [[0, 299, 300]]
    assert read(tmp_path, b"P5 2 1 255\n\7\xff", "a.pgm").tolist() == [[7, 255]]
    assert read(tmp_path, b"P5 2 1 65535\n\1\0\xff\xff", "a.pgm").tolist() == [[256, 65535]]


@pytest.mark.parametrize(("values", "dtype"), [([[0, 200]], np.uint8), ([[3, 60_000]], np.uint16)])
def test_grey_of_8_and_16_bits_is_kept(tmp_path: Path, values: list[list[int]], dtype: type) -> None:
    for format_ in ("PNG", "TIFF"):
        found = read(tmp_path, encoded(Image.fromarray(np.array(values, dtype)), format_), f"a.{format_.lower()}")
        assert (found.tolist(), found.dtype) == (values, dtype)


def test_whole_numbers_of_32_bits_are_kept(tmp_path: Path) -> None:
    stored = Image.fromarray(np.array([[-1, 70_000]], np.int32))
    assert read(tmp_path, encoded(stored, "TIFF"), "a.tif").tolist() == [[-1, 70_000]]
    whole = Image.fromarray(np.array([[0.0, 3.0]], np.float32))
    assert read(tmp_path, encoded(whole, "TIFF"), "a.tif").tolist() == [[0, 3]]
    broken = refused(tmp_path, encoded(Image.fromarray(np.array([[0.5]], np.float32)), "TIFF"), "a.tif")
    assert broken.kind == "value-range"
    assert refused(tmp_path, npy(np.array([[0, COLOUR]])), "a.npy").kind == "value-range"


def test_colours_are_codes_and_greys_collapse(tmp_path: Path) -> None:
    colours = np.uint8([[[255, 0, 0], [0, 0, 255], [9, 9, 9]]])
    wanted = [[COLOUR + 0xFF0000, COLOUR + 0x0000FF, COLOUR + 0x090909]]
    assert read(tmp_path, encoded(Image.fromarray(colours), "PNG")).tolist() == wanted
    clear = np.dstack([colours, np.uint8([[0, 128, 255]])])
    assert read(tmp_path, encoded(Image.fromarray(clear), "PNG")).tolist() == wanted, "transparency is not looked at"
    assert read(tmp_path, npy(colours), "a.npy").tolist() == wanted
    grey = np.repeat(DRAWN[:, :, None], 3, axis=2)
    found = read(tmp_path, encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(found, DRAWN)
    assert found.dtype == np.uint8
    with_alpha = Image.merge("LA", (Image.fromarray(DRAWN), Image.fromarray(DRAWN * 9)))
    np.testing.assert_array_equal(read(tmp_path, encoded(with_alpha, "PNG")), DRAWN)


def test_a_mask_drawn_in_transparency_is_refused(tmp_path: Path) -> None:
    drawn = np.zeros((2, 2, 4), np.uint8)
    assert read(tmp_path, encoded(Image.fromarray(drawn), "PNG")).tolist() == [[0, 0], [0, 0]]
    drawn[0, 0, 3] = 255
    assert "transparency" in refused(tmp_path, encoded(Image.fromarray(drawn), "PNG")).reason


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_image_is(tmp_path: Path, orientation: int) -> None:
    from convlens.data.image import decode
    from convlens.data.policy import ImagePolicy

    drawn = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    content = encoded(Image.fromarray(drawn), "PNG", exif=exif(orientation))
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found, decode(content, ImagePolicy(channels=1)).pixels[..., 0])
    assert (found.shape == (2, 3)) == (orientation < 5)
    indices = read(tmp_path, encoded(palette(DRAWN), "PNG", exif=exif(orientation)))
    assert indices.max() == 3, "a palette stays one when it is turned"


def test_arrays_and_matrices_of_whole_numbers(tmp_path: Path) -> None:
    for array in (DRAWN, DRAWN.astype(np.int64), DRAWN.astype(">u2"), DRAWN.astype(float), DRAWN[..., None]):
        found = read(tmp_path, npy(array), "a.npy")
        np.testing.assert_array_equal(found, DRAWN)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(read_mask(array), DRAWN)
    assert read_mask(DRAWN > 0).tolist() == [[0, 1, 1], [1, 0, 1]]
    assert read(tmp_path, b"0,5\n300,0\n", "a.csv").tolist() == [[0, 5], [300, 0]]
    assert refused(tmp_path, npy(np.array([["a"]])), "a.npy").kind == "bad-array"
    assert refused(tmp_path, npy(np.zeros((2, 2, 5), np.uint8)), "a.npy").kind == "channels"
    assert refused(tmp_path, npy(np.array([[{}]], object), allow_pickle=True), "a.npy").kind == "unsafe"


def test_what_cannot_be_a_mask_is_a_bad_image(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(np.zeros((40, 40), np.uint8)), "PNG")
    frames = encoded(palette(DRAWN), "GIF", save_all=True, append_images=[palette(DRAWN[::-1])])
    deep = png(1, 1, 16, 2, zlib.compress(b"\0" + b"\1\2" * 3))
    flipped = whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]
    assert refused(tmp_path, b"").kind == "empty"
    assert refused(tmp_path, whole[:-20]).kind == "truncated"
    assert refused(tmp_path, flipped).kind == "damaged"
    assert refused(tmp_path, b"hello").kind == "not-an-image"
    assert refused(tmp_path, whole, max_pixels=1599).kind == "too-large"
    assert refused(tmp_path, png(60_000, 60_000, 1, 0, zeros(60_000))).kind == "too-large"
    assert refused(tmp_path, frames, "a.gif").kind == "unsupported"
    assert refused(tmp_path, deep).kind == "unsupported"
    assert "CMYK" in refused(tmp_path, encoded(Image.new("CMYK", (2, 2)), "TIFF"), "a.tif").reason
    with pytest.raises(BadImage, match=r"^pair 7: "):
        read_mask(tmp_path / "gone.png", name="pair 7")


def test_a_chunk_of_text_is_no_obstacle(tmp_path: Path) -> None:
    content = png(2, 1, 8, 0, zlib.compress(b"\0\1\2"), chunk(b"tEXt", b"Comment\0by hand"))
    assert read(tmp_path, content).tolist() == [[1, 2]]


def test_a_mask_of_another_size_names_both() -> None:
    require_size(np.zeros((10, 12)), (10, 12), "a.png")
    with pytest.raises(
        BadImage, match=r"a\.png: the mask is 10 x 12 pixels \(height x width\), its image 20 x 24"
    ) as bad:
        require_size(np.zeros((10, 12)), (20, 24), "a.png")
    assert bad.value.kind == "mask-size"
    with pytest.raises(BadImage, match="turned"):
        require_size(np.zeros((10, 12)), (12, 10), "a.png")


def test_lossy_files_are_known_by_their_content(tmp_path: Path) -> None:
    picture = Image.fromarray(DRAWN)
    files = {
        "jpeg.png": encoded(picture, "JPEG"),
        "lossy.webp": encoded(picture, "WEBP", lossless=False),
        "lossless.webp": encoded(picture.convert("RGB"), "WEBP", lossless=True),
        "good.jpg": encoded(picture, "PNG"),
        "empty.jpg": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (finding,) = lossy_masks({f"id of {name}": tmp_path / name for name in files})
    assert (finding.kind, finding.severity) == ("lossy-mask", "warning")
    assert finding.records == ("id of jpeg.png", "id of lossy.webp")
    assert lossy_masks({"good": tmp_path / "good.jpg"}) == ()


# ----------------------------------------------------------------------------------------------------------- counting


def test_pixels_and_masks_are_counted_for_each_value() -> None:
    counts = histogram(iter([np.uint8([[0, 5, 5]]), np.uint16([[5, 300, 0]]), np.int32([[-1, 0, 0]])]))
    assert dict(counts.pixels) == {-1: 1, 0: 4, 5: 3, 300: 1}
    assert dict(counts.images) == {-1: 1, 0: 3, 5: 2, 300: 1}
    assert list(counts.pixels) == [-1, 0, 5, 300]
    assert (counts.masks, counts.drawn, counts.coloured) == (3, 2, False)
    assert counts.share(0, 5) == 7 / 9
    assert counts.describe(2) == "0 in 44.4 % of the pixels (3 of 3 masks), 5 in 33.3 % (2) and 2 more values"
    assert histogram([]).describe() == ""


def test_greys_become_colours_where_there_is_any_colour() -> None:
    counts = histogram([np.uint8([[0, 255]]), np.int32([[COLOUR, COLOUR + 0xFF0000]])])
    assert dict(counts.pixels) == {COLOUR: 2, COLOUR + 0xFF0000: 1, COLOUR + 0xFFFFFF: 1}
    assert dict(counts.images) == {COLOUR: 2, COLOUR + 0xFF0000: 1, COLOUR + 0xFFFFFF: 1}
    assert counts.coloured


def test_numbered_objects_and_255_are_noticed_mask_by_mask() -> None:
    masks = [[0, 1, 2, 3], [1, 2, 255, 255], [0, 2, 2, 2], [0, 0, 0, 0], [0, 0, 0, 255]]
    counts = histogram(np.uint8([row]) for row in masks)
    assert (counts.masks, counts.drawn, counts.running, counts.beside_255) == (5, 3, 2, 1)
    many = histogram([np.arange(301).reshape(1, -1)])
    assert (many.drawn, many.running) == (1, 1), "the 255th object is one"


def test_equal_neighbours_tell_a_drawing_from_a_photograph() -> None:
    assert histogram([np.uint8([[0, 0, 5, 5], [7, 7, 7, 0]])]).alike == 3 / 4
    assert histogram([np.uint8([[0, 0]]), np.uint8([[1, 2, 3]])]).alike == 0.0
    assert histogram([np.uint8([[1], [2]])]).alike == 1.0


def test_pictures_are_no_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convlens.data.masks.MAX_VALUES", 5)
    histogram([np.arange(5)[None]])
    with pytest.raises(DataError, match="more than 5 different values"):
        histogram([np.arange(3)[None], np.arange(6)[None]])
