from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from convlens.data.arrays import DARK_NOTE, SIXTEEN_BIT_NOTE
from convlens.data.facts import Fact
from convlens.data.findings import Finding
from convlens.data.health import Health, inspect, leaks
from convlens.data.sources import Record, Source
from convlens.data.split import Split
from convlens.errors import DataError

Facts = list[Fact]


def fact(id_: str, **fields: Any) -> Fact:
    """A readable picture of its own."""
    return Fact(
        **{
            "id": id_,
            "ok": True,
            "mode": "RGB",
            "height": 100,
            "width": 100,
            "peak": 255,
            "content": f"content of {id_}",
            "phash": zlib.crc32(id_.encode()) * 0x9E3779B97F4A7C15 % 2**64,
            "thumb": bytes(np.random.default_rng(len(id_)).integers(0, 255, 256, dtype=np.uint8)),
        }
        | fields
    )


def bad(id_: str, kind: str = "empty") -> Fact:
    return Fact(id_, False, kind, f"the file is {kind}")


def source_of(facts: Facts, labels: Sequence[str | None], **fields: Any) -> Source:
    records = tuple(Record(fact.id, i, label) for i, (fact, label) in enumerate(zip(facts, labels, strict=True)))
    return Source("photos", records, **fields)


def look(facts: Facts, labels: Sequence[str | None], near_duplicates: bool = False, **options: Any) -> Health:
    return inspect(source_of(facts, labels), facts, near_duplicates=near_duplicates, **options)


def good(n: int, **fields: Any) -> Facts:
    return [fact(f"{i}.jpg", **fields) for i in range(n)]


def only(findings: tuple[Finding, ...], kind: str) -> Finding:
    (found,) = [finding for finding in findings if finding.kind == kind]
    return found


def test_healthy_images_have_no_findings() -> None:
    assert look(good(20), "ab" * 10, size_px=(100, 100)) == Health((), ())


def test_unreadable_images_are_counted_by_kind_and_all_named() -> None:
    facts = [*good(997), bad("x.jpg"), bad("y.jpg", "truncated"), bad("z.jpg", "truncated")]
    found = look(facts, "ab" * 500)
    assert found.findings == (
        Finding(
            "unreadable",
            "warning",
            "3 of 1,000 images (0.3 %) cannot be used and are left out: 2 truncated, 1 empty. "
            "x.jpg (the file is empty), y.jpg (the file is truncated) and 1 more.",
            ("x.jpg", "y.jpg", "z.jpg"),
        ),
    )


@pytest.mark.parametrize(("most", "stops"), [(0.2, False), (0.19, True), (0.0, True)])
def test_too_many_unreadable_images_stop_the_run(most: float, stops: bool) -> None:
    facts = [*good(16), *(bad(f"bad{i}.jpg") for i in range(4))]
    errors = [f for f in look(facts, "ab" * 10, max_bad_fraction=most).findings if f.severity == "error"]
    assert [f.kind for f in errors] == ["too-many-unreadable"] * stops
    if stops:
        assert (
            f"20 % of the images of photos cannot be used (4 of 20); at most {most * 100:g} % may be"
            in errors[0].message
        )


def test_too_many_unreadable_images_are_said_with_their_faults() -> None:
    facts = [*good(4), bad("a.jpg"), bad("b.jpg", "truncated"), bad("c.jpg", "truncated")]
    [error] = [f for f in look(facts, "abababa").findings if f.kind == "too-many-unreadable"]
    assert error.message.endswith("What is wrong: 2 truncated, 1 empty. The first is a.jpg (the file is empty).")


@pytest.mark.parametrize(
    ("facts", "said"), [([], "it holds no image"), ([bad("a"), bad("b")], "none of its 2 images can be read")]
)
def test_nothing_to_train_on_is_an_error(facts: Facts, said: str) -> None:
    found = look(facts, ["x"] * len(facts))
    assert only(found.findings, "no-images").severity == "error"
    assert said in only(found.findings, "no-images").message
    assert found.duplicate_groups == ()


def test_an_emptied_class_is_an_error_and_so_is_one_that_never_had_an_image() -> None:
    facts = [*good(12), bad("c1.jpg"), bad("c2.jpg")]
    source = source_of(facts, "ab" * 6 + "cc", classes=("a", "b", "c", "d"))
    findings = inspect(source, facts, near_duplicates=False, max_bad_fraction=0.5).findings
    emptied, absent = [f for f in findings if f.kind == "empty-class"]
    assert (emptied.severity, emptied.records) == ("error", ("c1.jpg", "c2.jpg"))
    assert "Class 'c' is empty: none of its 2 images can be read" in emptied.message
    assert "Class 'd' is empty: no image has this label" in absent.message


