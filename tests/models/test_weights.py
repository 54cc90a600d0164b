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


@pytest.mark.parametrize("name", ["0", "other"])
def test_one_layer_of_another_shape_is_nothing_in_common_whatever_its_name(tmp_path: Path, name: str) -> None:
    torch.save(nn.ModuleDict({name: nn.Linear(5, 4)}).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ArtefactError, match=r"by order and shape nothing in it has these shapes\."):
        load_weights(nn.Sequential(nn.Linear(7, 3)), tmp_path / "a.pth")


def test_a_value_that_is_not_finite_is_refused_and_nothing_is_changed(file: Path) -> None:
    state = network().state_dict()
    state["3.bias"][1] = float("nan")
    save_file(state, file)
    found = network()
    before = found[0].weight.detach().clone()
    with pytest.raises(ArtefactError, match=r"'3.bias' holds a value that is not finite"):
        load_weights(found, file)
    assert torch.equal(found[0].weight, before)


def other_names() -> nn.Module:
    """The same layers as `network`, under names that sort in another order."""
    return nn.ModuleDict(
        {"stem": nn.Conv2d(1, 2, 3), "inner": nn.ModuleDict({"norm": nn.BatchNorm2d(2)}), "head": nn.Linear(8, 3)}
    )


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_other_names_are_matched_by_order_and_shape_and_the_report_says_so(tmp_path: Path, suffix: str) -> None:
    theirs, found, path = other_names(), network(), tmp_path / f"theirs{suffix}"
    state = {name: torch.rand_like(t) if t.is_floating_point() else t for name, t in theirs.state_dict().items()}
    write = torch.save if suffix == ".pth" else save_file
    write(state, path)
    report = load_weights(found, path)
    assert torch.equal(found[0].weight, state["stem.weight"])
    assert torch.equal(found[1].running_var, state["inner.norm.running_var"])
    assert torch.equal(found[3].bias, state["head.bias"])
    assert (report.by, report.missing, report.unexpected, report.other_shape) == ("order", (), (), {})
    assert report.sources["1.running_mean"] == "inner.norm.running_mean"
    assert str(report) == (
        f"9 of 9 tensors from {path.name}; matched by order and shape, since the names differ (0.weight is stem.weight)"
    )
    assert report.to_json()["matched_by"] == "order"


def test_matched_by_order_a_head_of_another_size_starts_at_zero_too(tmp_path: Path) -> None:
    found = network(5)
    torch.save(other_names().state_dict(), tmp_path / "theirs.pth")
    report = load_weights(found, tmp_path / "theirs.pth")
    assert report.other_shape == {"3.weight": ((3, 8), (5, 8)), "3.bias": ((3,), (5,))}
    assert not found[3].weight.any()
    assert report.unexpected == ()


def test_names_are_believed_where_they_say_enough(file: Path) -> None:
    report = load_weights(network(), file)
    assert (report.by, report.to_json()["matched_by"]) == ("name", "name")
    assert report.sources == {name: name for name in network().state_dict()}


def test_order_does_not_overrule_a_name(tmp_path: Path) -> None:
    def stack(*names: str) -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.Linear(4, 4) for name in names})

    torch.save(stack("b", "c").state_dict(), tmp_path / "a.pth")  # in order b would become a, and c become b
    report = load_weights(stack("a", "b"), tmp_path / "a.pth")
    assert (report.by, report.matched, report.missing) == ("name", ("b.weight", "b.bias"), ("a.weight", "a.bias"))


def test_some_equal_names_do_not_keep_the_rest_from_being_matched(tmp_path: Path) -> None:
    theirs = nn.ModuleDict({"0": nn.Conv2d(1, 2, 3), "bn": nn.BatchNorm2d(2), "fc": nn.Linear(8, 3)})
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    found = network()
    report = load_weights(found, tmp_path / "theirs.pth")
    assert (report.by, len(report.matched), report.missing) == ("order", 9, ())
    assert "(1.weight is bn.weight)" in str(report)
    torch.testing.assert_close(found[3].weight, dict(theirs.named_parameters())["fc.weight"])


def test_why_order_and_shape_found_nothing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(nn.ModuleDict({"stem": nn.Conv2d(1, 2, 3), "head": nn.Linear(9, 3)}).state_dict(), path)
    with pytest.raises(ArtefactError, match=r"by order and shape nothing in it fits 1, layer 2 of 3\. It holds"):
        load_weights(network(), path)


def test_files_that_are_not_weights(tmp_path: Path) -> None:
    other, absent, broken = (tmp_path / name for name in ("a.bin", "b.safetensors", "c.safetensors"))
    broken.write_bytes(b"0123456789 not a header")
    for path, message in [
        (other, "from a .safetensors file, or from a .pth"),
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


def test_facts_of_a_torch_file_are_those_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(ArtefactError, match="There is no file"):
        read_facts(path)
    torch.save(network().state_dict(), path)
    assert read_facts(path) == Facts()
    path.with_suffix(".json").write_text('{"licence": "MIT", "input": "32x32"}')
    assert read_facts(path) == Facts(licence="MIT", size_px=32)


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
