"""What images are to be answered with, for every kind of target, and what a model keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import scenes
from convlens.data.classes import Classes
from convlens.data.mask_targets import understand
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Source, open_source
from convlens.data.store import build_store
from convlens.data.targets import Targets, make_targets, names_of_outputs
from convlens.errors import ClassMismatch, DataError
from convlens.options import DataConfig

IMAGES, MASKS = scenes.scenes(30, kinds=2)


def targets(
    source: Source, folder: Path, names: Classes | None = None, groups: tuple[str, ...] = (), **data: object
) -> Targets:
    preprocess = Preprocess(ImagePolicy(channels=1), (16, 16), (16, 16), "pad", (0.5,), (0.5,))
    store = build_store(source, preprocess, directory=folder, memory_mb=64, threads=1)
    given = DataConfig(**data)  # type: ignore[arg-type]
    return make_targets(source, store.records, store.kept, given, preprocess, names, groups)


def of(labels: object, kind: str, folder: Path, **more: object) -> Targets:
    source = open_source((IMAGES[: len(labels)], labels), DataConfig(), kind=kind)  # type: ignore[arg-type]
    return targets(source, folder, **more)  # type: ignore[arg-type]


def masked(values: np.ndarray = MASKS) -> Source:
    return understand(open_source((IMAGES, values), DataConfig(), kind="mask"), DataConfig())


def test_classes_are_numbered_by_name(tmp_path: Path) -> None:
    found = of(["b", "a", "b", "c"], "class", tmp_path)
    assert (found.names.names, found.values.tolist()) == (("a", "b", "c"), [1, 0, 1, 2])
    assert found.learned(np.array([0, 2, 3])) == {"train_counts": [0, 2, 1]}
    trained = of(["b"], "class", tmp_path, names=Classes(("z", "b", "a")))
    assert trained.values.tolist() == [1]
    with pytest.raises(ClassMismatch):
        of(["q"], "class", tmp_path, names=Classes(("z", "b")))


def test_numbers_are_kept_with_mean_spread_and_median(tmp_path: Path) -> None:
    found = of([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]], "number", tmp_path, label_column="age,weight")
    assert found.names.names == ("age", "weight")
    kept = found.learned(np.arange(3))
    assert kept["mean"] == pytest.approx([3.0, 5.0])
    assert kept["median"] == [2.0, 5.0]
    assert kept["std"] == pytest.approx([np.std([1, 2, 6]), 1.0]), "a number that never changes divides by 1"
    with pytest.raises(DataError, match=r"answers with 1 numbers \(age\); the images of arrays have 2"):
        of([[1.0, 5.0], [2.0, 3.0]], "number", tmp_path, names=Classes(("age",)))


def test_masks_count_the_pixels_of_training_images_alone(tmp_path: Path) -> None:
    values = MASKS.copy()
    values[:, 0] = 255
    found, rows = targets(masked(values), tmp_path), np.array([2, 5, 7])
    assert found.names.names == ("background", "class 1", "class 2")
    kept = found.learned(rows)
    assert kept["train_counts"] == [int((values[rows] == k).sum()) for k in range(3)]
    assert json.loads(json.dumps(kept))["mask"]["names"] == ["background", "class 1", "class 2"]


def test_masks_are_spread_over_the_parts_by_how_much_is_object(tmp_path: Path) -> None:
    found = targets(masked(), tmp_path)
    share = (MASKS > 0).mean((1, 2))
    assert set(found.strata.tolist()) == {0, 1, 2}
    ends = [(share[found.strata == k].min(), share[found.strata == k].max()) for k in range(3)]
    assert ends[0][1] <= ends[1][0]
    assert ends[1][1] <= ends[2][0]


def test_what_a_mask_shows_is_part_of_what_a_run_remembers(tmp_path: Path) -> None:
    found, changed = targets(masked(), tmp_path), MASKS.copy()
    changed[3, 0, 0] = 1
    other, record = targets(masked(changed), tmp_path), masked().records[3]
    assert found.said(3, record) != other.said(3, record)
    assert found.said(4, record) == other.said(4, record)


def test_masks_must_have_the_classes_of_training(tmp_path: Path) -> None:
    with pytest.raises(
        ClassMismatch, match=r"Training has: background, cell\. arrays has: background, class 1, class 2"
    ):
        targets(masked(), tmp_path, names=Classes(("background", "cell")))
    with pytest.raises(DataError, match="not known what the values of the masks of arrays mean"):
        targets(open_source((IMAGES, MASKS), DataConfig(), kind="mask"), tmp_path)


@pytest.mark.parametrize(
    ("labels", "normal", "groups"),
    [
        (["scratch", "good", "dent"], None, ("good", "dent", "scratch")),
        (["scratch", "OK", "dent"], None, ("OK", "dent", "scratch")),
        (["scratch", "good", "dent"], "dent", ("dent", "good", "scratch")),
        (["x", "x", "x"], None, ("x",)),
    ],
)
def test_the_normal_class_comes_first(
    labels: list[str], normal: str | None, groups: tuple[str, ...], tmp_path: Path
) -> None:
    found = of(labels, "picture", tmp_path, normal=normal)
    assert found.groups == groups
    assert [groups[value] for value in found.values] == labels
    assert found.learned(np.arange(3))["groups"] == list(groups)
    assert found.names.names == ("grey",)


def test_pictures_without_classes_belong_to_none(tmp_path: Path) -> None:
    source = open_source((IMAGES, None), DataConfig(), kind="picture")
    found = targets(source, tmp_path)
    assert (found.groups, set(found.values), set(found.strata)) == ((), {-1}, {0})
    with pytest.raises(DataError, match=r"data\.normal=good has no effect, for arrays has no classes: all its images"):
        targets(source, tmp_path, normal="good")


def test_an_evaluation_may_hold_other_kinds_than_training(tmp_path: Path) -> None:
    found = of(["dent", "hole"], "picture", tmp_path, groups=("good", "scratch"))
    assert found.groups == ("good", "dent", "hole")
    assert found.values.tolist() == [1, 2]
    both = of(["hole", "good"], "picture", tmp_path, groups=("good", "scratch"))
    assert (both.groups, both.values.tolist()) == (("good", "hole"), [1, 0])


def test_a_normal_class_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"data\.normal=goood is none of the classes of arrays: bad, good\. Did you mean"
    ):
        of(["bad", "good"], "picture", tmp_path, normal="goood")


def test_channels_are_the_names_of_a_picture() -> None:
    source = open_source((IMAGES, None), DataConfig(), kind="picture")
    assert names_of_outputs(source, DataConfig(), 3).names == ("red", "green", "blue")
    assert names_of_outputs(source, DataConfig(), 2).names == ("channel 1", "channel 2")