def test_one_class_alone_is_an_error() -> None:
    found = only(look(good(9), "a" * 9).findings, "one-class")
    assert (found.severity, "All 9 images are of one class, 'a'" in found.message) == ("error", True)


def test_images_without_labels_have_no_findings_about_classes() -> None:
    assert look(good(3), [None] * 3).findings == ()


def test_tiny_classes_are_warned_of_and_a_single_image_is_an_error() -> None:
    facts = good(5 + 4 + 2 + 1)
    single, tiny = [f for f in look(facts, "aaaaabbbbccd").findings if f.kind == "tiny-class"]
    assert (single.severity, single.records) == ("error", ("11.jpg",))
    assert single.message.startswith("Class 'd' has 1 image, which cannot be both learnt and tested.")
    assert (tiny.severity, len(tiny.records)) == ("warning", 6)
    assert tiny.message == "2 classes have fewer than 5 images; a score on so few says little. Add images: b, c."


@pytest.mark.parametrize(("labels", "warned"), [("a" * 15 + "b" * 5, False), ("a" * 16 + "b" * 5, True)])
def test_more_than_three_to_one_is_unbalanced(labels: str, warned: bool) -> None:
    found = [f for f in look(good(len(labels)), labels).findings if f.kind == "imbalance"]
    assert len(found) == warned
    if warned:
        assert "'a' has 16 images, 'b' 5 (3.2 to 1). Always answering 'a' is right for 76.2 %" in found[0].message


def test_imbalance_counts_what_is_left_after_bad_files() -> None:
    facts = [*good(14), *(bad(f"bad{i}") for i in range(6))]
    assert only(look(facts, "a" * 10 + "b" * 4 + "b" * 6).findings, "tiny-class").severity == "warning"
    assert "imbalance" not in {f.kind for f in look(facts, "a" * 10 + "b" * 10).findings}


def test_equal_images_are_a_warning_and_contradicting_labels_another() -> None:
    facts = [*good(10), fact("copy0", content="content of 0.jpg"), fact("copy3", content="content of 3.jpg")]
    found = look(facts, "ab" * 5 + "aa")
    assert found.duplicate_groups == ((0, 10), (3, 11))
    same, conflict = only(found.findings, "duplicate"), only(found.findings, "conflicting-labels")
    assert same.message.startswith("4 images are equal to another, pixel for pixel, in 2 groups.")
    assert (same.severity, same.records) == ("warning", ("0.jpg", "copy0", "3.jpg", "copy3"))
    assert (conflict.severity, conflict.records) == ("warning", ("3.jpg", "copy3"))
    assert "in 1 group; one label at most is right. For one: 3.jpg is 'b', copy3 is 'a'." in conflict.message


def test_groups_count_kept_records_only() -> None:
    facts = [bad("bad"), *good(6), fact("copy", content="content of 5.jpg")]
    assert look(facts, "aababab" + "b", max_bad_fraction=0.5).duplicate_groups == ((5, 6),)


def test_near_duplicates_are_looked_for_on_demand() -> None:
    thumb = bytes(range(256))
    near = [
        fact("n1", phash=0b0111, thumb=thumb),
        fact("n2", phash=0, thumb=thumb),
        fact("n3", phash=0b0011, thumb=thumb),
    ]
    facts = [*good(8), *near, fact("copy", content="content of n2", phash=0, thumb=thumb)]
    labels = "ab" * 4 + "abaa"
    assert look(facts, labels).duplicate_groups == ((9, 11),)
    found = look(facts, labels, near_duplicates=True)
    assert found.duplicate_groups == ((8, 9, 10, 11),)
    message = only(found.findings, "near-duplicate").message
    assert only(found.findings, "near-duplicate").severity == "note"
    assert message.startswith(
        "4 images look nearly the same as another, in 1 group, the largest of 4; 1 group of more than"
    )


def test_what_was_not_compared_is_said() -> None:
    facts = [*good(10), *(fact(f"small{i}", height=28, width=28) for i in range(4))]
    skipped = only(look(facts, "ab" * 7, near_duplicates=True).findings, "near-duplicate-skipped")
    assert "among 4 of 14 images: under 32 px" in skipped.message
    assert skipped.records == ("small0", "small1", "small2", "small3")
    all_small = look(good(10, height=28, width=28), "ab" * 5, near_duplicates=True)
    assert only(all_small.findings, "near-duplicate-skipped").records == ()
    assert look(facts, "ab" * 7).findings[0].kind != "near-duplicate-skipped"


def test_an_ended_search_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from convlens.data import health
    from convlens.data.duplicates import Search

    monkeypatch.setattr(health, "search", lambda _: Search((), (), 123_456, False))
    found = only(look(good(10), "ab" * 5, near_duplicates=True).findings, "near-duplicate-incomplete")
    assert (found.severity, "123,456 comparisons" in found.message) == ("warning", True)


