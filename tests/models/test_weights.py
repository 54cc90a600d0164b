"""Starting weights: what is taken, what is told, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from convlens import artefact
from convlens.errors import ArtefactError
from convlens.models.weights import Facts, load_weights, parse_input, read_facts


def network(outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, outputs))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "start.safetensors"
    save_file({name: tensor.clone() for name, tensor in network().state_dict().items()}, path)
    return path


def test_the_same_network_is_taken_over_whole(file: Path) -> None:
    torch.manual_seed(0)
    expected, found = network(), network()
    report = load_weights(found, file)
    assert all(
        torch.equal(a, b) for a, b in zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
    )
    assert (report.missing, report.unexpected, report.other_shape) == ((), (), {})
    assert str(report) == "9 of 9 tensors from start.safetensors"


def test_a_head_of_another_size_starts_at_zero_and_is_listed(file: Path) -> None:
    found = network(5)
    report = load_weights(found, file)
    assert not found[3].weight.any(), "every class begins equally likely"
    assert not found[3].bias.any()
    assert report.other_shape == {"3.weight": ((3, 8), (5, 8)), "3.bias": ((3,), (5,))}
    assert "left fresh: 3.weight (5x8, file 3x8), 3.bias (5, file 3)" in str(report)
    assert report.to_json()["fresh"] == ["3.weight", "3.bias"]
    json.dumps(report.to_json())


def test_what_is_in_one_only_is_listed(file: Path) -> None:
    found = network()
    found.append(nn.Linear(3, 2))
    found[3] = nn.Identity()
    report = load_weights(found, file)
    assert report.missing == ("4.weight", "4.bias")
    assert report.unexpected == ("3.bias", "3.weight")
    assert "not used: 3.bias, 3.weight" in str(report)


def test_other_precisions_are_converted_and_missing_counters_do_not_matter(file: Path) -> None:
    state = {name: t.half() for name, t in network().state_dict().items() if "num_batches" not in name}
    save_file(state, file)
    found = network()
    report = load_weights(found, file)
    assert report.missing == ()
    assert found[0].weight.dtype == torch.float32
    torch.testing.assert_close(found[0].weight, state["0.weight"].float())


def test_nothing_in_common_is_an_error_with_both_sides(file: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nothing for this network.*holds 0.bias, .*network needs bias, weight"):
        load_weights(nn.Linear(5, 4), file)


def test_a_value_that_is_not_finite_is_refused_and_nothing_is_changed(file: Path) -> None:
    state = network().state_dict()
    state["3.bias"][1] = float("nan")
    save_file(state, file)
    found = network()
    before = found[0].weight.detach().clone()
    with pytest.raises(ArtefactError, match=r"'3.bias' holds a value that is not finite"):
        load_weights(found, file)
    assert torch.equal(found[0].weight, before)


def test_files_that_are_not_weights(tmp_path: Path) -> None:
    pickled, absent, broken = (tmp_path / name for name in ("a.pth", "b.safetensors", "c.safetensors"))
    broken.write_bytes(b"0123456789 not a header")
    for path, message in [
        (pickled, "Pickled files"),
        (absent, "There is no file"),
        (broken, "is damaged"),
        (tmp_path, "got 'test_files"),
    ]:
        with pytest.raises(ArtefactError, match=message):
            load_weights(network(), path)


def test_facts_come_from_the_metadata_and_the_json_beside(file: Path) -> None:
    save_file(network().state_dict(), file, {"licence": "MIT", "input": "RGB/255, mean .5 std .25, 224 crop of 256"})
    facts = Facts(licence="MIT", mean=(0.5,) * 3, std=(0.25,) * 3, size_px=224, store_px=256)
    assert read_facts(file) == facts
    file.with_suffix(".json").write_text('{"licence": "BSD-2-Clause", "arch": "a net", "mean": [0.1], "std": [0.2]}')
    facts = Facts("BSD-2-Clause", "a net", None, 224, 256, (0.1,), (0.2,))
    assert read_facts(file) == facts
    assert "made for a net" in str(load_weights(network(), file))
    assert load_weights(network(), file).to_json()["licence"] == "BSD-2-Clause"


def test_without_facts_nothing_is_made_up(file: Path) -> None:
    assert read_facts(file) == Facts()
    assert parse_input("grey, as usual; 64 filters of 3x3") == {}
    assert parse_input("grey/255, mean 0.13, std 0.31, 28 x 28") == {"mean": (0.13,), "std": (0.31,), "size_px": 28}


def test_facts_that_cannot_be_understood_are_an_error(file: Path) -> None:
    for text, message in [("{", "is not JSON"), ('{"mean": "bright"}', "cannot be understood")]:
        file.with_suffix(".json").write_text(text)
        with pytest.raises(ArtefactError, match=message):
            read_facts(file)


def test_a_model_of_ours_is_a_start_for_another(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    preprocess = {"size_px": [28, 28], "store_px": [28, 28], "mean": [0.3], "std": [0.2]}
    card = {"network": {"name": "lenet5"}, "preprocess": preprocess, "weights": {"origin": "random", "licence": None}}
    artefact.write(path, network().state_dict(), card)
    assert read_facts(path) == Facts(None, "lenet5", "random", 28, 28, (0.3,), (0.2,))
    assert len(load_weights(network(), path).matched) == 9
