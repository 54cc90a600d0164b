"""Every operation that can be typed: it runs, and its traces are those of its numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from convlens import reference
from convlens.errors import ConfigError, ConvlensError, DataError
from convlens.lectures import layout
from convlens.lectures.examples import find, load, workings
from convlens.lectures.operations import ONLY_IN_EXAMPLES, OPERATIONS, from_example, read_option, rows, typed

IMAGE, KERNEL, LINE = "5 2 3 4; 6 7 8 5; 4 5 4 5; 1 0 2 3", "1 0; 1 -1", "1 -2 3"
INPUTS = {
    "conv1d": {"input": "1 2 4 8", "kernel": "-1 1"},
    "dense": {"input": LINE, "kernel": "1 0 1; 2 2 2", "bias": "10 20"},
    "conv2d_backward": {"input": IMAGE, "kernel": KERNEL, "gradient": "1 2 3; 4 5 6; 7 8 9"},
    "cross_entropy": {"input": LINE, "target": "2"},
    "binary_cross_entropy": {"input": LINE, "target": "0 1 1"},
    "squared_error": {"input": LINE, "target": "1 1 1"},
    "absolute_error": {"input": LINE, "target": "1 1 1"},
}


def inputs_of(name: str) -> dict[str, str]:
    usual = {"input": LINE if OPERATIONS[name].line else IMAGE, "kernel": KERNEL}
    return INPUTS.get(name) or {one: usual[one] for one in OPERATIONS[name].needs}


@pytest.mark.parametrize("name", OPERATIONS)
def test_it_runs_and_is_explained(name: str) -> None:
    for working in typed(name, inputs_of(name), {}):
        assert working.operation == name
        for at in np.ndindex(working.result.shape):
            assert working.result.trace(at).result == pytest.approx(working.result.value[at].item(), rel=1e-12)
        told = layout.explained(working)
        assert told.count("result") >= max(1, working.result.value.size)
        assert "nan" not in told
        found = json.loads(json.dumps(layout.to_json(working), allow_nan=False))
        assert len(found["traces"]) == working.result.value.size
        assert found["operation"] == name


def test_every_operation_with_a_trace_can_be_explained() -> None:
    functions = {name for name in reference.__all__ if name in dir(reference) and callable(getattr(reference, name))}
    no_operations = {
        "Gradients", "Result", "State", "Statistics", "Step", "Term", "Trace", "batch_statistics", "display",
        "draw_kept", "fans", "filter_image", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "kernel",
        "max_norm", "min_max_norm", "non_negative", "pad", "running_statistics", "start", "unit_norm", "windows",
    }  # fmt: skip
    of_volumes = {name for name in functions if "3d" in name}  # cannot be typed in two dimensions
    global_pools = {name for name in functions if name.startswith("global_")}  # adaptive ones of size 1
    explained = {*OPERATIONS, *ONLY_IN_EXAMPLES}
    assert functions - no_operations - of_volumes - global_pools <= explained


def test_options_are_passed_on() -> None:
    image = {"input": IMAGE, "kernel": KERNEL}
    (working,) = typed("conv2d", image, {"stride": "2", "padding": "1", "padding_mode": "reflect"})
    x = [[5, 2, 3, 4], [6, 7, 8, 5], [4, 5, 4, 5], [1, 0, 2, 3]]
    expected = reference.conv2d(x, [[1, 0], [1, -1]], stride=2, padding=1, padding_mode="reflect")
    assert working.result.tolist() == expected.tolist()
    assert typed("conv2d", {**image, "bias": "10"}, {})[0].result.tolist()[0][0] == 14
    assert typed("max_pool2d", {"input": IMAGE}, {"window": "3", "partial": "true"})[0].result.shape == (2, 2)
    assert typed("conv2d", image, {"stride": "1,2"})[0].result.shape == (3, 2)
    assert typed("momentum", {"input": "1"}, {"averaged": "true", "steps": "1"})[0].result.tolist() == [0.98]


def test_cross_entropy_takes_classes_and_probabilities() -> None:
    classes = typed("cross_entropy", {"input": "1 2 3; 1 1 1", "target": "2 0"}, {})[0].result.value
    shares = typed("cross_entropy", {"input": "1 2 3; 1 1 1", "target": "0 0 1; 1 0 0"}, {})[0].result.value
    assert classes == pytest.approx(shares)
    assert typed("cross_entropy", {"input": "1 2 3", "target": "0 0 1"}, {})[0].result.value > 0.4


@pytest.mark.parametrize(
    ("name", "inputs", "options", "said"),
    [
        ("conv", {}, {}, "Did you mean 'conv1d' or 'conv2d' or 'conv3d'?"),
        ("qqq", {}, {}, "'convlens explain-op' lists them."),
        ("conv2d", {"input": "1"}, {}, "conv2d needs --kernel"),
        ("conv2d_backward", {}, {}, "needs --input and --kernel and --gradient"),
        ("relu", {"input": "1", "kernel": "1"}, {}, "relu takes no --kernel. It takes --input."),
        ("relu", {"input": "1"}, {"slope": "1"}, "relu has no option 'slope'. It has none."),
        ("adam", {"input": "1"}, {"step": "1"}, "Did you mean 'steps'? Its options: rate,"),
        ("max_pool2d", {"input": IMAGE}, {"window": "x"}, "window must be a number; got 'x'."),
        ("max_pool2d", {"input": IMAGE}, {"partial": "1"}, "partial is true or false; got '1'."),
        ("max_pool2d", {"input": IMAGE}, {"window": "9"}, "does not fit into 4"),
        ("conv2d", {"input": IMAGE, "kernel": KERNEL}, {"padding": "sme"}, "Padding is 'valid', 'same'"),
        ("conv2d", {"input": "1", "kernel": KERNEL}, {}, "A window of 2 does not fit into 1"),
        ("pointwise_conv2d", {"input": "1"}, {}, "cannot be typed in. Give --example"),
        ("dense", {"input": LINE, "kernel": "1 2"}, {}, "A dense layer takes"),
    ],
)
def test_what_does_not_go_together(name: str, inputs: dict[str, str], options: dict[str, str], said: str) -> None:
    with pytest.raises(ConvlensError) as caught:
        typed(name, inputs, options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "inputs", "options"),
    [
        ("squared_error", {"input": "1e200", "target": "0"}, {}),
        ("adam", {"input": "1"}, {"beta1": "1"}),
    ],
)
def test_numbers_that_cannot_be_held(name: str, inputs: dict[str, str], options: dict[str, str]) -> None:
    with pytest.raises(DataError, match="leads to a number that cannot be held"):
        typed(name, inputs, options)


def test_an_example_gives_what_it_computed() -> None:
    (working,) = from_example("conv2d", find("000-conv-6x6-stride2"))
    assert working.result.tolist() == [[-14, 10], [-7, 1]]
    labels = [working.label for working in from_example("conv2d_backward", find("004-conv-backprop"))]
    assert labels == ["dL/dX", "dL/dF", "dL/db"]
    with pytest.raises(ConfigError, match=r"'003-softmax' has no conv2d\. It has softmax\."):
        from_example("conv2d", find("003-softmax"))
    with pytest.raises(ConfigError, match="It counts, and has nothing to explain"):
        from_example("conv2d", find("004-75-weights"))


def test_every_operation_of_an_example_is_known() -> None:
    found = {working.operation for example in load() for working in workings(example)}
    assert found <= {*OPERATIONS, *ONLY_IN_EXAMPLES}
    assert set(ONLY_IN_EXAMPLES) <= found


def test_the_list_names_all() -> None:
    listed = {row[0]: row[1:] for row in rows()}
    assert set(listed) == {*OPERATIONS, *ONLY_IN_EXAMPLES}
    assert listed["conv2d"] == ("--input --kernel [--bias]", "stride, padding, dilation, padding_mode")


def test_options_that_are_typed() -> None:
    assert read_option("beta", "0.9") == 0.9
    assert read_option("averaged", "false") is False
    with pytest.raises(ConfigError, match="rate must be a number; got 'inf'"):
        read_option("rate", "inf")
