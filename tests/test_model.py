"""The model as one object: trained, used, carried away as a file, and refused when the file is not to be trusted."""

from __future__ import annotations

import io
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convlens as cl
import rig
import small
from convlens import artefact
from convlens.data.classes import Classes
from convlens.data.policy import ImagePolicy
from convlens.data.preprocess import Preprocess
from convlens.errors import ArtefactError, BadImage, ClassMismatch, ConfigError, DataError, ShapeError
from convlens.model import CHUNK, Model
from convlens.model_file import golden_image
from convlens.models import catalog
from convlens.tasks.classify import Prediction
from convlens.training.callbacks import Callback
from convlens.training.engine import Engine
from convlens.training.interrupt import Interrupted

QUICK = {key: value for key, value in small.OPTIONS.items() if key != "options"}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(small.finished().model_path)


@pytest.fixture(scope="module")
def pictures() -> list[Path]:
    return sorted(small.shared_photos().rglob("*.png"))


def untrained(network: str = "compact", classes: int = 3, size_px: int = 10, **options: Any) -> Model:
    """A network with fresh weights, ready to predict."""
    size = (size_px, size_px)
    preprocess = Preprocess(ImagePolicy(channels=1), size, size, "crop", (0.5,), (0.25,))
    description = {"in_channels": 1, "outputs": classes, "size_px": list(size)}
    torch.manual_seed(0)
    net = catalog.build(network, in_channels=1, outputs=classes, size_px=size, **options)
    names = Classes(tuple(f"class {i}" for i in range(classes)))
    return Model(net.eval(), "classify", names, preprocess, {"name": network, **description, "options": options})


# prediction -----------------------------------------------------------------------------------------------------------


def test_one_image_gives_one_answer_whatever_form_it_has(model: Model, pictures: list[Path]) -> None:
    path = pictures[0]
    with Image.open(path) as opened:
        picture = opened.copy()
    forms = [path, str(path), path.read_bytes(), np.asarray(picture), np.asarray(picture)[:, :, None], picture]
    answers = [model.predict(form) for form in forms]
    for answer in answers:
        assert isinstance(answer, Prediction)
        assert answer.label == answers[0].label == path.parent.name
        assert answer.top == answers[0].top
        assert answer.probability == answer.top[0][1]
        assert math.isclose(sum(p for _, p in answer.top), 1.0, rel_tol=1e-6)
    assert answers[0].name == str(path)
    assert answers[3].name == "image 1"


