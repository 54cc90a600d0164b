"""The rows and sums of an anatomy, what may be described, and the table that is drawn of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import convlens as cl
import small
from convlens.errors import ConfigError, ConvlensError, ShapeError
from convlens.explain import anatomy as module
from convlens.explain.anatomy import Anatomy, describe
from convlens.explain.table import table
from convlens.models import catalog
from convlens.shapes import Field


class Block(nn.Module):
    """A reused layer, frozen and shared weights, a weight of its own, buffers, layers that do nothing or never run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.twin = nn.Conv2d(2, 2, 3, padding=1, bias=False)
        self.twin.weight = self.conv.weight
        self.norm = nn.BatchNorm2d(2).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.drop, self.nothing = nn.Dropout(), nn.Identity()
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm(self.conv(self.conv(x))), inplace=True)
        y = self.nothing(self.drop(y)) + self.twin(x) * self.scale
        return y.mean((2, 3))


@pytest.fixture
def block() -> Anatomy:
    return describe(Block(), (2, 6, 7))


# rows -----------------------------------------------------------------------------------------------------------------


def test_lenet_is_that_of_the_lecture() -> None:
    anatomy = describe("lenet5", (1, 32, 32))
    assert [(row.name, row.use, row.kind, row.output_shape[1:]) for row in anatomy.rows] == [
        ("conv1", 1, "Conv2d", (6, 28, 28)),
        ("relu", 1, "relu", (6, 28, 28)),
        ("pool1", 1, "MaxPool2d", (6, 14, 14)),
        ("conv2", 1, "Conv2d", (16, 10, 10)),
        ("relu", 2, "relu", (16, 10, 10)),
        ("pool2", 1, "MaxPool2d", (16, 5, 5)),
        ("flatten", 1, "flatten", (400,)),
        ("fc1", 1, "Linear", (120,)),
        ("relu", 3, "relu", (120,)),
        ("fc2", 1, "Linear", (84,)),
        ("relu", 4, "relu", (84,)),
        ("fc3", 1, "Linear", (10,)),
    ]
    assert [row.trainable for row in anatomy.rows if row.trainable] == [156, 2416, 48120, 10164, 850]
    macs = [6 * 28 * 28 * 25, 16 * 100 * 6 * 25, 400 * 120, 120 * 84, 84 * 10]
    assert [row.macs for row in anatomy.rows if row.macs] == macs
    assert [int(row.fields[0].size) for row in anatomy.rows[:6] if row.fields[0]] == [5, 5, 6, 14, 14, 16]
    assert anatomy.rows[0].formula == "(32 + 2*0 - 5)/1 + 1 = 28"
    assert (anatomy.totals.trainable, anatomy.totals.macs, anatomy.totals.flops) == (61706, sum(macs), 2 * sum(macs))
    assert anatomy.totals.weight_bytes == 4 * 61706
    assert (anatomy.input_shape, anatomy.output_shape) == ((1, 1, 32, 32), (1, 10))


def test_rows_are_what_ran_in_order(block: Anatomy) -> None:
    rows = [(row.name, row.use, row.kind) for row in block.rows]
    assert rows == [
        ("conv", 1, "Conv2d"),
        ("conv", 2, "Conv2d"),
        ("norm", 1, "BatchNorm2d"),
        ("relu", 1, "relu"),
        ("drop", 1, "Dropout"),
        ("twin", 1, "Conv2d"),
        ("mul", 1, "mul"),
        ("add", 1, "add"),
        ("mean", 1, "mean"),
    ]


def test_weights_are_counted_once_frozen_ones_and_buffers_apart(block: Anatomy) -> None:
    counts = {(row.name, row.use): (row.trainable, row.frozen, row.buffers, row.shared) for row in block.rows}
    assert counts["conv", 1] == (38, 0, 0, False)
    assert counts["conv", 2] == (0, 0, 0, True)
    assert counts["twin", 1] == (0, 0, 0, True)
    assert counts["norm", 1] == (0, 4, 5, False)  # two means, two variances, one counter
    assert counts["mul", 1] == (2, 0, 0, False)
    totals = block.totals
    assert (totals.trainable, totals.frozen, totals.buffers, totals.unused) == (38 + 2 + 12, 4, 5, 12)
    network = Block()
    assert totals.trainable + totals.frozen == sum(parameter.numel() for parameter in network.parameters())


