from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import torture
from convlens.data import facts as module
from convlens.data.arrays import DIM_NOTE
from convlens.data.facts import JOBS_AHEAD, Fact, decode_all, look, scan
from convlens.data.image import decode
from convlens.data.policy import ImagePolicy
from convlens.data.sources import Record, Source

GREY, RGB = ImagePolicy(channels=1), ImagePolicy(channels=3)


def noise(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def in_memory(arrays: np.ndarray) -> Source:
    return Source("arrays", tuple(Record(f"a#{i}", i, "x") for i in range(len(arrays))), arrays)


def on_disk(folder: Path, *names: str) -> Source:
    return Source("files", tuple(Record(name, folder / name, "x") for name in names), root=folder)


def bits(one: int, other: int) -> int:
    return (one ^ other).bit_count()


@pytest.mark.parametrize(("shape", "policy"), [((20, 30), GREY), ((9, 64), RGB), ((7, 5, 3), RGB), ((8, 8, 1), GREY)])
def test_many_small_arrays_at_once_give_the_facts_of_one_at_a_time(
    shape: tuple[int, ...], policy: ImagePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = in_memory(noise(700, *shape))
    source.arrays[3] = source.arrays[3] % 2  # type: ignore[index]
    together = scan(source, policy, threads=2)
    monkeypatch.setattr(module, "_plain_rows", lambda *_: None)
    alone = scan(source, policy, threads=1)
    assert together[3].notes == (DIM_NOTE,)
    for one, other in zip(together, alone, strict=True):
        assert [getattr(one, name) for name in ("id", "ok", "mode", "height", "width", "peak", "content", "notes")] == [
            getattr(other, name) for name in ("id", "ok", "mode", "height", "width", "peak", "content", "notes")
        ]
        assert bits(one.phash, other.phash) <= 1
        assert np.abs(np.subtract(list(one.thumb), list(other.thumb))).max() <= 1


@pytest.mark.parametrize(
    ("arrays", "policy"),
    [
        (noise(2, 8, 8, 3), GREY),  # colour to grey is the decoder's business
        (noise(2, 8, 80), GREY),  # large ones are shrunk first
        (noise(2, 8, 8).astype(np.uint16), GREY),
        (noise(2, 8, 8), ImagePolicy(channels=1, max_side_px=7)),
    ],
)
def test_arrays_that_need_the_decoder_get_it(arrays: np.ndarray, policy: ImagePolicy) -> None:
    assert module._plain_rows(in_memory(arrays), policy) is None


def test_every_odd_file_ends_as_the_policy_says(tmp_path: Path) -> None:
    wanted = torture.build(tmp_path)
    found = scan(on_disk(tmp_path, *wanted), ImagePolicy(), threads=2)
    assert [fact.id for fact in found] == list(wanted)
    for fact in found:
        expected = wanted[fact.id]
        assert (fact.ok, fact.kind) == (expected.kind is None, expected.kind), fact
        if fact.ok:
            assert (fact.mode, (fact.height, fact.width)) == (expected.mode, expected.size_px), fact
            assert set(fact.notes) == set(expected.notes), fact
        else:
            assert expected.says in str(fact.reason), fact
            assert (fact.content, fact.thumb) == ("", b"")


def test_facts_come_in_the_order_of_records_whatever_the_threads_do(monkeypatch: pytest.MonkeyPatch) -> None:
    source = in_memory(noise(24, 70, 2))

    def slow_at_first(image: np.ndarray, policy: ImagePolicy, name: str) -> object:
        time.sleep(0.02 if int(name[2:]) % 4 == 0 else 0.0)
        return decode(image, policy, name)

    monkeypatch.setattr(module, "decode", slow_at_first)
    told: list[tuple[int, int]] = []
    found = scan(source, GREY, threads=4, progress=lambda done, total: told.append((done, total)))
    assert [fact.id for fact in found] == [record.id for record in source.records]
    assert told == [(done, 24) for done in range(1, 25)]


def test_no_more_than_a_few_decoded_images_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def counted(image: np.ndarray, policy: ImagePolicy, name: str) -> object:
        decoded.append(name)
        return decode(image, policy, name)

    monkeypatch.setattr(module, "decode", counted)
    waiting = decode_all(in_memory(noise(100, 70, 2)), GREY, None, threads=2)
    next(waiting)
    time.sleep(0.2)
    assert len(decoded) <= 2 * JOBS_AHEAD
    waiting.close()
    assert not any(thread.name.startswith("decode") for thread in threading.enumerate())


def test_a_fault_of_the_program_leaves_with_the_name_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(image: np.ndarray, policy: ImagePolicy, name: str) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(module, "decode", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        scan(in_memory(noise(3, 70, 2)), GREY, threads=2)
    assert caught.value.__notes__ == ["while decoding a#0 of arrays"]


def test_the_same_picture_has_the_same_content_in_any_lossless_file(tmp_path: Path) -> None:
    pixels = noise(1, 12, 15, 3)[0]
    for name in ("a.png", "b.bmp", "c.tif"):
        Image.fromarray(pixels).save(tmp_path / name)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(tmp_path / "d.png")
    Image.fromarray(pixels.reshape(15, 12, 3)).save(tmp_path / "e.png")
    contents = [fact.content for fact in scan(on_disk(tmp_path, "a.png", "b.bmp", "c.tif", "d.png", "e.png"), RGB, 1)]
    assert contents[0] == contents[1] == contents[2]
    assert len(set(contents)) == 3


def test_the_hash_says_where_it_gets_brighter_and_the_thumbnail_how_bright_it_is() -> None:
    ramp = np.repeat(np.arange(0, 180, 4, dtype=np.uint8)[None], 45, axis=0)
    pictures = np.stack([ramp, ramp[:, ::-1], np.full_like(ramp, 77), ramp.T])[..., None]
    hashes, thumbs = look(pictures)
    assert [int(h) for h in hashes] == [2**64 - 1, 0, 0, 0]
    assert set(thumbs[2].tolist()) == {77}
    assert thumbs[0].reshape(16, 16)[5].tolist() == thumbs[3].reshape(16, 16)[:, 5].tolist()
    half = np.zeros((1, 8, 9, 1), np.uint8)
    half[0, 0, 4:] = 9  # the first row gets brighter once, from its fourth region to its fifth
    assert int(look(half)[0][0]) == 1 << (63 - 3)


def test_colours_are_seen_as_their_luminance() -> None:
    red = np.zeros((1, 20, 20, 3), np.uint8)
    red[..., 0] = 200
    assert set(look(red)[1][0].tolist()) == {60}


def test_a_fact_is_plain_data() -> None:
    assert Fact("a", False, "empty", "no bytes") == Fact("a", False, "empty", "no bytes")