def test_a_list_and_a_folder_give_what_each_image_gives_alone(
    model: Model, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = pictures[:: len(pictures) // 5]
    together = model.predict(some)
    assert isinstance(together, list)
    for path, answer in zip(some, together, strict=True):
        alone = model.predict(path)
        assert isinstance(alone, Prediction)
        assert (answer.name, answer.label) == (str(path), alone.label)
        assert answer.probability == pytest.approx(alone.probability, abs=1e-6)
    monkeypatch.chdir(small.shared())
    folder = model.predict("photos/left")
    assert isinstance(folder, list)
    assert [answer.name for answer in folder] == [f"photos/left/{number:03d}.png" for number in range(0, 120, 3)]


def test_more_images_than_fit_at_once_keep_their_order(model: Model, pictures: list[Path]) -> None:
    many = [path for path in pictures[:3] for _ in range(CHUNK // 2)]
    many[CHUNK] = many[CHUNK] / "missing.png"
    answers = model.predict(many)
    assert isinstance(answers, list)
    assert [answer.name for answer in answers] == [str(path) for path in many]
    assert [bool(answer.error) for answer in answers] == [number == CHUNK for number in range(len(many))]


def test_the_batch_size_does_not_matter(model: Model, pictures: list[Path]) -> None:
    assert model.preprocess is not None
    images = np.stack([model.preprocess.pixels(model.preprocess.decode(path)) for path in pictures[:23]])
    whole = model.outputs(images)
    assert whole.shape == (23, 3)
    for batch_size in (1, 7, 23):
        np.testing.assert_allclose(model.outputs(images, batch_size=batch_size), whole, rtol=0, atol=1e-5)
    assert model.outputs(images[:0]).shape == (0, 3)


def test_an_unreadable_image_in_a_list_is_a_row_that_says_why(
    model: Model, pictures: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures[0].read_bytes()[:-20])
    answers = model.predict([pictures[0], broken, b"", pictures[1]])
    assert isinstance(answers, list)
    assert [answer.error is None for answer in answers] == [True, False, False, True]
    assert answers[1].name == str(broken)
    assert answers[1].label is None
    assert answers[1].top == ()
    assert answers[3].label == model.predict(pictures[1]).label  # type: ignore[union-attr]
    with pytest.raises(BadImage, match=r"broken\.png"):
        model.predict(broken)
    assert model.predict([]) == []


def test_two_classes_answer_at_the_threshold_and_abstain_below_the_promise() -> None:
    model = untrained(classes=2)
    image = golden_image(model.preprocess)  # type: ignore[arg-type]
    second = float(model.asks.probabilities(model.outputs(image[None]))[0, 1])
    for value, label in ((second - 0.01, "class 1"), (second + 0.01, "class 0")):
        model.card["threshold"] = {"value": value}
        answer = model.predict(image)
        assert isinstance(answer, Prediction)
        assert answer.label == label
        assert answer.probability == pytest.approx(second if label == "class 1" else 1 - second)
    model.card = {"abstain": {"confidence": max(second, 1 - second) + 0.01}}
    answer = model.predict(image)
    assert isinstance(answer, Prediction)
    assert answer.unsure
    assert answer.label is None
    assert len(answer.top) == 2


def test_top_is_as_long_as_asked_and_as_there_are_classes(model: Model, pictures: list[Path]) -> None:
    for top, expected in ((1, 1), (2, 2), (99, 3)):
        answer = model.predict(pictures[0], top=top)
        assert isinstance(answer, Prediction)
        assert len(answer.top) == expected
    for top in (0, -1):
        for images in (pictures[0], pictures[:2], []):
            with pytest.raises(ConfigError, match=rf"how many classes to list, 1 or more; got {top}"):
                model.predict(images, top=top)


# codes ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coder() -> Model:
    """An autoencoder with fresh weights and codes of 8 numbers."""
    network = catalog.build("autoencoder", in_channels=1, outputs=1, size_px=10, code=8, width=4).eval()
    preprocess = Preprocess(ImagePolicy(channels=1), (10, 10), (10, 10), "crop", (0.5,), (0.25,))
    card = {"data": {"mean": [0.5], "std": [0.25]}}
    return Model(network, "reconstruct", Classes(("grey",)), preprocess, None, card)


def test_codes_of_no_images_are_none(coder: Model, pictures: list[Path]) -> None:
    assert coder.encode(pictures[:2]).shape == (2, 8)
    for empty in (coder.encode([]), coder.codes(np.zeros((0, 10, 10, 1), np.uint8))):
        assert (empty.shape, empty.dtype) == ((0, 8), np.float32)
    assert coder.decode(np.zeros((0, 8))).shape == (0, 10, 10, 1)
    assert coder.decode(np.zeros((3, 8))).shape == (3, 10, 10, 1)


@pytest.mark.parametrize(
    "codes", [np.zeros(8), np.zeros((2, 5)), np.zeros((1, 8, 1)), np.float32(3), [["a"] * 8], [[1.0], [1.0, 2.0]]]
)
def test_what_is_no_code_is_a_shape_error(coder: Model, codes: Any) -> None:
    with pytest.raises(ShapeError, match=r"Expected codes \(N, 8\), as encode gives them; got (\(|rows of several)"):
        coder.decode(codes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_codes_that_are_not_finite_are_refused(coder: Model, bad: float) -> None:
    with pytest.raises(DataError, match="codes of finite float32 numbers"):
        coder.decode(np.array([[bad] + [0.0] * 7]))


# evaluation -----------------------------------------------------------------------------------------------------------


def test_evaluation_of_the_same_images_is_that_of_their_predictions(model: Model, pictures: list[Path]) -> None:
    report = model.evaluate(small.shared_photos())
    answers = model.predict(pictures)
    assert isinstance(answers, list)
    right = np.mean([answer.label == Path(answer.name).parent.name for answer in answers])
    assert report["n"] == len(pictures) == 120
    assert report["accuracy"]["value"] == pytest.approx(right)
    assert report["accuracy"]["low"] < right
    assert report["unreadable"] == []


def test_other_classes_are_an_error_with_both_lists(model: Model, pictures: list[Path], tmp_path: Path) -> None:
    for name in ("left", "bottom"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(pictures[0].read_bytes())
    with pytest.raises(ClassMismatch) as caught:
        model.evaluate(tmp_path)
    assert "Training has: left, right, top." in str(caught.value)
    assert "has: bottom, left." in str(caught.value)


def test_a_part_of_the_classes_and_an_unreadable_file_are_scored_and_said(
    model: Model, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "left").mkdir()
    for number, path in enumerate(pictures[:4]):
        (tmp_path / "left" / f"{number}.png").write_bytes(path.read_bytes())
    (tmp_path / "left" / "5.png").write_bytes(b"no image")
    report = model.evaluate(tmp_path)
    assert report["n"] == 4
    assert [bad["id"] for bad in report["unreadable"]] == ["left/5.png"]
    assert report["unreadable"][0]["reason"]


def test_one_part_of_a_source_can_be_scored(model: Model, pictures: list[Path], tmp_path: Path) -> None:
    rows = [f"{path},{path.parent.name},{('train', 'test')[number % 2]}" for number, path in enumerate(pictures[:6])]
    root = small.shared_photos()
    table = root.parent / "parts.csv"
    table.write_text("\n".join(["path,kind,part", *rows]).replace(f"{root}/", "photos/"))
    columns = {"label_column": "kind", "split_column": "part"}
    assert model.evaluate(table, split="test", **columns)["n"] == 3
    with pytest.raises(DataError, match="has no valid part"):
        model.evaluate(table, split="valid", **columns)


def test_an_option_without_effect_is_an_error(model: Model) -> None:
    with pytest.raises(ConfigError, match=r"train.epochs has no effect in Model.evaluate"):
        model.evaluate(small.shared_photos(), epochs=3)
    fresh = Model(rig.network())
    with pytest.raises(ConfigError, match=r"network.name, run.name has no effect in Model.fit"):
        fresh.fit(small.shared_photos(), network="lenet5", name="x")
    with pytest.raises(ConfigError, match=r"no option 'epoch'"):
        fresh.fit(small.shared_photos(), epoch=3)
    with pytest.raises(ConfigError, match=r"data.size_px has no effect"):
        untrained().fit(small.shared_photos(), size_px=12)


# one's own module -----------------------------------------------------------------------------------------------------


def test_ones_own_module_is_trained_with_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    model = cl.Model(rig.network(), task="classify")
    history = model.fit(
        small.shared_photos(),
        **{**QUICK, "epochs": 9},
        callbacks=[
            cl.EarlyStopping(patience=1, min_delta=10.0),
            cl.ModelCheckpoint(tmp_path / "model.{epoch:02d}-{val_loss:.2f}.safetensors"),
            cl.TensorBoard(tmp_path / "logs"),
        ],
    )
    assert len(history) == 2
    assert history is model.history
    names = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert names == [f"model.{row['epoch']:02d}-{row['val_loss']:.2f}.safetensors" for row in history]
    assert len(list((tmp_path / "logs").iterdir())) == 1
    again = Model.load(tmp_path / names[0], network=rig.network())
    assert again.classes == Classes(small.CLASSES)
    assert list((tmp_path / "here").iterdir()) == []


def test_saving_in_the_middle_of_training_does_not_change_it(tmp_path: Path) -> None:
    ends = []
    for callbacks in ([], [cl.ModelCheckpoint(tmp_path / "{epoch}.safetensors")]):
        torch.manual_seed(0)
        model = Model(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(144, 3)))
        model.fit(small.shared_photos(), **QUICK, callbacks=callbacks)
        ends.append(model.network)
        assert all(parameter.is_contiguous() for parameter in model.network.parameters())
    assert rig.same_weights(*ends)


def test_what_was_trained_survives_the_file_exactly(tmp_path: Path, pictures: list[Path]) -> None:
    model = Model(rig.network())
    model.fit(small.shared_photos(), **QUICK)
    path = model.save(tmp_path / "folder" / "own.safetensors")
    again = Model.load(path, network=rig.network())
    assert rig.same_weights(model.network, again.network)
    assert again.preprocess == model.preprocess
    ours, theirs = model.predict(pictures[:9]), again.predict(pictures[:9])
    assert isinstance(ours, list)
    assert isinstance(theirs, list)
    for a, b in zip(ours, theirs, strict=True):
        assert a.label == b.label
        assert a.probability == pytest.approx(b.probability, abs=1e-6)
    with pytest.raises(ArtefactError, match=r"your own module Sequential.*Model.load\(path, network=Sequential"):
        Model.load(path)
    with pytest.raises(ArtefactError, match=r"do not fit the network 'custom': 0.bias"):
        Model.load(path, network=nn.Sequential(nn.Conv2d(1, 9, 3)))
    other = rig.network()
    other[2] = nn.Tanh()
    with pytest.raises(ArtefactError, match="does not answer the built-in test image as it did"):
        Model.load(path, network=other)


def test_lazy_layers_of_torch_take_their_sizes_from_the_data(tmp_path: Path, pictures: list[Path]) -> None:
    def network() -> nn.Module:
        conv, norm = nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d()
        return nn.Sequential(conv, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LazyLinear(3))

    torch.manual_seed(0)
    model = Model(network())
    model.fit(small.shared_photos(), **QUICK)
    assert [type(layer) for layer in model.network][::5] == [nn.Conv2d, nn.Linear]  # type: ignore[call-overload]
    again = Model.load(model.save(tmp_path / "lazy.safetensors"), network=network())
    assert rig.same_weights(model.network, again.network)
    assert model.predict(pictures[0]) == again.predict(pictures[0])
    other = Model(nn.Sequential(nn.LazyConv2d(4, 33), nn.Flatten(), nn.LazyLinear(3)))
    with pytest.raises(ShapeError, match="The lazy layers of the network find no sizes in 1 x 1 x 10 x 10"):
        other.fit(small.shared_photos(), **QUICK)


def test_training_again_tunes_and_forgets_what_no_longer_holds(tmp_path: Path) -> None:
    model = Model.load(small.finished().model_path)
    assert {"calibration", "metrics"} <= model.card.keys()
    seen: list[str] = []

    class Note(Callback):
        def on_train_begin(self, engine: Engine) -> None:
            seen.append(engine.settings.optimiser)

    model.fit(small.shared_photos(), **{**QUICK, "epochs": 1}, callbacks=[Note()])
    Model(rig.network()).fit(small.shared_photos(), **{**QUICK, "epochs": 1}, callbacks=[Note()])
    assert seen == ["adamw", "sgd"]  # tuned in small steps, or learnt anew
    assert not {"calibration", "metrics", "threshold", "abstain", "best_epoch"} & model.card.keys()
    assert model.card["weights"] == {"origin": "random", "licence": None}
    assert model.card["data"]["train_counts"] == [26, 26, 26]


MISFITS: dict[str, tuple[Callable[[], nn.Module], type[Exception], str]] = {
    "too few outputs": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 2)),
        ShapeError,
        r"must give \(1, 3\) .* \(left, right, top\); .*\(1, 1, 10, 10\) it gives \(1, 2\)",
    ),
    "a map instead of a vector": (lambda: nn.Conv2d(1, 3, 3), ShapeError, r"it gives \(1, 3, 8, 8\)"),
    "other channels": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(256, 3)),
        ShapeError,
        r"0 \(Conv2d\) receives 1 x 1 x 10 x 10. It expects 3 channels",
    ),
    "another size": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 3)),
        ShapeError,
        r"1 \(Linear\) receives 1 x 100. It expects 784 values; set in_features=100",
    ),
    "no tensor": (lambda: Tuple(), ShapeError, "gives no tensor but a str"),
    "a tuple": (
        lambda: Several(tuple),
        ShapeError,
        r"Several gives no tensor but a tuple of 1\. Return the answer alone",
    ),
    "a dict": (lambda: Several(lambda found: {"logits": found[0]}), ShapeError, "gives no tensor but a dict of 1"),
    "double": (
        lambda: rig.network().double(),
        ConfigError,
        r"must be float32; 0\.weight is float64\. .*float\(\) first",
    ),
    "half": (lambda: rig.network().half(), ConfigError, r"must be float32; 0\.weight is float16"),
    "frozen": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 3)).requires_grad_(False),
        ConfigError,
        "nothing to train",
    ),
}


