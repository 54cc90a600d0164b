"""Kernels on picture files: what must not change does not, what is clamped is counted, the picture is never lost."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convlens.data.image import decode
from convlens.data.policy import ImagePolicy
from convlens.errors import BadImage, ConfigError, ShapeError
from convlens.lectures.photo import ACROSS, TILE_PX, drawn_picture, filter_file, read_picture, sheet
from convlens.reference import KERNELS, conv2d

COLOURS = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
MODES = {"rgb.png": COLOURS, "grey.png": COLOURS[..., 0], "photo.jpg": COLOURS, "grey.jpg": COLOURS[..., 0]}


@pytest.fixture(params=MODES)
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / request.param
    Image.fromarray(MODES[request.param]).save(file)
    return file


def pixels(path: Path) -> np.ndarray:
    """The pixels of a file, as Pillow reads them."""
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("border", ["reflect", "replicate", "zeros", "circular"])
def test_the_identity_gives_the_picture_back(picture: Path, border: str, tmp_path: Path) -> None:
    done = filter_file(picture, KERNELS["identity"], tmp_path / "out.png", border=border)
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(picture))
    assert (done.below, done.above, done.notes) == (0, 0, ())


@pytest.mark.parametrize("name", ["box_blur", "gaussian_blur_5x5", "sharpen", "unsharp_masking_5x5", "emboss"])
def test_a_constant_picture_stays_under_a_kernel_of_sum_1(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (9, 8), (10, 128, 250)).save(tmp_path / "flat.png")
    filter_file(tmp_path / "flat.png", KERNELS[name], tmp_path / "out.png")
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(tmp_path / "flat.png"))


def test_a_border_of_zeros_darkens_the_rim(tmp_path: Path) -> None:
    Image.new("L", (9, 8), 90).save(tmp_path / "flat.png")
    filter_file(tmp_path / "flat.png", KERNELS["box_blur"], tmp_path / "out.png", border="zeros")
    out = pixels(tmp_path / "out.png")
    assert (out[0, 0], out[0, 4], out[4, 4]) == (40, 60, 90)


def test_the_signed_numbers_are_those_of_the_convolution(picture: Path, tmp_path: Path) -> None:
    kernel = KERNELS["sobel_x"]
    done = filter_file(picture, kernel, tmp_path / "out.png", signed=tmp_path / "signed.npy", border="zeros")
    kept = np.load(tmp_path / "signed.npy")
    planes = np.moveaxis(np.atleast_3d(pixels(picture).astype(int)), -1, 0)
    for plane, own in zip(planes, np.moveaxis(kept, -1, 0), strict=True):
        assert np.array_equal(own, conv2d(plane, kernel, padding="same").value)
    assert np.array_equal(kept, done.signed)
    assert done.below == (np.rint(kept) < 0).sum() > 0
    assert done.above == (np.rint(kept) > 255).sum() > 0
    assert np.array_equal(np.atleast_3d(pixels(tmp_path / "out.png")), np.rint(kept).clip(0, 255))


def test_the_luminance_is_one_grey_picture(tmp_path: Path) -> None:
    Image.new("RGB", (5, 5), (255, 0, 0)).save(tmp_path / "red.png")
    filter_file(tmp_path / "red.png", KERNELS["identity"], tmp_path / "out.png", on="luminance")
    out = pixels(tmp_path / "out.png")
    assert out.shape == (5, 5)
    assert (out == 76).all()


def test_a_picture_is_turned_upright_and_transparency_is_said(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLOURS).save(tmp_path / "lying.png", exif=exif)
    done = filter_file(tmp_path / "lying.png", KERNELS["identity"], tmp_path / "out.png")
    assert np.array_equal(pixels(tmp_path / "out.png"), np.rot90(COLOURS, -1))
    assert done.notes == ("turned upright",)
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert filter_file(tmp_path / "clear.png", KERNELS["identity"], tmp_path / "out.png").notes
    assert (pixels(tmp_path / "out.png") == 255).all()


@pytest.mark.parametrize("kind", ["itself", "link", "hard link", "other spelling"])
def test_the_picture_itself_is_never_written_over(kind: str, tmp_path: Path) -> None:
    source, out = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(COLOURS).save(source)
    if kind == "link":
        out.symlink_to(source)
    elif kind == "hard link":
        out.hardlink_to(source)
    else:
        out = source if kind == "itself" else tmp_path / "." / "a.png"
    before = source.read_bytes()
    with pytest.raises(ConfigError, match="is the picture itself and would be lost"):
        filter_file(source, KERNELS["sharpen"], out)
    assert source.read_bytes() == before


def test_an_array_is_never_written_over_by_its_signed_numbers(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", COLOURS)
    with pytest.raises(ConfigError, match="is the picture itself"):
        filter_file(tmp_path / "a.npy", KERNELS["sharpen"], tmp_path / "o.png", signed=tmp_path / "a.npy")
    assert not (tmp_path / "o.png").exists()
    filter_file(tmp_path / "a.npy", KERNELS["identity"], tmp_path / "o.png")
    assert np.array_equal(pixels(tmp_path / "o.png"), COLOURS)


def test_what_cannot_be_done_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(COLOURS).save(source)
    sharpen = KERNELS["sharpen"]
    with pytest.raises(ConfigError, match=r"out\.jpg must end in \.png, which keeps every value\. Give .*out\.png"):
        filter_file(source, sharpen, tmp_path / "out.jpg")
    with pytest.raises(ConfigError, match=r"must end in \.npy"):
        filter_file(source, sharpen, tmp_path / "out.png", signed=tmp_path / "out.csv")
    with pytest.raises(ConfigError, match="There is no folder"):
        filter_file(source, sharpen, tmp_path / "no" / "out.png")
    with pytest.raises(ConfigError, match="Did you mean 'reflect'"):
        filter_file(source, sharpen, tmp_path / "out.png", border="reflct")
    with pytest.raises(BadImage, match="there is no such file"):
        filter_file(tmp_path / "b.png", sharpen, tmp_path / "out.png")
    (tmp_path / "c.png").write_bytes(source.read_bytes()[:200])
    with pytest.raises(BadImage):
        filter_file(tmp_path / "c.png", sharpen, tmp_path / "out.png")
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(ShapeError, match="can add at most 0 cells"):
        filter_file(tmp_path / "dot.png", sharpen, tmp_path / "out.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "c.png", "dot.png"]


# all kernels on one picture -------------------------------------------------------------------------------------------


def tiles(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.array(image)


def test_the_sheet_has_every_kernel() -> None:
    page = tiles(sheet())
    rows = -(-len(KERNELS) // ACROSS)
    assert page.shape[1] == ACROSS * (TILE_PX + 16) + 16
    tall = (page.shape[0] - 16) // rows
    found = set()
    for number in range(len(KERNELS)):
        top, left = 16 + number // ACROSS * tall, 16 + number % ACROSS * (TILE_PX + 16)
        tile = page[top : top + tall - 16, left : left + TILE_PX]
        assert tile[TILE_PX + 4 :].min() < 60, "the name is written below"
        found.add(tile.tobytes())
    assert len(found) == len(KERNELS)


def test_the_first_tile_is_the_picture_and_grey_is_0() -> None:
    page = tiles(sheet())
    assert np.array_equal(page[16 : 16 + TILE_PX, 16 : 16 + TILE_PX, :1], drawn_picture())
    flat = tiles(sheet(np.full((50, 100, 3), 7, np.uint8)))
    names = list(KERNELS)
    for name, level in (("box_blur", 7), ("sobel_x", 128), ("edge_detection_3", 128)):
        row, column = divmod(names.index(name), ACROSS)
        height = (flat.shape[0] - 16) // 3
        tile = flat[16 + row * height :, 16 + column * (TILE_PX + 16) :][:120, :TILE_PX]
        assert (tile == level).all(), name


def test_the_drawn_picture_has_edges_of_every_direction() -> None:
    picture = drawn_picture()[..., 0].astype(float)
    across, down = np.abs(np.diff(picture, axis=1)).max(), np.abs(np.diff(picture, axis=0)).max()
    assert min(across, down) > 150
    assert np.array_equal(drawn_picture(), drawn_picture())


def test_long_and_tiny_pictures_fit_the_sheet(tmp_path: Path) -> None:
    for size in ((3, 1000), (1000, 3), (1, 1)):
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / "odd.png")
        shape = tiles(sheet(read_picture(tmp_path / "odd.png")[0])).shape
        assert shape[1] == ACROSS * (TILE_PX + 16) + 16
        assert shape[0] < 2000


def test_reading_keeps_grey_as_one_channel(picture: Path) -> None:
    found, _ = read_picture(picture)
    assert found.shape[2] == (1 if "grey" in picture.name else 3)
    assert np.array_equal(found, decode(picture, ImagePolicy(channels=found.shape[2])).pixels)
