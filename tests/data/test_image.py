"""The decoder against the written policy: the torture folder as a whole, and each rule by itself."""

from __future__ import annotations

import hashlib
import io
import os
import random
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from convlens.data import arrays, container, image
from convlens.data.image import decode
from convlens.data.image_file import read_header
from convlens.data.pixels import encode_png, resize
from convlens.data.policy import Decoded, ImagePolicy
from convlens.errors import BadImage
from torture import FLAG_POINTS, Expectation, chunk, encoded, exif, flag, npy, png, stored_for, waves
from verdicts import KINDS, POLICY, complaint, complaints, outcome

GREY = ImagePolicy(channels=1)


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


def test_settings_of_pillow_and_warnings_are_left_alone(torture: tuple[Path, dict[str, Expectation]]) -> None:
    def state() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK, list(warnings.filters)

    before = state()
    complaints(*torture)
    assert state() == before
    assert Image.MAX_IMAGE_PIXELS == 89_478_485


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


def test_the_written_policy_names_every_outcome() -> None:
    text = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    notes = {value for module in (image, arrays) for name, value in vars(module).items() if name.endswith("_NOTE")}
    assert len(notes) == 12
    assert {kind for kind in KINDS if f"`{kind}`" not in text} == set()
    assert {note for note in notes if note not in text} == set()