def test_sizes_shapes_and_small_images_are_said() -> None:
    facts = [*good(8), fact("long", height=50, width=400), fact("tall", height=300, width=100), fact("w", height=90)]
    found = look(facts, "ab" * 5 + "a", size_px=(96, 64)).findings
    assert only(found, "odd-size").message == (
        "The images differ in size. Smallest, median and largest height: 50, 100 and 300 px; "
        "width: 100, 100 and 400 px."
    )
    assert only(found, "odd-shape").records == ("long",)
    assert "long (50 x 400 px)" in only(found, "odd-shape").message
    small = only(found, "small-image")
    assert (small.severity, small.records) == ("note", ("long", "w"))
    assert "2 of 11 images are smaller than the network's input of 96 x 64 px" in small.message
    assert "small-image" not in {f.kind for f in look(facts, "ab" * 5 + "a").findings}


def test_mixed_modes_and_notes_of_the_decoder_are_counted() -> None:
    facts = [
        *good(6),
        fact("g", mode="L", notes=("turned upright",)),
        *(fact(f"u{i}", notes=("turned upright", "x")) for i in (1, 2)),
    ]
    found = look(facts, "ab" * 4 + "a").findings
    assert "in 2 modes, RGB (8), L (1)" in only(found, "mixed-modes").message
    assert [(f.message, f.severity, f.records) for f in found if f.kind == "decoded"] == [
        ("3 of 9 images: turned upright.", "note", ("g", "u1", "u2")),
        ("2 of 9 images: x.", "note", ("u1", "u2")),
    ]


@pytest.mark.parametrize(
    ("peak", "white_level", "likely"),
    [(16, 65535, 4095), (4, 65535, 1023), (1, 65535, 255), (64, 65535, 16383), (62, 4095, 1023), (0, 65535, 255)],
)
def test_16_bit_images_that_stay_dark_suggest_their_white_level(peak: int, white_level: int, likely: int) -> None:
    facts = good(10, mode="I;16", peak=peak, notes=(SIXTEEN_BIT_NOTE, DARK_NOTE))
    found = only(look(facts, "ab" * 5, white_level=white_level).findings, "dark-16-bit")
    assert found.severity == "warning"
    assert found.message.endswith(f"Set data.white_level, probably to {likely}.")
    assert f"at most {peak + 1} of 256 grey levels" in found.message


def test_one_bright_16_bit_image_shows_that_the_range_is_used() -> None:
    dark = good(9, mode="I;16", peak=10, notes=(SIXTEEN_BIT_NOTE, DARK_NOTE))
    facts = [*dark, fact("bright", mode="I;16", peak=200, notes=(SIXTEEN_BIT_NOTE,))]
    assert "dark-16-bit" not in {f.kind for f in look(facts, "ab" * 5).findings}


def test_facts_of_another_source_are_refused() -> None:
    facts = good(6)
    source = source_of(facts, "ababab")
    with pytest.raises(DataError, match=r"one fact for each of the 6 records of photos.* got 5 facts"):
        inspect(source, facts[1:], near_duplicates=False)
    with pytest.raises(DataError, match="in their order"):
        inspect(source, facts[::-1], near_duplicates=False)


# Leaks ----------------------------------------------------------------------------------------------------------------


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def records(n: int, group: Callable[[int], str | None] = lambda _: None) -> list[Record]:
    return [Record(f"r{i}", i, "x", group(i)) for i in range(n)]


def test_a_group_on_two_sides_is_a_leak_with_all_its_ids() -> None:
    split = Split(rows(0, 1, 2, 3), rows(4, 5), rows(6, 7))
    (found,) = leaks(split, ((0, 1), (2, 6), (3, 4, 5)), records(8))
    assert (found.kind, found.severity, found.records) == ("leak", "warning", ("r2", "r6", "r3", "r4", "r5"))
    assert found.message.startswith("Leak: 2 groups of identical or nearly identical images on two sides")
    assert "(2 of 4 training images; 2 of 2 validation images; 1 of 2 test images)" in found.message


def test_groups_of_the_user_leak_too() -> None:
    split = Split(rows(0, 1), rows(2), rows(3))
    (found,) = leaks(split, ((0, 1),), records(4, lambda i: "animal" if i in (1, 3) else None))
    assert found.records == ("r1", "r3")
    assert found.message.startswith("Leak: 1 group of records that belong together on two sides")


def test_a_clean_split_has_no_leak_and_rows_outside_it_do_not_count() -> None:
    split = Split(rows(0, 1), rows(2), rows(3))
    assert leaks(split, ((0, 1), (3, 4)), records(5)) == ()