def test_what_is_changed_in_place_takes_no_memory(block: Anatomy) -> None:
    memory = {row.name: row.memory_bytes for row in block.rows if row.use == 1}
    one = 2 * 6 * 7 * 4
    assert memory == {"conv": one, "norm": one, "relu": 0, "drop": 0, "twin": one, "mul": one, "add": one, "mean": 8}
    assert block.totals.activation_bytes == 6 * one + 8


def test_a_module_is_one_row_where_it_does_one_thing() -> None:
    class Swish(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x)

    class Head(nn.Module):
        """Calls no module and does several things: each of them is a row."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 2))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), self.weight).softmax(1)

    class Norm(nn.BatchNorm2d):
        """Works itself and calls a module."""

        def __init__(self, channels: int) -> None:
            super().__init__(channels)
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(super().forward(x))

    anatomy = describe(nn.Sequential(Swish(), Norm(2), Head()), (2, 4, 4))
    assert [(row.name, row.kind) for row in anatomy.rows] == [
        ("0", "Swish"),
        ("1", "Norm"),
        ("1.act", "ReLU"),
        ("2.mean", "mean"),
        ("2.flatten", "flatten"),
        ("2.linear", "linear"),
        ("2.softmax", "softmax"),
    ]
    assert [row.trainable for row in anatomy.rows] == [0, 4, 0, 0, 0, 6, 0]
    assert anatomy.rows[0].elementwise == 2 * 32


def test_one_layer_is_an_anatomy_too() -> None:
    anatomy = describe(nn.Linear(4, 2), (4,))
    assert [(row.name, row.kind, row.macs, row.formula) for row in anatomy.rows] == [("Linear", "Linear", 8, "4 -> 2")]
    assert anatomy.rows[0].fields == ()
    assert "image" not in str(anatomy).splitlines()[3]


def test_a_network_without_layers_is_described() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "no tensor"

    anatomy = describe(Odd(), (4,))
    assert (anatomy.rows, anatomy.output_shape) == ((), ())
    assert "output no tensor" in str(anatomy)


def test_what_is_unknown_is_called_so_and_is_in_no_sum() -> None:
    class Sorting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(1, 2, 3, bias=False), nn.Conv2d(2, 1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.conv(x).sort(3).values)

    anatomy = describe(Sorting(), (1, 5, 5))
    assert [(row.name, row.macs, row.sees, row.unknown) for row in anatomy.rows] == [
        ("conv", 162, (3, 3), ()),
        ("sort", None, None, ("sort",)),
        ("last", 18, None, ()),
    ]
    assert anatomy.totals.macs == 180
    assert anatomy.totals.unknown == ("sort",)
    drawn = str(anatomy).splitlines()
    assert [line.count("unknown") for line in drawn[3:6]] == [0, 2, 1]
    assert drawn[-1].split() == ["unknown", "sort:", "in", "no", "sum"]
    assert anatomy.unit("sort", (0, 0)) is None


def test_attention_sees_the_whole_image_by_what_it_does() -> None:
    layer = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
    tokens = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.Flatten(2), _Turned(), nn.LayerNorm(6), layer)
    rows = {row.name: row for row in describe(tokens, (3, 12, 8)).rows}
    assert rows["3"].fields == (Field(4, 4, 0),) * 2
    assert not rows["3"].whole
    assert rows["4.self_attn"].whole
    assert rows["4.self_attn"].macs == 6 * 6 * (18 + 6) + 2 * 6 * 6 * 6


class _Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


def test_one_unit_can_be_looked_at() -> None:
    anatomy = describe("lenet5", (1, 28, 28))
    seen = anatomy.unit("pool2", (0, 4))
    assert seen
    assert (seen.hull, seen.padding) == (((0, 13), (14, 27)), ((2, 0), (0, 2)))
    assert anatomy.unit("pool2", (0, None, 0, 4)) == seen
    assert anatomy.unit("relu", (0, 0), use=2) is not None
    assert (last := anatomy.unit("fc3", (0, 1)))
    assert last.whole
    with pytest.raises(ShapeError, match="There is no layer 'pool3' with an output"):
        anatomy.unit("pool3", (0, 0))
    with pytest.raises(ShapeError, match="A unit of 1 x 16 x 5 x 5"):
        anatomy.unit("pool2", (0, 5))


# what may be described ------------------------------------------------------------------------------------------------


def test_every_network_of_the_catalog_is_described_at_its_usual_size() -> None:
    for name in ("compact", "mlp", "tutorial"):
        anatomy = describe(name)
        assert anatomy.input_shape == (1, *catalog.NETWORKS[name].input)
        assert anatomy.output_shape == (1, 10)
        assert not anatomy.totals.unknown
    assert describe("mlp", outputs=3).output_shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "shape", "output"),
    [
        ("unet", (1, 16, 20), (1, 2, 16, 20)),
        ("dncnn", (3, 9, 9), (1, 3, 9, 9)),
        ("autoencoder", (3, 8, 8), (1, 3, 8, 8)),
        ("yolo", (3, 32, 32), (1, 21, 28)),
        ("lenet5", (3, 28, 28), (1, 10)),
    ],
)
def test_outputs_that_nobody_says_are_those_usual_for_the_answer(
    name: str, shape: tuple[int, int, int], output: tuple[int, ...], tmp_path: Path
) -> None:
    assert describe(name, shape).output_shape == output
    file = tmp_path / "mine.toml"
    file.write_text(f'[network]\nname = "{name}"\n', encoding="utf-8")
    assert describe(file, shape).output_shape == output
    assert describe("unet", (1, 16, 16), outputs=5).output_shape == (1, 5, 16, 16)
    with pytest.raises(ConfigError, match="outputs must equal in_channels, 1; got 5"):
        describe("dncnn", (1, 8, 8), outputs=5)


def test_timm_networks_are_described() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    assert describe("timm:test_resnet").output_shape == (1, 1000)
    anatomy = describe("timm:test_vit3", (1, 64, 64), outputs=5)
    assert (anatomy.input_shape, anatomy.output_shape) == ((1, 1, 64, 64), (1, 5))
    assert anatomy.rows[-1].whole
    assert not anatomy.totals.unknown


def test_a_model_file_and_a_model_are_described(tmp_path: Path) -> None:
    run = small.finished()
    from_file, from_model = describe(run.model_path), describe(run.model)
    assert from_file.rows == from_model.rows
    assert from_file.input_shape[2:] == run.model.preprocess.size_px
    assert from_file.name == "model.safetensors (Compact)"
    assert describe(str(run.model_path), (1, 40, 40)).input_shape == (1, 1, 40, 40)


def test_a_list_of_layers_is_described(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    text = '[network]\nname = "layers"\nlayers = [{layer = "flatten"}, {layer = "dense", units = "classes"}]\n'
    file.write_text(text, encoding="utf-8")
    assert describe(file, (1, 4, 4), outputs=3).totals.trainable == 51
    with pytest.raises(ConfigError, match=r"mine.toml does not say data.size_px; .* --input 3x64x64"):
        describe(file)
    file.write_text(text + "[data]\nsize_px = 4\nchannels = 1\n", encoding="utf-8")
    assert describe(str(file), outputs=3).totals.trainable == 51
    assert describe(file).name == "mine.toml (layers)"


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("lenet", {}, "There is no network 'lenet'. Did you mean 'lenet5'"),
        ("timm:resnet1818", {}, "timm has no network"),
        ("nowhere.safetensors", {}, "Cannot open nowhere.safetensors"),
        (nn.ReLU(), {}, "Say the shape of one image for ReLU, such as --input 3x64x64"),
        (nn.ReLU(), {"input_shape": (3, 4, 4), "outputs": 2}, "ReLU has its outputs already; leave out outputs=2"),
        ("lenet5", {"input_shape": (1, 32)}, "lenet5 takes images of channels, height and width"),
        ("lenet5", {"input_shape": (1, 0, 32)}, r"such as --input 3x64x64.*got \(1, 0, 32\)"),
        (
            "lenet5",
            {"input_shape": (1, 8, 8)},
            r"lenet5 at 8 x 8 px: conv2: A window of 5 .*layers fit from .* 16 on",
        ),
        (
            nn.Conv2d(1, 1, 5),
            {"input_shape": (1, 4, 4)},
            r"A window of 5 does not fit into 4: floor\(\(4 \+ 0 - 5\) / 1\)",
        ),
    ],
)
def test_errors_say_what_to_do(what: str | nn.Module, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConvlensError, match=message):
        describe(what, **options)  # type: ignore[arg-type]


def test_a_network_that_looks_at_values_is_described_with_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) if x.max() == 0 else x

    monkeypatch.setattr(module, "LARGE_WEIGHTS", 0)  # without memory, if it can be
    anatomy = describe(Looking(), (1, 4, 4))
    assert [row.name for row in anatomy.rows][-1] == "conv"
    assert not anatomy.run.output.tensor.is_meta


@pytest.mark.parametrize("name", ["lenet5", "compact"])
def test_with_and_without_memory_the_anatomy_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", sys.modules.get("torch._dynamo"))
    bare = describe(name)
    assert bare.run.output.tensor.is_meta
    monkeypatch.delitem(sys.modules, "torch._dynamo")
    real = describe(name)
    assert not real.run.output.tensor.is_meta
    assert bare == real


def test_describing_a_small_network_does_not_import_torchs_compiler() -> None:
    code = "import sys, convlens; convlens.describe('resnet18'); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


# the table ------------------------------------------------------------------------------------------------------------


def test_json_is_complete_and_plain(block: Anatomy) -> None:
    data = json.loads(json.dumps(block.to_json()))
    assert data["input_shape"] == [1, 2, 6, 7]
    assert [layer["name"] for layer in data["layers"]] == [row.name for row in block.rows]
    assert data["layers"][0]["fields"][0] == {"size": 3, "jump": 1, "start": -1}
    assert sum(layer["macs"] for layer in data["layers"]) == data["totals"]["macs"]
    assert data["totals"]["flops"] == 2 * data["totals"]["macs"]


@pytest.mark.parametrize("width", [None, 200, 120, 100, 80])
def test_the_table_fits_and_keeps_its_numbers(width: int | None) -> None:
    anatomy = describe("resnet18")
    lines = anatomy.table(width).splitlines()
    if width:
        assert max(map(len, lines)) <= width
    for row in anatomy.rows:
        named = [line for line in lines if f"{row.trainable:,}" in line or not row.trainable]
        assert named
        assert not row.formula or any(
            row.formula in " ".join(pair) for pair in zip(lines, [*lines[1:], ""], strict=True)
        )
    text = " ".join(" ".join(lines).split())
    assert f"{anatomy.totals.macs:,} multiply-accumulates" in text
    assert "FLOPs = 2 x MACs" in text
    assert "whole image" in text
    kinds = [kind for kind, _ in table(anatomy, width)]
    assert kinds.count("head") == 1
    assert kinds.count("row") == len(anatomy.rows)
    assert ("note" in kinds) == (width in (120, 100, 80))


def test_the_table_says_what_is_special(block: Anatomy) -> None:
    lines = [line.split() for line in str(block).splitlines()]
    by_name = {line[0]: line for line in lines if line}
    assert by_name["conv"][:2] == ["conv", "#2"]
    assert "shared" in by_name["conv"]
    assert by_name["norm"][3:5] == ["4", "frozen"]
    assert by_name["mean"][-2:] == ["whole", "image"]
    assert any(line[:5] == ["12", "of", "them", "take", "no"] for line in lines)


def test_the_public_face_has_it() -> None:
    assert cl.describe is describe
    assert repr(describe("mlp")).startswith("Anatomy(name='mlp'")
