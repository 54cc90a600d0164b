"""The decoder against the written policy: the torture folder, the limits, and each rule by itself."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from convlens.data import arrays, container, image
from convlens.data.image import Decoded, ImagePolicy, decode, encode_png, read_header, resize, to_uint8
from convlens.errors import BadImage, ConfigError, DataError, ShapeError
from torture import FLAG_POINTS, Expectation, build, chunk, encoded, exif, flag, npy, png, stored_for, zeros

POLICY = ImagePolicy()
GREY = ImagePolicy(channels=1)


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Expectation]]:
    folder = tmp_path_factory.mktemp("torture")
    return folder, build(folder)


def outcome(source: Path | bytes, name: str | None = None) -> Decoded | BadImage:
    try:
        return decode(source, POLICY, name)
    except BadImage as error:
        return error


def complaint(expected: Expectation, got: Decoded | BadImage) -> str | None:
    """What differs from the policy; None where nothing does."""
    if isinstance(got, BadImage):
        if expected.kind != got.kind or expected.says.lower() not in got.reason.lower():
            return f"expected {expected.kind or 'an image'} ({expected.says}), got {got.kind}: {got.reason}"
        return None
    if expected.kind:
        return f"expected {expected.kind}, got an image of mode {got.mode}"
    if (got.mode, sorted(got.notes)) != (expected.mode, sorted(expected.notes)):
        return f"expected {expected.mode} {expected.notes}, got {got.mode} {got.notes}"
    if got.pixels.dtype != np.uint8 or got.pixels.shape != (*expected.size_px, 3):
        return f"expected {expected.size_px}, got {got.pixels.dtype} {got.pixels.shape}"
    for at, colour in expected.points:
        if np.abs(got.pixels[at].astype(int) - colour).max() > expected.tolerance:
            return f"expected {colour} at {at}, got {got.pixels[at].tolist()}"
    return None


def complaints(folder: Path, wanted: dict[str, Expectation]) -> dict[str, str]:
    found = {name: complaint(expected, outcome(folder / name)) for name, expected in wanted.items()}
    return {name: what for name, what in found.items() if what}


# ---------------------------------------------------------------------------------------------------- torture folder


def test_every_file_of_the_torture_folder_ends_as_the_policy_says(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    assert len(wanted) >= 45
    assert set(os.listdir(folder)) == set(wanted)
    assert complaints(folder, wanted) == {}


def test_the_torture_test_notices_a_wrong_outcome(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    good, bad = wanted["exif_6.jpg"], wanted["zero_bytes.jpg"]
    wrong = {
        "exif_6.jpg": replace(good, points=(((5, 7), (0, 0, 0)),)),
        "exif_8.jpg": replace(good, notes=()),
        "exif_3.jpg": replace(good, mode="L"),
        "exif_2.jpg": replace(good, size_px=(1, 1)),
        "exif_1.jpg": bad,
        "zero_bytes.jpg": good,
        "text.jpg": replace(bad, kind="empty"),
        "page.jpg": replace(wanted["page.jpg"], says="PDF"),
    }
    assert set(complaints(folder, wrong)) == set(wrong)


def test_a_file_and_its_bytes_have_one_verdict(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    files = [name for name in wanted if (folder / name).is_file() and os.access(folder / name, os.R_OK)]
    found = {name: complaint(wanted[name], outcome((folder / name).read_bytes(), name)) for name in files}
    assert len(files) > 100
    assert {name: what for name, what in found.items() if what} == {}


def test_threads_and_repetition_change_nothing(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    before = digest(folder)

    def fate(name: str) -> tuple[object, object]:
        got = outcome(folder / name)
        return (got.pixels.tobytes(), got.notes) if isinstance(got, Decoded) else (got.kind, got.reason)

    names = list(wanted) * 3
    random.Random(0).shuffle(names)
    serial = {name: fate(name) for name in wanted}
    with ThreadPoolExecutor(8) as pool:
        together = list(zip(names, pool.map(fate, names), strict=True))
    changed = {name: (serial[name][1], found[1]) for name, found in together if found != serial[name]}
    assert changed == {}, "what became of them alone, and beside others"
    assert digest(folder) == before, "the user's files were touched"


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and os.access(path, os.R_OK))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_header_says_what_decoding_finds(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    good = {name: expected for name, expected in wanted.items() if expected.kind is None}
    headers = {name: read_header(folder / name, POLICY) for name in good}
    assert {name: (h.mode, h.height, h.width) for name, h in headers.items()} == {
        name: (expected.mode, *expected.size_px) for name, expected in good.items()
    }
    assert headers["grey16.png"].is_grey
    assert not headers["palette.png"].is_grey
    assert read_header(npy(np.zeros((4, 6, 5), np.uint8)), POLICY).channels == 5
    for palette, grey in ((b"\5\5\5\x90\x90\x90", True), (b"\5\5\5\x90\x90\x91", False)):
        picture = png(8, 1, 1, 3, zlib.compress(b"\0\x55"), chunk(b"PLTE", palette))
        assert read_header(picture, POLICY).is_grey is grey


def test_settings_of_pillow_and_warnings_are_left_alone(torture: tuple[Path, dict[str, Expectation]]) -> None:
    def state() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK, list(warnings.filters)

    before = state()
    complaints(*torture)
    assert state() == before
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


# ------------------------------------------------------------------------------------------------------------- limits

BOMBS = ("bomb", "long_side", "text_bomb", "profile_bomb", "scans")


def test_bombs_are_refused_before_anything_is_decoded(
    torture: tuple[Path, dict[str, Expectation]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, wanted = torture
    bombs = [name for name in wanted if name.startswith(BOMBS)]
    assert len(bombs) >= 12

    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    for reader in (Image.Image, ImageFile.ImageFile, *image.READERS.values()):
        monkeypatch.setattr(reader, "load", load)
    with pytest.raises(BadImage, match="decoded"):
        decode(folder / "rgb.bmp", POLICY)  # the trap works
    assert complaints(folder, {name: wanted[name] for name in bombs}) == {}


def test_bombs_do_not_fill_memory(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    bombs = [str(folder / name) for name in wanted if name.startswith(BOMBS)]
    program = (
        "import resource, sys\n"
        "from convlens.data.image import BadImage, ImagePolicy, decode\n"
        "def refused(path):\n"
        "    try: decode(path, ImagePolicy())\n"
        "    except BadImage: return True\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "assert all([refused(path) for path in sys.argv[1:]])\n"
        "print(peak() - before)\n"
    )
    path = os.pathsep.join(p for p in sys.path if p)
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *bombs],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 50 * 1024, f"{run.stdout} KiB"


def test_limits_are_those_of_the_policy() -> None:
    picture = encoded(Image.fromarray(flag()), "PNG")
    assert decode(picture, ImagePolicy(max_pixels=24 * 32)).size_px == (24, 32)
    for changes in ({"max_pixels": 24 * 32 - 1}, {"max_side_px": 31}, {"max_bytes": len(picture) - 1}):
        for read in (decode, read_header):
            with pytest.raises(BadImage) as caught:
                read(picture, ImagePolicy(**changes))
            assert caught.value.kind == "too-large"
    for source in (flag(), Image.fromarray(flag()), npy(flag()), b"0 1\n" * 32):
        with pytest.raises(BadImage, match="at most"):
            decode(source, ImagePolicy(max_side_px=31), "x.txt" if isinstance(source, bytes) else None)


def test_text_is_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_TEXT_BYTES", 20)
    for content in (b"0 1\n" * 6, b"P1 2 2\n0 1\n0 1\n      "):
        with pytest.raises(BadImage) as caught:
            decode(content, POLICY, "a.txt")
        assert caught.value.kind == "too-large"


def test_a_large_picture_is_read_when_the_policy_allows_it() -> None:
    rows = zeros(9500 * 1188)
    picture = png(9500, 9500, 1, 0, rows)  # 90 million pixels: Pillow would warn, and warnings are errors here
    assert read_header(picture, ImagePolicy(max_pixels=100_000_000)).width == 9500


# ---------------------------------------------------------------------------------------------------------- bad images


def test_damage_of_any_kind_is_a_bad_image_and_nothing_else() -> None:
    picture, palette = Image.fromarray(flag()), Image.fromarray(flag()).quantize(4)
    samples = {
        "jpeg": encoded(picture, "JPEG", exif=exif(6)),
        "progressive": encoded(picture, "JPEG", progressive=True),
        "png": encoded(palette, "PNG", exif=exif(6)),
        "gif": encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "webp": encoded(picture, "WEBP", exif=exif(6)),
        "bmp": encoded(picture, "BMP"),
        "tiff": encoded(picture, "TIFF", compression="tiff_lzw"),
        "ppm": encoded(picture, "PPM"),
        "npy": npy(flag()),
        "csv": b"1,-1\n-1,1\n",
    }
    draw = random.Random(0)
    for kind, content in samples.items():
        refused = 0
        for _ in range(60):
            broken = bytearray(content[: draw.randrange(1, len(content))] if draw.random() < 0.4 else content)
            for _ in range(draw.randrange(4)):
                broken[draw.randrange(len(broken))] ^= 1 << draw.randrange(8)
            got = outcome(bytes(broken), f"sample.{kind}")
            refused += isinstance(got, BadImage)
        assert refused > 10, f"{kind}: damage passes unseen"


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"", *(magic for magic, _ in container.MAGIC), b"RIFF\x20\0\0\0WEBPVP8 ", b"P6 ", b"BM"]),
    st.binary(max_size=80),
    st.sampled_from(["a.jpg", "a.csv", "a.npy"]),
)
def test_any_bytes_are_an_image_or_a_bad_image(start: bytes, rest: bytes, name: str) -> None:
    got = outcome(start + rest, name)
    if isinstance(got, BadImage):
        assert (got.name, got.kind in KINDS) == (name, True)
    else:
        assert got.pixels.dtype == np.uint8


KINDS = {
    *("missing", "not-a-file", "unreadable", "empty", "too-large", "not-an-image", "vector", "unsupported"),
    *("truncated", "damaged", "channels", "bad-array", "value-range", "not-finite", "unsafe"),
}


def test_missing_files_and_names(tmp_path: Path) -> None:
    for source in (tmp_path / "gone.png", str(tmp_path / "gone.png")):
        with pytest.raises(BadImage) as caught:
            decode(source, POLICY)
        assert (caught.value.kind, caught.value.name) == ("missing", str(tmp_path / "gone.png"))
    with pytest.raises(BadImage, match=r"^upload 7: not an image"):
        decode(b"hello", POLICY, "upload 7")
    with pytest.raises(BadImage) as caught:
        decode("a\0b.png", POLICY)
    assert caught.value.kind == "unreadable"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files in /proc")
def test_files_are_closed(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    (tmp_path / "a.gif").write_bytes(encoded(Image.fromarray(flag()), "GIF"))
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    before = descriptors()
    for name in ("a.gif", "b.gif", "."):
        outcome(tmp_path / name)
    assert descriptors() == before


def test_a_foreign_wish_for_truncated_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match="LOAD_TRUNCATED_IMAGES") as caught:
        decode(encoded(Image.fromarray(flag()), "PNG"), POLICY)
    assert not isinstance(caught.value, BadImage)


def test_progressive_scans_have_a_limit_that_photographs_do_not_reach() -> None:
    jpeg = encoded(Image.fromarray(flag()), "JPEG", progressive=True)
    assert 2 < jpeg.count(b"\xff\xda") < container.MAX_SCANS // 4


# ---------------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_are_equal_to_the_bit(orientation: int) -> None:
    stored = encoded(stored_for(orientation), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(decode(stored, POLICY).pixels, flag())
    header = read_header(stored, POLICY)
    assert (header.height, header.width) == (24, 32)


def test_exif_after_the_pixels_and_of_odd_types() -> None:
    plain = encoded(Image.fromarray(flag()), "PNG")
    late = plain[:-12] + chunk(b"eXIf", exif(3).removeprefix(b"Exif\0\0")) + plain[-12:]
    np.testing.assert_array_equal(decode(late, POLICY).pixels, flag()[::-1, ::-1])
    start = b"II*\0\x08\0\0\0\x02\0" + bytes(12)
    assert container.exif_orientation(start + b"\x12\1\4\0\1\0\0\0\6\0\0\0") == 6
    assert container.exif_orientation(start + b"\x12\1\1\0\1\0\0\0\6\xff\xff\xff") == 6
    assert container.exif_orientation(start + b"\x12\1\3\0\1\0\0\0\x63\0\0\0") == 1
    assert container.exif_orientation(start + b"\x13\1\3\0\1\0\0\0\6\0\0\0") == 1
    assert container.exif_orientation(start) is None


def test_grey_is_the_luminance_however_it_was_stored() -> None:
    expected = np.asarray(Image.fromarray(flag()).convert("L"))[:, :, None]
    assert len(np.unique(expected)) == 4
    picture = Image.fromarray(flag())
    palette = encoded(picture.quantize(4), "PNG")
    rgba = picture.convert("RGBA")
    for source in (flag(), picture, encoded(picture, "PNG"), palette, encoded(rgba, "PNG"), npy(flag())):
        np.testing.assert_array_equal(decode(source, GREY).pixels, expected)
    grey = expected[:, :, 0]
    for source in (grey, expected, Image.fromarray(grey), encoded(Image.fromarray(grey), "PNG")):
        np.testing.assert_array_equal(decode(source, GREY).pixels, expected)
        np.testing.assert_array_equal(decode(source, POLICY).pixels, np.repeat(expected, 3, axis=2))


def test_the_background_is_the_users() -> None:
    clear = encoded(Image.new("RGBA", (3, 2), (255, 0, 0, 0)), "PNG")
    policy = ImagePolicy(background=(10, 20, 30))
    np.testing.assert_array_equal(decode(clear, policy).pixels, np.full((2, 3, 3), (10, 20, 30)))
    policy = ImagePolicy(background=(0, 0, 0), channels=1)
    assert decode(clear, policy).pixels.max() == 0
    premultiplied = Image.new("RGBA", (3, 2), (200, 100, 0, 128)).convert("RGBa")
    np.testing.assert_allclose(decode(premultiplied, POLICY).pixels[0, 0], (227, 177, 127), atol=2)
    premultiplied = Image.new("LA", (3, 2), (100, 128)).convert("La")
    np.testing.assert_allclose(decode(premultiplied, POLICY).pixels[0, 0], (177, 177, 177), atol=2)


def test_many_channels_come_from_arrays_alone() -> None:
    five = ImagePolicy(channels=5)
    values = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    np.testing.assert_array_equal(decode(npy(values), five).pixels, values)
    for source in (flag(), flag()[:, :, 0], encoded(Image.fromarray(flag()), "PNG"), Image.fromarray(flag())):
        with pytest.raises(BadImage) as caught:
            decode(source, five)
        assert caught.value.kind == "channels"


def test_the_white_level_is_the_users() -> None:
    policy = ImagePolicy(white_level=4095, channels=1)
    values = np.array([[0, 2048, 4095]], np.uint16)
    for source in (values, npy(values), Image.fromarray(values), encoded(Image.fromarray(values), "PNG")):
        decoded = decode(source, policy)
        assert decoded.pixels[:, :, 0].tolist() == [[0, 128, 255]]
        assert decoded.notes == (arrays.SIXTEEN_BIT_NOTE,)
        with pytest.raises(BadImage, match="4095, above white_level=4094"):
            decode(source, replace(policy, white_level=4094))
    own_white = b"P5 1 1 1023\n\x03\xff"
    assert decode(own_white, policy).pixels.item() == 255
    deep = png(1, 1, 16, 2, b"x\x9cc` \x00\x00\x00\x07\x00\x01")
    with pytest.raises(BadImage) as caught:
        decode(deep, policy)
    assert caught.value.kind == "unsupported"


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [
        (np.array([[False, True]]), [0, 255]),
        (np.array([[0, 1]]), [0, 255]),
        (np.array([[-1, 1]], np.int8), [0, 255]),
        (np.array([[-1, -1]]), [0, 0]),
        (np.array([[1.0, 1.0]]), [255, 255]),
        (np.array([[-1.0, 1.0]], np.float16), [0, 255]),
        (np.array([[0.0, 0.5]]), [0, 128]),
        (np.array([[-1e-7, 1 + 1e-7]]), [0, 255]),
        (np.array([[7, 255]], np.int16), [7, 255]),
        (np.array([[0, 1]], np.uint8), [0, 1]),
        (np.array([[257, 65535]], np.uint16), [1, 255]),
        (np.array([[128, 129]], np.uint16), [0, 1]),
        (np.array([[0, 1]], np.uint64), [0, 255]),
    ],
)
def test_numbers_become_levels(given_values: np.ndarray, expected: list[int]) -> None:
    levels = to_uint8(given_values, POLICY)
    assert (levels.dtype, levels.tolist()) == (np.uint8, [expected])


@pytest.mark.parametrize(
    "values",
    [[[-1, 0, 1]], [[-1.0, 0.5]], [[0.0, 1.01]], [[-1, 7]], [[0, 256]], [[0.0, np.inf]], [["a"]], [[1j]]],
)
def test_numbers_that_could_mean_two_things_are_refused(values: list[list[object]]) -> None:
    with pytest.raises(BadImage) as caught:
        to_uint8(np.array(values), POLICY)
    assert caught.value.kind in {"value-range", "not-finite", "bad-array"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=20))
def test_sixteen_bits_keep_their_order_and_their_ends(levels: list[int]) -> None:
    got = to_uint8(np.array([levels], np.uint16), POLICY)[0].astype(float)
    assert np.abs(got - np.array(levels) / 257).max() <= 0.5


def test_a_pillow_image_is_read_and_left_as_it_was() -> None:
    palette = Image.fromarray(flag()).quantize(4)
    palette.info["transparency"] = 0
    before = palette.mode, palette.tobytes(), dict(palette.info)
    assert decode(palette, POLICY).mode == "P"
    assert (palette.mode, palette.tobytes(), dict(palette.info)) == before
    lazy = Image.open(io.BytesIO(encoded(stored_for(6), "JPEG", quality=95, exif=exif(6))))
    decoded = decode(lazy, POLICY)
    assert decoded.pixels.shape == (24, 32, 3)
    assert decoded.notes == (image.UPRIGHT_NOTE,)
    np.testing.assert_allclose([decoded.pixels[at] for at, _ in FLAG_POINTS], [c for _, c in FLAG_POINTS], atol=6)


def test_metadata_ends_here() -> None:
    decoded = decode(encoded(stored_for(6), "JPEG", exif=exif(6), comment=b"private"), POLICY)
    written = encode_png(decoded.pixels)
    assert b"private" not in repr(decoded).encode() + written
    assert [written[at : at + 4] for at in chunk_starts(written)] == [b"IHDR", b"IDAT", b"IEND"]


def chunk_starts(picture: bytes) -> Iterator[int]:
    at = 8
    while at < len(picture):
        yield at + 4
        at += 12 + int.from_bytes(picture[at : at + 4], "big")


# ------------------------------------------------------------------------------------------------- reduced decoding


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / 37) + np.cos(y / 23), np.cos((x + y) / 51), np.sin(y / 61 - x / 83)]
    return np.clip(np.stack(planes, axis=2) * 60 + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("wanted", "size_px"),
    [(100, (100, 150)), (101, (200, 300)), (50, (50, 75)), (400, (400, 600)), (201, (400, 600)), (20, (50, 75))],
)
def test_a_large_jpeg_is_decoded_smaller_but_never_too_small(wanted: int, size_px: tuple[int, int]) -> None:
    jpeg = encoded(Image.fromarray(waves(400, 600)), "JPEG", quality=95)
    decoded = decode(jpeg, POLICY, reduce_to_px=wanted)
    assert decoded.pixels.shape == (*size_px, 3)
    assert decoded.size_px == (400, 600)
    assert (decoded.whole_px is None) == (size_px == (400, 600))
    whole = resize(decode(jpeg, POLICY).pixels, size_px)
    np.testing.assert_allclose(decoded.pixels.astype(int), whole, atol=12)
    np.testing.assert_array_equal(decode(jpeg, POLICY, reduce_to_px=wanted).pixels, decoded.pixels)


def test_reduced_decoding_turns_and_notes_as_usual() -> None:
    turned = Image.fromarray(waves(400, 600)).transpose(Image.Transpose.ROTATE_90)
    decoded = decode(encoded(turned, "JPEG", exif=exif(6)), GREY, reduce_to_px=90)
    assert (decoded.pixels.shape, decoded.size_px, decoded.notes) == ((100, 150, 1), (400, 600), (image.UPRIGHT_NOTE,))
    whole = decode(encoded(Image.fromarray(waves(400, 600)), "PNG"), POLICY, reduce_to_px=50)
    assert (whole.pixels.shape, whole.whole_px) == ((400, 600, 3), None)


# ------------------------------------------------------------------------------------------------------------ pixels


def test_resize_averages_what_it_makes_smaller() -> None:
    fine = np.indices((64, 64)).sum(0) % 2 * 255
    for channels in (1, 3, 5):
        pixels = np.repeat(fine[:, :, None], channels, axis=2).astype(np.uint8)
        small = resize(pixels, (8, 10))
        assert (small.shape, small.dtype) == ((8, 10, channels), np.uint8)
        assert np.abs(small.astype(int) - 127).max() < 12
    flat = np.full((7, 9, 3), 201, np.uint8)
    np.testing.assert_array_equal(resize(flat, (31, 4)), np.full((31, 4, 3), 201))


def test_resize_treats_every_channel_alike_and_returns_fresh_memory() -> None:
    pixels = waves(50, 70)
    for size_px in ((20, 31), (50, 70), (90, 100)):
        together = resize(pixels, size_px)
        apart = [resize(pixels[:, :, c : c + 1], size_px) for c in range(3)]
        np.testing.assert_array_equal(together, np.concatenate(apart, axis=2))
        assert together.flags.writeable
        assert not np.shares_memory(together, pixels)
        window = resize(pixels[3:40, 5:61], size_px)
        np.testing.assert_array_equal(window, resize(pixels[3:40, 5:61].copy(), size_px))


def test_resize_agrees_with_plain_bilinear() -> None:
    pixels = waves(600, 800)
    plain = np.asarray(Image.fromarray(pixels).resize((40, 30), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(resize(pixels, (30, 40)).astype(int), plain, atol=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_comes_back_as_it_went(channels: int) -> None:
    pixels = np.ascontiguousarray(waves(9, 7)[:, :, :channels])
    np.testing.assert_array_equal(decode(encode_png(pixels), ImagePolicy(channels=channels)).pixels, pixels)


def test_wrong_pixels_are_named() -> None:
    with pytest.raises(ShapeError, match=r"uint8 pixels \(H, W, C\); got float64 \(4, 4\)"):
        resize(np.zeros((4, 4)), (2, 2))
    with pytest.raises(ShapeError, match="0 x 5"):
        resize(flag(), (0, 5))
    with pytest.raises(ShapeError, match="got 2"):
        encode_png(np.zeros((4, 4, 2), np.uint8))


# ------------------------------------------------------------------------------------------------------------ policy


def test_a_policy_survives_json() -> None:
    policy = ImagePolicy(channels=1, background=(1, 2, 3), white_level=4095, max_pixels=7)
    assert ImagePolicy.from_json(policy.to_json()) == policy
    for change, message in (({"version": 2}, "version 2"), ({"dither": 1}, "dither"), ({"background": 3}, "cannot be")):
        with pytest.raises(ConfigError, match=message):
            ImagePolicy.from_json(policy.to_json() | change)
    with pytest.raises(ConfigError, match="channels"):
        ImagePolicy.from_json({key: value for key, value in policy.to_json().items() if key != "channels"})


@pytest.mark.parametrize(
    "change",
    [{"channels": 0}, {"channels": "3"}, {"white_level": 1}, {"white_level": 70000}, {"background": (0, 0, 256)}],
)
def test_an_impossible_policy_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        ImagePolicy(**change)  # type: ignore[arg-type]


def test_the_written_policy_names_every_outcome() -> None:
    text = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    notes = {value for module in (image, arrays) for name, value in vars(module).items() if name.endswith("_NOTE")}
    assert len(notes) == 12
    assert {kind for kind in KINDS if f"`{kind}`" not in text} == set()
    assert {note for note in notes if note not in text} == set()
