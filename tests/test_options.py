"""The datasheet of a run: every option is explained, has a name of its own and refuses what it does not know."""

from __future__ import annotations

from typing import get_args

import pytest
from pydantic import ValidationError

from convlens.config import Config, describe_options, option_names
from convlens.options import KINDS, Kind, Section, TaskName, TrainConfig


def test_every_option_is_explained_and_has_one_name() -> None:
    rows = describe_options()
    assert [name for name, _, _ in rows] == option_names()
    assert all(meaning for _, _, meaning in rows)
    leaves = [name.rpartition(".")[2] for name in option_names() if name not in ("network.name", "run.name")]
    assert len(set(leaves)) == len(leaves), "an option's last name must be unique, because Python callers use it"


def test_every_task_learns_from_something() -> None:
    assert tuple(KINDS) == get_args(TaskName)
    assert set(KINDS.values()) <= set(get_args(Kind))


def test_a_section_is_frozen_and_knows_its_options() -> None:
    assert issubclass(Config, Section)
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().epochs = 3
    with pytest.raises(ValidationError, match="not permitted"):
        TrainConfig.model_validate({"epoch": 3})