class Tuple(nn.Module):
    """Gives words instead of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> str:
        return "left"


class Several(nn.Module):
    """Gives its answer in a container."""

    def __init__(self, wrap: Callable[[list[torch.Tensor]], Any]) -> None:
        super().__init__()
        self.answer, self.wrap = nn.Sequential(nn.Flatten(), nn.Linear(100, 3)), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap([self.answer(x)])


@pytest.mark.parametrize("network", ["lenet5", nn.Linear, lambda x: x])
def test_what_is_no_module_makes_no_model(network: Any) -> None:
    with pytest.raises(ConfigError, match=r"network must be a torch module, an object of nn\.Module; got"):
        cl.Model(network)


@pytest.mark.parametrize("case", MISFITS)
def test_a_network_that_does_not_fit_is_one_clear_error_before_training(case: str) -> None:
    build, kind, words = MISFITS[case]
    model = Model(build())
    with pytest.raises(kind, match=words) as caught:
        model.fit(small.shared_photos(), **QUICK)
    assert "\n" not in str(caught.value)
    assert len(model.history) == 0
    with pytest.raises(ConfigError, match="has not been trained"):
        model.predict(small.shared_photos())


def test_an_interrupted_fit_keeps_its_history() -> None:
    class Stop(Callback):
        def on_epoch_begin(self, engine: Engine) -> None:
            if engine.state.epoch == 1:
                signal.raise_signal(signal.SIGINT)

    model = Model(rig.network())
    with pytest.raises(Interrupted):
        model.fit(small.shared_photos(), **QUICK, callbacks=[Stop()])
    assert len(model.history) == 1


def test_classes_can_be_declared_in_ones_own_order() -> None:
    model = Model(rig.network(), classes=["top", "left", "right"])
    model.fit(small.shared_photos(), **{**QUICK, "epochs": 1})
    assert model.classes == Classes(("top", "left", "right"))
    with pytest.raises(ClassMismatch, match="Unknown: top"):
        Model(rig.network(), classes=["up", "left", "right"]).fit(small.shared_photos(), **QUICK)
    with pytest.raises(ConfigError, match="There is no task 'guess'"):
        Model(rig.network(), task="guess")


def test_a_model_that_was_not_trained_says_so(tmp_path: Path) -> None:
    for use in (lambda m: m.predict("a.png"), lambda m: m.save(tmp_path / "a.safetensors"), lambda m: m.evaluate(".")):
        with pytest.raises(ConfigError, match="Call fit first"):
            use(Model(rig.network()))
    with pytest.raises(ConfigError, match=r"ends in .safetensors; got 'model.pt'"):
        untrained().save(tmp_path / "model.pt")


# the file -------------------------------------------------------------------------------------------------------------


def test_the_card_says_all_that_is_needed_and_no_path_of_this_machine(model: Model) -> None:
    _, card = artefact.read(small.finished().model_path)
    assert card["classes"] == list(small.CLASSES)
    assert card["network"]["name"] == "compact"
    assert card["weights"] == {"origin": "random", "licence": None}
    assert {"calibration", "config", "created", "data", "metrics", "preprocess", "versions"} <= card.keys()
    assert card["metrics"]["against"]["value"]["n"] == card["metrics"]["value"]["n"] == 24
    assert card["data"]["fingerprint"] == small.finished().read("run")["fingerprint"]
    text = json.dumps(card)
    assert str(small.shared()) not in text
    assert os.path.expanduser("~") + "/" not in text
    assert card["config"]["data"]["source"] == "photos"


def test_the_file_alone_predicts_as_the_trained_model_did(model: Model) -> None:
    run = small.finished()
    report = model.evaluate(small.shared_photos())
    evaluation = run.evaluation
    parts = run.read("data")["records"]
    assert {row["part"] for row in parts} == {"train", "valid", "test"}
    assert report["n"] == len(parts)
    assert evaluation["test"]["n"] == sum(row["part"] == "test" for row in parts)


def changed(path: Path, change: Callable[[dict[str, Any]], None], to: Path) -> Path:
    """A sealed file whose card somebody changed who knows the format."""
    tensors, card = artefact.read(path)
    change(card)
    artefact.write(to, tensors, card)
    return to


def _huge(card: dict[str, Any]) -> None:
    card["network"]["options"] = {"width": 10**6}


def _huge_list(card: dict[str, Any]) -> None:
    layers = [{"layer": "flatten"}, {"layer": "dense", "units": 10**10}, {"layer": "dense", "units": "classes"}]
    card["network"] |= {"name": "layers", "options": {"layers": layers}}


def _huge_output(card: dict[str, Any]) -> None:
    card["network"]["outputs"] = 10**12


def _huge_image(card: dict[str, Any]) -> None:
    card["preprocess"] |= {"size_px": [10**6, 10**6], "store_px": [10**6, 10**6]}
    card["network"]["size_px"] = [10**6, 10**6]


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown network": (lambda c: c["network"].update(name="resnet_9000"), "There is no network 'resnet_9000'"),
    "an import path": (lambda c: c["network"].update(name="os:system"), "There is no network 'os:system'"),
    "an unknown option": (lambda c: c["network"].update(options={"code": "x"}), "compact has no option 'code'"),
    "weights to be fetched": (lambda c: c["network"].update(options={"pretrained": True}), "weights to be fetched"),
    "another width": (lambda c: c["network"].update(options={"width": 16}), "do not fit the network 'compact'"),
    "another network": (lambda c: c["network"].update(name="mlp", options={}), "do not fit the network 'mlp'"),
    "10^13 parameters": (_huge, "do not fit the network 'compact'"),
    "10^12 parameters in a list of layers": (_huge_list, "do not fit the network 'layers'"),
    "10^12 outputs": (_huge_output, "contradicts itself"),
    "an image of 10^12 pixels": (_huge_image, "contradicts itself"),
    "a class too many": (lambda c: c["classes"].append("extra"), "contradicts itself"),
    "a class too few": (lambda c: c["classes"].pop(), "contradicts itself"),
    "a class twice": (lambda c: c["classes"].__setitem__(0, "top"), "occur twice"),
    "classes that are a number": (lambda c: c.update(classes=3), "cannot be understood"),
    "a network that is a word": (lambda c: c.update(network="compact"), "cannot be understood"),
    "a network without a name": (lambda c: c["network"].pop("name"), "cannot be understood"),
    "options that are a list": (lambda c: c["network"].update(options=[1]), "cannot be understood"),
    "preprocessing that is a list": (lambda c: c.update(preprocess=[]), "preprocess must be an object"),
    "newer preprocessing": (lambda c: c["preprocess"].update(version=2), "has version 2"),
    "other channels": (lambda c: c["preprocess"].update(mean=[0.5] * 3, std=[0.5] * 3), "for each of 1 channels"),
    "an unknown task": (lambda c: c.update(task="drive"), "There is no task 'drive'"),
    "a changed golden answer": (lambda c: c["golden"].__setitem__(1, c["golden"][1] + 0.1), "does not answer"),
    "golden words": (lambda c: c.update(golden=["a", "b", "c"]), "cannot be understood"),
    "no golden answer": (lambda c: c.update(golden=[]), "contradicts itself"),
    "a golden number": (lambda c: c.update(golden=1), "cannot be understood"),
    "normalised otherwise": (lambda c: c["preprocess"].update(mean=[0.9]), "does not answer"),
    **{
        f"no {field}": (lambda c, field=field: c.pop(field), f"incomplete: its card lacks {field}")
        for field in ("task", "network", "classes", "preprocess", "golden")
    },
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_model_file_is_one_clear_error_at_once(tmp_path: Path, case: str) -> None:
    change, words = HOSTILE[case]
    path = changed(small.finished().model_path, change, tmp_path / "hostile.safetensors")
    started = time.process_time()
    with at_most(100 * 2**20), pytest.raises(ArtefactError, match=words) as caught:
        Model.load(path)
    assert time.process_time() - started < 1.0
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@contextmanager
def at_most(extra_bytes: int) -> Iterator[None]:
    """Let this process reserve so much more memory and no more, where the system can say so."""
    if not sys.platform.startswith("linux"):
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_AS)
    reserved = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (reserved + extra_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_golden_answer_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = changed(small.finished().model_path, lambda card: None, tmp_path / "a.safetensors")
    original = artefact.read
    monkeypatch.setattr(
        artefact, "read", lambda *a, **k: (lambda t, c: (t, c | {"golden": [math.nan] * 3}))(*original(*a, **k))
    )
    with pytest.raises(ArtefactError, match="does not answer"):
        Model.load(path)


def test_a_name_that_is_no_file_is_one_clear_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(1)}, buffer)
    (tmp_path / "model.pt").write_bytes(buffer.getvalue())
    with pytest.raises(ArtefactError, match="can run code and are never read here"):
        Model.load(tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match="No such file"):
        Model.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("network", "options", "size_px"),
    [
        ("compact", {"width": 4, "dropout": 0.1}, 10),
        ("lenet5", {}, 28),
        ("mlp", {}, 10),
        ("layers", {"layers": [{"layer": "flatten"}, {"layer": "dense", "units": "classes"}]}, 8),
    ],
)
def test_every_kind_of_network_goes_through_the_file(
    tmp_path: Path, network: str, options: dict[str, Any], size_px: int
) -> None:
    model = untrained(network, size_px=size_px, **options)
    again = Model.load(model.save(tmp_path / "model.safetensors"))
    assert again.architecture == model.architecture
    assert rig.same_weights(model.network, again.network)
    assert not again.network.training
