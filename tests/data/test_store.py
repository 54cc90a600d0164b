from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convlens.data import store as module
from convlens.data.facts import Fact
from convlens.data.image import decode
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Record, Source
from convlens.data.store import Store, build_store, fingerprint, scan
from convlens.errors import DataError, RunError
from convlens.files import ASIDE, locked


def preprocess(size: int = 8, channels: int = 3, **fields: Any) -> Preprocess:
    half = (0.5,) * channels
    plain = Preprocess(ImagePolicy(channels=channels), (size, size), (size, size), "crop", half, half)
    return replace(plain, **fields)


def noise(n: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Six pictures of many sizes and two files that are none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    records = []
    for i in range(8):
        path = folder / f"{i}.png"
        if i in (2, 5):
            path.write_bytes(b"not a picture")
        else:
            Image.fromarray(noise(8, 10 + i, 9 + 2 * i, 3)[i]).save(path)
        records.append(Record(path.name, path, "ab"[i % 2]))
    return Source("photos", tuple(records), root=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "stores"


def build(source: Source, folder: Path, how: Preprocess | None = None, **options: Any) -> Store:
    return build_store(source, how or preprocess(), **{"directory": folder, "memory_mb": 0, "threads": 2} | options)


def count_decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    decoded: list[str] = []

    whole = Preprocess.decode

    def counted(self: Preprocess, image: Any, name: str) -> Any:
        decoded.append(name)
        return whole(self, image, name)

    monkeypatch.setattr(Preprocess, "decode", counted)
    return decoded


def test_a_row_is_the_preprocessed_image_and_a_bad_file_has_none(source: Source, folder: Path) -> None:
    how = preprocess()
    for memory_mb in (100, 0):
        store = build(source, folder, how, memory_mb=memory_mb)
        assert [record.id for record in store.records] == [f"{i}.png" for i in (0, 1, 3, 4, 6, 7)]
        assert (store.images.shape, store.images.dtype) == ((6, 8, 8, 3), np.uint8)
        for row, record in zip(store.images, store.records, strict=True):
            np.testing.assert_array_equal(row, how.pixels(decode(source.image(record), how.policy)))
        assert [(fact.id, fact.kind) for fact in store.facts if not fact.ok] == [
            ("2.png", "not-an-image"),
            ("5.png", "not-an-image"),
        ]
        assert store.facts == scan(source, how.policy, threads=1)
        assert (store.path is None) == (memory_mb == 100)


def test_only_a_set_larger_than_memory_mb_goes_to_disk(folder: Path) -> None:
    source = Source("a", tuple(Record(f"a#{i}", i, "x") for i in range(16)), noise(16, 256, 256))
    how = preprocess(256, 1)  # exactly 1 MB
    assert build(source, folder, how, memory_mb=1).path is None
    assert not folder.exists()
    more = replace(source, records=(*source.records, Record("again", 0, "x")))
    assert isinstance(build(more, folder, how, memory_mb=1).images, np.memmap)


def test_arrays_of_the_stored_size_are_taken_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = noise(1030, 8, 8)
    source = Source("a", tuple(Record(f"a#{i}", i, "x") for i in range(1029, -1, -1)), arrays)
    decoded = count_decodes(monkeypatch)
    monkeypatch.setattr(Preprocess, "pixels", lambda *_: pytest.fail("resized"))
    np.testing.assert_array_equal(build(source, folder, preprocess(8, 1), memory_mb=9).images[..., 0], arrays[::-1])
    colour = build(source, folder, preprocess(8, 3), memory_mb=9).images
    np.testing.assert_array_equal(colour, np.repeat(arrays[::-1, :, :, None], 3, axis=3))
    assert decoded == []


def test_small_arrays_of_another_size_are_resized(folder: Path) -> None:
    how, arrays = preprocess(12, 1, fit="pad"), noise(20, 8, 10)
    store = build(Source("a", tuple(Record(f"a#{i}", i, "x") for i in range(20)), arrays), folder, how, memory_mb=9)
    wanted = [how.pixels(decode(image, how.policy)) for image in arrays]
    np.testing.assert_array_equal(store.images, wanted)


def test_a_complete_file_is_used_again_without_decoding(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(source, folder)
    decoded = count_decodes(monkeypatch)
    relabelled = replace(source, records=tuple(replace(record, label="z") for record in source.records))
    again = build(relabelled, folder, preprocess(mean=(0.1, 0.2, 0.3), std=(0.9, 0.8, 0.7)))
    assert (decoded, first.reused, again.reused) == ([], False, True)
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.facts, again.path) == (first.facts, first.path)
    assert again.records[0].label == "z"
    assert again.fingerprint != first.fingerprint
    with pytest.raises(ValueError, match="read-only"):
        again.images[0] = 0


def _edit(source: Source) -> tuple[Source, Preprocess]:
    path = source.records[0].image
    assert isinstance(path, Path)
    data, about = path.read_bytes(), path.stat()
    Image.fromarray(noise(1, 10, 9, 3)[0] // 2).save(path)
    path.write_bytes(path.read_bytes()[: len(data)].ljust(len(data), b"\0"))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # same size, same time: only the time of change tells
    return source, preprocess()


CHANGES: dict[str, Any] = {
    "an edited file": _edit,
    "a record less": lambda source: (replace(source, records=source.records[1:]), preprocess()),
    "another order": lambda source: (replace(source, records=source.records[::-1]), preprocess()),
    "another size": lambda source: (source, preprocess(9)),
    "another fit": lambda source: (source, preprocess(fit="squash")),
    "another policy": lambda source: (source, preprocess(policy=ImagePolicy(background=(0, 0, 0)))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_pixels_decides_the_key(
    change: str, source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(source, folder)
    source, how = CHANGES[change](source)
    decoded = count_decodes(monkeypatch)
    assert not build(source, folder, how).reused
    assert len(decoded) == len(source.records)


def test_changed_arrays_are_another_store(folder: Path) -> None:
    arrays = noise(4, 8, 8)
    source = Source("a", tuple(Record(f"a#{i}", i, "x") for i in range(4)), arrays)
    build(source, folder, preprocess(8, 1))
    arrays[2, 3, 4] ^= 1
    changed = build(source, folder, preprocess(8, 1))
    assert not changed.reused
    assert changed.images[2, 3, 4, 0] == arrays[2, 3, 4]


def _card(path: Path, **changes: Any) -> None:
    card = json.loads((path / "facts.json").read_text())
    (path / "facts.json").write_text(json.dumps(card | changes))


DAMAGE: dict[str, Any] = {
    "pixels cut off": lambda path: os.truncate(path / "pixels", 100),
    "pixels missing": lambda path: (path / "pixels").unlink(),
    "facts missing": lambda path: (path / "facts.json").unlink(),
    "facts cut off": lambda path: os.truncate(path / "facts.json", 100),
    "facts of another key": lambda path: _card(path, key="0" * 64),
    "facts of another format": lambda path: _card(path, format="convlens.store/0"),
    "facts of nothing": lambda path: _card(path, facts=[]),
    "facts of too few fields": lambda path: _card(path, facts=[["0.png", True]] * 8),
    "facts that are a list": lambda path: (path / "facts.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_incomplete_or_foreign_file_is_never_used(damage: str, source: Source, folder: Path) -> None:
    first = build(source, folder)
    wanted = np.array(first.images)
    assert first.path is not None
    DAMAGE[damage](first.path)
    again = build(source, folder)
    assert not again.reused
    np.testing.assert_array_equal(again.images, wanted)
    assert build(source, folder).reused


def test_an_interrupted_pass_leaves_nothing_that_is_used(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, folder, progress=interrupt)
    (path,) = folder.iterdir()
    assert [p.name for p in path.iterdir()] == ["lock"]
    (path / f"pixels.123{ASIDE}").write_bytes(b"what a killed process left")
    assert not build(source, folder).reused
    assert sorted(p.name for p in path.iterdir()) == ["facts.json", "lock", "pixels"]


def test_a_kill_between_pixels_and_facts_counts_as_incomplete(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_atomic", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(source, folder)
    assert not build(source, folder).reused


def test_a_disk_known_to_be_too_small_is_named_before_anything_is_decoded(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = count_decodes(monkeypatch)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DataError, match=r"need up to 0\.0 MB in .*; 0\.0 MB are free there\. Make room, .*memory_mb"):
        build(source, folder)
    assert decoded == []


def test_a_disk_that_fills_up_says_so_and_leaves_nothing(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="MB are free there"):
        build(source, folder)
    (path,) = folder.iterdir()
    assert [p.name for p in path.iterdir()] == ["lock"]


def test_another_error_of_the_disk_stays_what_it_is(
    source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        build(source, folder)


def test_a_folder_that_cannot_be_made_is_named(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match=r"file.* for decoded images cannot be made .*Choose another run\.directory"):
        build(source, tmp_path / "file")


def test_two_processes_do_not_write_one_store(source: Source, folder: Path) -> None:
    path = build(source, folder).path
    assert path is not None
    (path / "facts.json").unlink()
    with locked(path), pytest.raises(RunError, match="Another process is working"):
        build(source, folder)


def test_a_mapped_store_without_a_readable_image_has_no_rows(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"bad")
    source = Source(
        "bad", (Record("bad.png", tmp_path / "bad.png", "x"), Record("gone.png", tmp_path / "gone.png", "x"))
    )
    store = build(source, folder)
    assert (store.images.shape, store.records) == ((0, 8, 8, 3), ())
    assert [fact.kind for fact in store.facts] == ["not-an-image", "missing"]
    assert build(source, folder).reused


def test_threads_change_nothing(source: Source, folder: Path) -> None:
    one, four = (build(source, folder, memory_mb=9, threads=threads) for threads in (1, 4))
    np.testing.assert_array_equal(one.images, four.images)
    assert (one.facts, one.fingerprint) == (four.facts, four.fingerprint)


def test_the_fingerprint_knows_content_and_labels_but_not_order_or_size(source: Source, folder: Path) -> None:
    plain = build(source, folder, memory_mb=9).fingerprint
    reversed_ = replace(source, records=source.records[::-1])
    assert build(reversed_, folder, preprocess(5), memory_mb=9).fingerprint == plain
    relabelled = (replace(source.records[0], label="b"), *source.records[1:])
    facts = scan(source, ImagePolicy(), 1)
    assert fingerprint(source.records, facts) == plain
    assert fingerprint(relabelled, facts) != plain
    assert fingerprint(source.records, (replace(facts[0], content="0"), *facts[1:])) != plain
    renamed = (replace(source.records[0], id="other"), *source.records[1:])
    assert fingerprint(renamed, (replace(facts[0], id="other"), *facts[1:])) != plain


def test_facts_survive_json(source: Source) -> None:
    facts = (*scan(source, ImagePolicy(), 1), Fact("a", True, mode="I;16", phash=2**64 - 1, notes=("x", "y")))
    assert [module._fact(json.loads(json.dumps(module._row(fact)))) for fact in facts] == list(facts)
