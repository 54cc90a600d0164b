"""Opening images: what the header says, the limits that hold before a pixel is decoded, and damage of every kind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from convlens.data import arrays, container, image_file
from convlens.data.image import decode
from convlens.data.image_file import read_header
from convlens.data.policy import ImagePolicy
from convlens.errors import BadImage, DataError
from torture import Expectation, chunk, encoded, exif, flag, npy, png, zeros
from verdicts import KINDS, POLICY, complaints, outcome


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

    for reader in (Image.Image, ImageFile.ImageFile, *image_file.READERS.values()):
        monkeypatch.setattr(reader, "load", load)
    with pytest.raises(BadImage, match="decoded"):
        decode(folder / "rgb.bmp", POLICY)  # the trap works
    assert complaints(folder, {name: wanted[name] for name in bombs}) == {}


def test_bombs_do_not_fill_memory(torture: tuple[Path, dict[str, Expectation]]) -> None:
    folder, wanted = torture
    bombs = [str(folder / name) for name in wanted if name.startswith(BOMBS)]
    program = (
        "import resource, sys\n"
        "from convlens.data.image import decode\n"
        "from convlens.data.policy import ImagePolicy\n"
        "from convlens.errors import BadImage\n"
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


@pytest.mark.parametrize(("image", "kind"), [(None, "None"), (3, "int"), ({"a": 1}, "dict"), ([[1, 2]], "list")])
def test_what_can_be_no_image_is_not_called_damaged(image: Any, kind: str) -> None:
    with pytest.raises(BadImage, match=f"expected a path, bytes, an array or a Pillow image; got {kind}$") as caught:
        decode(image, POLICY)
    assert caught.value.kind == "not-an-image"


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3)])
def test_a_tensor_is_an_array(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    tensor: Any = torch.from_numpy(pixels)
    np.testing.assert_equal(decode(tensor, POLICY).pixels, decode(pixels, POLICY).pixels)
    learned: Any = (tensor / 255).requires_grad_()
    np.testing.assert_equal(decode(learned, POLICY).pixels, decode(pixels, POLICY).pixels)
    assert read_header(tensor, POLICY).height == 5
    with pytest.raises(BadImage, match="the Tensor cannot become an array"):
        decode(tensor.bfloat16(), POLICY)
