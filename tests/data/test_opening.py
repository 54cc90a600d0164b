"""One source from several: validation and test of their own become its parts, each with what belongs to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rig
import scenes
import small
from convlens.config import Config
from convlens.data.opening import open_all
from convlens.data.record import Record, Source
from convlens.errors import ClassMismatch, ConfigError, DataError


def masked(**options: object) -> Config:
    return Config.build({"task": "segment"}, {f"data.{key}": str(value) for key, value in options.items()})


def test_parts_of_their_own_take_the_place_of_those_the_source_has(tmp_path: Path) -> None:
    main = tmp_path / "main"
    for part in ("train", "valid", "test"):
        small.photos(main / part, 6)
    other = small.photos(tmp_path / "other", 9)
    source = open_all(Config.build({"data.source": str(main), "data.test": str(other)}))
    parts = {part: [r for r in source.records if r.split == part] for part in ("train", "valid", "test")}
    assert {part: len(records) for part, records in parts.items()} == {"train": 6, "valid": 6, "test": 9}
    assert all(r.id.startswith("test:") and Path(str(r.image)).is_relative_to(other) for r in parts["test"])
    assert not any(":" in r.id for r in (*parts["train"], *parts["valid"]))


def test_what_the_source_does_not_place_is_for_training(tmp_path: Path) -> None:
    main, other = small.photos(tmp_path / "main", 6), small.photos(tmp_path / "other", 6)
    source = open_all(Config.build({"data.source": str(main), "data.valid": str(other)}))
    assert [record.split for record in source.records] == ["train"] * 6 + ["valid"] * 6


def test_validation_and_test_have_masks_of_their_own(tmp_path: Path) -> None:
    main, valid, test = (scenes.masked(tmp_path / name, seed=seed, n=6) for seed, name in enumerate(("a", "b", "c")))
    source = open_all(masked(source=main, valid=valid, test=test))
    for record in source.records:
        folder = {"train": main, "valid": valid, "test": test}[str(record.split)]
        mask, image = source.target(record), record.image
        assert isinstance(mask, Path)
        assert isinstance(image, Path)
        assert mask.resolve() == (folder / "masks" / image.name).resolve()
    elsewhere = masked(source=main / "images", masks=main / "masks", valid=valid)
    assert {str(source.target(r)) for r in open_all(elsewhere).records if r.split == "valid"} <= {
        str(source.target(r)) for r in source.records
    }


def test_masks_of_training_are_not_those_of_other_images_of_the_same_name(tmp_path: Path) -> None:
    main, other = scenes.masked(tmp_path / "a"), scenes.files(tmp_path / "b", scenes.scenes(6)[0])
    with pytest.raises(
        DataError, match=r"00\.png would belong to 00\.png and to valid:00\.png, which only share a name"
    ):
        open_all(masked(source=main / "images", masks=main / "masks", valid=other))


@pytest.mark.parametrize("options", [{"data.folds": 5}, {"data.fold": 1}, {"data.folds": 3, "data.fold": 4}])
def test_a_fold_that_does_not_exist_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"belong together: fold 1 of 5, to 5 of 5; got "):
        open_all(Config.build(options), rig.pictures())


@pytest.mark.parametrize("given", [{"valid": "digits"}, {"test_fraction": 0.3}])
def test_in_a_cross_validation_there_is_no_other_part(given: dict[str, object]) -> None:
    options = {"data.folds": 5, "data.fold": 1, **{f"data.{name}": value for name, value in given.items()}}
    with pytest.raises(ConfigError, match=r"leave out data\.valid, data\.test and data\.test_fraction"):
        open_all(Config.build(options), rig.pictures())


def test_files_and_arrays_do_not_go_together(tmp_path: Path) -> None:
    config = Config.build({"data.valid": str(small.photos(tmp_path, 6))})
    with pytest.raises(DataError, match=r"data\.valid must be of the same kind as data\.source; got .* beside arrays"):
        open_all(config, rig.pictures(30))


def test_rows_of_arrays_go_on_where_those_of_the_source_end() -> None:
    source = open_all(Config.build({"data.source": "digits", "data.valid": "digits"}))
    assert source.arrays is not None
    n = len(source.arrays) // 2
    assert [record.image for record in source.records if record.split == "valid"] == list(range(n, 2 * n))
    np.testing.assert_equal(source.arrays[:n], source.arrays[n:])
    with pytest.raises(DataError, match=r"of data\.valid must be 10 x 10 x 1 as in .*; got 8 x 8 in digits"):
        open_all(Config.build({"data.valid": "digits"}), rig.pictures(30))


def test_classes_of_a_part_must_be_those_of_training() -> None:
    images = rig.pictures(4)[0]
    labels, parts = ("a", "b", "b", "c"), ("train", "train", "test", "test")
    rows = zip(range(4), labels, parts, strict=True)
    source = Source("mine", tuple(Record(f"#{i}", i, label, None, part) for i, label, part in rows), images)
    with pytest.raises(ClassMismatch, match=r"mine: the classes of test differ .* train: a, b\. test: b, c\."):
        open_all(Config(), source)


def test_clean_pictures_and_a_noise_to_add_are_not_both_asked_for(tmp_path: Path) -> None:
    noisy, clean = small.photos(tmp_path / "noisy", 6), small.photos(tmp_path / "clean", 6)
    asked = {"task": "denoise", "data.source": str(noisy), "data.clean": str(clean)}
    assert open_all(Config.build(asked)).kind == "pair"
    with pytest.raises(ConfigError, match=r"Give either data\.clean=.*clean, .* or .* data\.corruption=poisson:30"):
        open_all(Config.build(asked, {"data.corruption": "poisson:30"}, origin="argument"))
