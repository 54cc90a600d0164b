"""The worked examples: all come out right, none is looked up, and every kind of wrong answer is noticed."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from convlens import reference
from convlens.errors import ConfigError
from convlens.lectures import convolving, counting, examples, learning, pooling, xo
from convlens.lectures.compare import READINGS, at, differences, exact
from convlens.lectures.examples import AGREES, FAILS, OPERATIONS, UNPRINTED, WRONG, check_one, find, load
from convlens.lectures.record import Example, Mistake
from convlens.lectures.telling import CAUSES, KINDS, in_full, row, summary, to_json

ALL = [example.id for example in load()]
EDGE = "000-conv-6x6-stride1"


@pytest.mark.parametrize("id", ALL)
def test_it_comes_out_right(id: str) -> None:
    outcome = check_one(find(id))
    assert outcome.verdict != FAILS, outcome.why
    assert list(differences(outcome.computed, find(id).right, exact)) == []


def test_there_are_77_and_19_slides_are_wrong() -> None:
    outcomes = examples.check()
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    assert verdicts == {AGREES: 23, WRONG: 19, UNPRINTED: 35}
    assert summary(outcomes).startswith("77 of 77 come out right; 19 slides are wrong, and named;")


def test_the_records_are_complete() -> None:
    assert len(set(ALL)) == 77
    used = {example.operation for example in load()}
    assert used == set(OPERATIONS)
    for example in load():
        assert example.id[:3] == example.deck or example.operation == "pad"
        assert example.deck in examples.decks()
        assert re.fullmatch(r"\d+(-\d+)?(, \d+(-\d+)?)*", example.lines), example.lines
        assert example.kind in KINDS
        assert example.reading in READINGS
        assert example.title
        assert example.note.endswith(".")
        for mistake in example.mistakes:
            assert mistake.cause in CAUSES
            assert mistake.why.endswith(".")
            assert bool(mistake.cells) != bool(mistake.line and mistake.printed and mistake.right)


# nothing is looked up -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ALL)
def test_the_answer_is_not_read_from_the_record(id: str) -> None:
    bare = replace(find(id), right=None, printed=None, mistakes=(), note="", reading="exact")
    assert list(differences(examples.compute(bare), find(id).right, exact)) == []


@pytest.mark.parametrize("id", ALL)
def test_a_wrong_right_value_is_noticed(id: str) -> None:
    example = find(id)
    for right in spoilt(example.right):
        outcome = check_one(replace(example, right=right))
        assert outcome.verdict == FAILS
        assert "computed" in outcome.why
        assert outcome.why.endswith(".")


def spoilt(value: Any) -> list[Any]:
    """A value with its first, and with its last number or word changed."""

    def change(value: Any, end: int) -> Any:
        if isinstance(value, dict):
            key = list(value)[end]
            return {**value, key: change(value[key], end)}
        if isinstance(value, list):
            copy = list(value)
            copy[end] = change(copy[end], end)
            return copy
        if isinstance(value, str | bool):
            return f"{value}x"
        return value + 1 if isinstance(value, int) else value + 0.001

    return [change(value, 0), change(value, -1)]


PLANTED = {  # a function of convlens that is broken, and an example that must notice
    (convolving, "conv2d"): EDGE,
    (convolving.reference, "conv_transpose2d"): "001-D-transposed-conv",
    (convolving.reference, "separable_conv2d"): "001-D-depthwise-separable-values",
    (convolving.reference, "pad"): "002-padding-P1",
    (pooling, "max_pool2d"): "003-maxpool-4x4",
    (pooling, "flatten"): "000-flatten-3x3",
    (pooling, "dense"): "003-dense-relu",
    (pooling, "softmax"): "003-softmax",
    (counting.shapes, "conv_size"): "000-output-size-5x5-3x3",
    (counting.shapes, "conv_parameters"): "001-params-standard-conv",
    (counting.reference, "glorot_uniform"): "002-D-glorot-uniform",
    (learning, "descend"): "003-adam",
    (learning.reference, "batch_norm"): "003-D-regularisers",
    (learning.reference, "dropout"): "003-D-regularisers",
}


@pytest.mark.parametrize(("home", "name"), PLANTED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_broken_function_is_noticed(home: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    example, real = find(PLANTED[home, name]), getattr(home, name)

    def broken(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        if hasattr(found, "explain"):
            return replace(found, value=found.value + 1)
        return found + 1

    monkeypatch.setattr(home, name, broken)
    assert check_one(example).verdict == FAILS


def test_a_broken_rule_in_a_table_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for table, name, id in (
        (pooling.ACTIVATIONS, "tanh", "003-D-sigmoid-tanh-relu"),
        (pooling.POOLINGS, "average", "003-avgpool-4x4"),
        (convolving.KERNELS, "sharpen", "002-kernel-table"),
    ):
        with monkeypatch.context() as patch:
            real: Any = table[name]
            patch.setitem(table, name, real * 2 if name == "sharpen" else reference.relu)
            if name == "average":
                patch.setitem(table, name, reference.max_pool2d)
            assert check_one(find(id)).verdict == FAILS


def test_a_broken_network_score_or_callback_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from convlens.metrics import confusion
    from convlens.models import lenet
    from convlens.training.callbacks import EarlyStopping

    for home, name, id in (
        (confusion, "precisions", "003-D-metrics"),
        (lenet, "lenet5", "002-D-lenet5"),
        (EarlyStopping, "on_epoch_end", "002-D-callbacks"),
    ):
        with monkeypatch.context() as patch:
            if home is EarlyStopping:
                patch.setattr(home, name, lambda *_: None)
            elif home is lenet:
                real = lenet.lenet5
                patch.setattr(home, name, lambda *args, real=real: real(args[0], 11, args[2]))
            else:
                patch.setattr(home, name, lambda matrix: np.ones(2))
            assert check_one(find(id)).verdict == FAILS
        assert check_one(find(id)).verdict != FAILS


# slides ---------------------------------------------------------------------------------------------------------------


def test_a_wrong_cell_must_be_named() -> None:
    outcome = check_one(replace(find(EDGE), mistakes=()))
    assert outcome.verdict == FAILS
    assert outcome.why == "[3, 3]: the slide prints 10, right is 11, and it is not named as a mistake."


def test_a_named_cell_must_be_wrong() -> None:
    named = (*find(EDGE).mistakes, Mistake(cells=((0, 0),)))
    outcome = check_one(replace(find(EDGE), mistakes=named))
    assert outcome.verdict == FAILS
    assert outcome.why == "[0, 0] is named as a mistake of the slide, and is right."
    silent = check_one(replace(find("001-conv-5x5-valid"), mistakes=(Mistake(cells=((0, 0),)),)))
    assert silent.verdict == FAILS


def test_a_missing_or_an_additional_part_is_noticed() -> None:
    example = find("000-conv-8x8-single-value")
    less = {name: value for name, value in example.right.items() if name != "map"}
    assert check_one(replace(example, right=less)).verdict == FAILS
    assert check_one(replace(example, right={**example.right, "more": 1})).verdict == FAILS
    assert check_one(replace(find(EDGE), right=find(EDGE).right[:3])).verdict == FAILS


def test_what_the_printed_formulas_give_is_worked_out_without_the_floor() -> None:
    for id in ("001-output-size-formulas", "002-output-size-S2-P1-F3"):
        example = find(id)
        padding = example.parameters["padding"]
        given = [(case["n"] + 2 * padding - case["m"]) / case["k"] + 1 for case in example.inputs["cases"]]
        assert given == example.printed
        assert [math.floor(size) for size in given] == example.right
    steps = find("002-D-steps-per-epoch")
    assert [steps.inputs["M"] / size for size in steps.inputs["X"]] == steps.printed["steps"]


def test_the_x_is_the_x_of_the_toy_network() -> None:
    assert find("002-xo-image-X").right["x"] == xo.X.tolist()
    assert find("002-xo-image-deformed-X").right["deformed x"] == xo.DEFORMED_X.tolist()


def test_printed_cells_that_are_named_exist() -> None:
    for example in load():
        for mistake in example.mistakes:
            for cell in mistake.cells:
                assert exact_differs(at(example.printed, cell), at(example.right, cell))


def exact_differs(printed: Any, right: Any) -> bool:
    return bool(list(differences(printed, right, exact)))


# telling --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ALL)
def test_it_can_be_told(id: str) -> None:
    outcome = check_one(find(id))
    told = in_full(outcome)
    assert told.startswith(f"{id}: {outcome.example.title}\n")
    assert outcome.verdict in told
    assert outcome.example.note in told
    assert "array(" not in told
    assert not re.search(r"\bNone\b(?! of)", told)
    assert not [line for line in told.splitlines() if line != line.rstrip()]
    assert len(row(outcome)) == 5
    assert max(len(cell) for cell in row(outcome)[2:4]) < 45
    assert json.loads(json.dumps(to_json(outcome), allow_nan=False))["verdict"] == outcome.verdict


def test_a_failure_is_told() -> None:
    outcome = check_one(replace(find(EDGE), right=[[0]]))
    assert row(outcome)[4].startswith("FAILS: the result: computed 4 x 4, right 1 x 1")
    assert "FAILS: the result" in in_full(outcome)
    assert summary([outcome]) == "0 of 1 come out right; 0 slides are wrong, and named; 0 print nothing to compare."


def test_the_row_of_a_wrong_slide_shows_the_cell() -> None:
    assert row(check_one(find(EDGE)))[2:] == ("10", "11", "slide is wrong: [3, 3]")
    assert row(check_one(find("001-conv-5x5-pad1")))[4] == "slide is wrong: [1, 0] and 3 more"


def test_an_unknown_example_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"^There is no example '000-conv-6x6-strid1'. Did you mean '000-conv-6x6-s"):
        find("000-conv-6x6-strid1")
    with pytest.raises(ConfigError, match=r"'convlens examples' lists all 77\.$"):
        find("nothing like it")


def test_workings_explain_what_they_computed() -> None:
    for example in load():
        for working in examples.workings(example):
            last = tuple(side - 1 for side in working.result.shape)
            trace = working.result.trace(last)
            assert trace.operation == working.operation
            assert exact(trace.result, working.result.value[last].item())


def test_a_record_without_options_is_read() -> None:
    bare: dict[str, Any] = {"id": "i", "deck": "000", "lines": "1", "title": "t", "kind": "printed"}
    example = Example.from_json({**bare, "operation": "flatten", "right": [1], "note": "", "inputs": {"x": [[1]]}})
    assert check_one(example).verdict == UNPRINTED
