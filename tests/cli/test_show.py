"""How a run ended, in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from convlens.cli.show import show_run
from convlens.run import Run


def ended(**headline: Any) -> Run:
    evaluation = {"headline": {"part": "test", **headline}, "test": {"n": 9}, "best_epoch": 2}
    told = {"evaluation": evaluation, "history": [1, 2], "events": [], "read": lambda name: []}
    paths = {name: Path(name) for name in ("directory", "model_path", "report_path")}
    return cast(Run, SimpleNamespace(**told, **paths))


def test_the_score_with_its_interval_and_what_it_is_to_be_held_against(capsys: pytest.CaptureFixture[str]) -> None:
    against = {"words": "mean picture", "value": {"value": 0.5, "low": 0.4, "high": 0.6}}
    show_run(
        ended(name="auc", value={"value": 0.9, "low": 0.8, "high": 1.0}, against=against), quiet=False, as_json=False
    )
    out = capsys.readouterr().out
    assert "test auc 0.900 [0.800, 1.000]  on 9 images" in out
    assert "mean picture: 0.500 [0.400, 0.600]" in out


def test_why_there_is_no_score(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"value": None, "note": "the area needs both positive and negative samples"}
    show_run(ended(name="auc", value=nothing, against=None), quiet=False, as_json=False)
    out = capsys.readouterr().out
    assert "No score (the area needs both positive and negative samples)  on 9 images" in out
    assert "undefined" not in out
