"""The model as one object: a network together with all that is needed to use it and to believe it.

    network      an ordinary torch module
    classes      the ordered names of its outputs
    preprocess   how an image becomes its input
    card         how it was trained and how well it does

`fit`, `evaluate`, `predict`, `save` and `load` start here. Runs, reports and the command line are floors above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens import model_file
from convlens.config import Config
from convlens.data.batch import Batches
from convlens.data.classes import Classes
from convlens.data.image import decode
from convlens.data.input import Wanted, choose_input, make_preprocess
from convlens.data.labelled import read_labelled
from convlens.data.noise import Noise
from convlens.data.opening import open_all
from convlens.data.prepare import Prepared, prepare
from convlens.data.preprocess import Preprocess
from convlens.data.present import make_present
from convlens.data.sources import open_source
from convlens.data.video import VideoFrame, together
from convlens.errors import BadImage, ConfigError, did_you_mean
from convlens.model_file import Parts
from convlens.models.walk import materialise, require_float32, require_module, walk
from convlens.options import KINDS
from convlens.request import by_leaf
from convlens.tasks.catalog import TASKS, make, require_options
from convlens.tasks.pictures import as_codes
from convlens.tasks.task import Frame, Seen, Task
from convlens.training.callbacks import Callback, require_callbacks
from convlens.training.engine import run_network
from convlens.training.hardware import Hardware, tune_allocator
from convlens.training.history import History
from convlens.training.plan import make_engine, make_plan
from convlens.training.speed import Runner, one_at_a_time, torch_runners, walk_of
from convlens.training.tiling import PIXELS_AT_ONCE, answer_in_tiles, at_own_scale, choose_tiles
from convlens.training.transfer import in_evaluation

CHUNK = 64
IDLE_IN_FIT = ("task", "data.source", "network.", "train.checkpoint", "evaluate.", "run.name", "run.tensorboard")
Read = tuple[str, tuple[np.ndarray, Frame] | BadImage]
OF_THE_INPUT = ("data.size_px", "data.channels", "data.fit", "data.normalise", "data.background", "data.white_level")
USED_IN_EVALUATE = (
    "data.image_column",
    "data.label_column",
    "data.split_column",
    "data.masks",
    "data.clean",
    "data.normal",
    "data.format",
    "data.memory_mb",
    "run.directory",
)


@dataclass
class Model:
    """A network and what belongs to it.

    Example:
        model = Model(MyNetwork(), classes=["cat", "dog"])
        model.fit("photos/", epochs=10)
        model.predict("a.jpg").label

    Attributes:
        architecture: catalog name and arguments to build the network from again; None for a user's own module.
        card: whatever else travels with the file: metrics, data, calibration, versions.
    """

    network: nn.Module
    task: str = "classify"
    classes: Classes | Sequence[str] | None = None
    preprocess: Preprocess | None = None
    architecture: dict[str, Any] | None = None
    card: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History, repr=False)

    def __post_init__(self) -> None:
        require_module(self.network)
        if self.task not in TASKS:
            raise ConfigError(f"There is no task '{self.task}'. {did_you_mean(self.task, TASKS)}")
        if self.classes is not None and not isinstance(self.classes, Classes):
            self.classes = Classes(tuple(str(name) for name in self.classes))

    # training ---------------------------------------------------------------------------------------------------

    def fit(self, data: Any, *, callbacks: Sequence[Callback] = (), **options: Any) -> History:
        """Train on a source of labelled images.

        Args:
            data: whatever `convlens.train` accepts: a folder, a table, idx files, a built-in name, (images, labels).
            callbacks: called at each stage; see `convlens.training.callbacks`.
            options: any option of data, augmentation and training by its last name, such as `epochs=10`.

        Raises:
            ConvlensError: the data, an option or the network's shape does not fit.
        """
        callbacks = require_callbacks(callbacks)
        config = Config.build({"task": self.task}, by_leaf(options, self.task), origin=("model", "fit"))
        idle = IDLE_IN_FIT if self.preprocess is None else IDLE_IN_FIT + OF_THE_INPUT
        _refuse([name for name, origin in config.origins.items() if origin == "fit" and name.startswith(idle)], "fit")
        require_options(config)
        source = open_all(config, data)
        size = Wanted() if self.preprocess is None else Wanted(size_px=self.preprocess.size_px[0])
        config = choose_input(config, source, size)
        learned = self.preprocess is None and config.data.normalise in ("auto", "data")
        prepared = prepare(
            config,
            source,
            self.preprocess or make_preprocess(config, Wanted()),
            classes=self.classes if isinstance(self.classes, Classes) else None,
            learn_normalisation=learned,
        )
        trained = bool(self.card or self.history.rows)  # then its weights are tuned, not learnt anew
        self.card = {key: self.card[key] for key in ("weights",) if key in self.card}
        self.adopt(prepared)
        config, hardware = make_plan(self.network, config, prepared, from_scratch=not trained)
        engine = make_engine(self.network, config, prepared, hardware, callbacks=callbacks, save_model=self.save)
        self.history = engine.history  # kept when training is interrupted
        return engine.fit()

    def adopt(self, prepared: Prepared) -> None:
        """Take the classes and the preprocessing of the data, and check that the network fits them.

        Raises:
            ShapeError: the network cannot take such images, has another number of outputs, or gives no one tensor.
            ConfigError: the network has nothing to train, or parameters of another precision than float32.
        """
        classes, preprocess = prepared.classes, prepared.preprocess
        shape = (preprocess.policy.channels, *preprocess.size_px)
        materialise(self.network, (1, *shape))
        require_float32(self.network)
        outputs = walk(self.network, (1, *shape), one_tensor=True)[-1].output_shape
        make(self.task, classes.names, self.card).require(outputs, (1, *shape))
        self.card["data"] = prepared.learned
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ConfigError("The network has nothing to train: no parameter requires a gradient. Unfreeze some.")
        self.classes, self.preprocess = classes, preprocess

    # use --------------------------------------------------------------------------------------------------------

    @property
    def asks(self) -> Task:
        """What is asked of the network: turns its outputs into answers and scores."""
        _, classes = self._ready()
        return make(self.task, classes.names, self.card)

    def outputs(
        self, images: np.ndarray, rows: np.ndarray | None = None, *, scored: bool = False, batch_size: int = CHUNK
    ) -> np.ndarray:
        """What the network says to stored images, as far as the task keeps it: logits, the class of each pixel, ...

        Args:
            rows: of which images; of all by default.
            scored: show them as in validation: where noise is part of the task, with the noise that each row gets.

        Shapes:
            images (N, store H, store W, C) uint8 -> (n, ...); logits (n, K) float32 for K classes.
        """
        asks = self.asks
        found = [asks.keep(part).cpu().numpy() for part in self._run(images, rows, scored, batch_size)]
        return np.concatenate(found) if found else np.zeros((0, len(asks.names)), np.float32)

    def _run(
        self, images: np.ndarray, rows: np.ndarray | None = None, scored: bool = False, batch_size: int = CHUNK
    ) -> Iterator[Tensor]:
        preprocess, _ = self._ready()
        tune_allocator()
        facts, rows = self.card.get("data", {}), np.arange(len(images)) if rows is None else rows
        noise = Noise.parse(facts["noise"]) if scored and "noise" in facts else None
        present = make_present(KINDS[self.task], preprocess, noise=noise, seed=facts.get("noise_seed", 0))
        zeros = np.zeros(len(images), dtype=np.int64)
        fit_in = max(1, PIXELS_AT_ONCE // (images.shape[1] * images.shape[2])) if KINDS[self.task] == "mask" else CHUNK
        batches = Batches(images, zeros, rows, batch_size=min(batch_size, fit_in), seed=0, shuffle=False)
        device = str(next(self.network.parameters()).device)
        hardware = Hardware(device=device, layout="channels_last")
        for outputs, _ in run_network(self.network, batches, present, hardware):
            yield outputs

    def encode(self, images: Iterable[Any]) -> np.ndarray:
        """The codes of images, where the network has them: an autoencoder.

        Args:
            images: each a path, bytes, an array (H, W) or (H, W, C), or a Pillow image.

        Shapes:
            -> (N, code) float32; (0, code) of no images

        Raises:
            BadImage: one of them cannot be read.
            ConfigError: the network has no code.
        """
        preprocess, _ = self._ready()
        found = [preprocess.pixels(preprocess.decode(image)) for image in images]
        return self.codes(np.stack(found)) if found else np.zeros((0, *self._code_shape()), np.float32)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The pictures of codes, whether those come from `encode` or not.

        Shapes:
            (N, code) -> (N, H, W, C) uint8

        Raises:
            ConfigError: the network has no code.
            ShapeError: they are no codes of this network.
            DataError: a number is not finite.
        """
        device, part, shape = next(self.network.parameters()).device, self._part("decode"), self._code_shape()
        found = as_codes(codes, shape)
        with in_evaluation(self.network), torch.inference_mode():
            levels = self.asks.keep(part(torch.from_numpy(found).to(device))).cpu().numpy()
        return np.rint(255 * levels.transpose(0, 2, 3, 1)).astype(np.uint8)

    def speed(self, images: np.ndarray, others: Sequence[Runner] = ()) -> dict[str, Any]:
        """How many stored images a second it answers one at a time, by each way to run it; see `training.speed`.

        Args:
            others: runners beside those of torch, such as exported files.
        """
        present, device = make_present(KINDS[self.task], self._ready()[0]), str(next(self.network.parameters()).device)
        walk = walk_of(self.asks, present, device)
        return one_at_a_time([*torch_runners(self.network), *others], images, walk, device)

    def codes(self, images: np.ndarray, rows: np.ndarray | None = None, batch_size: int = CHUNK) -> np.ndarray:
        """The codes of stored images.

        Shapes:
            images (N, store H, store W, C) uint8 -> (n, code) float32
        """
        preprocess, _ = self._ready()
        encode = self._part("encode")
        device, rows = next(self.network.parameters()).device, np.arange(len(images)) if rows is None else rows
        found = []
        with in_evaluation(self.network), torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                x = preprocess.tensor(torch.from_numpy(images[rows[start : start + batch_size]]).to(device))
                found.append(encode(x).cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, *self._code_shape()), np.float32)

    def _code_shape(self) -> tuple[int, ...]:
        preprocess, _ = self._ready()
        x = torch.zeros(1, preprocess.policy.channels, *preprocess.size_px).to(next(self.network.parameters()).device)
        with in_evaluation(self.network), torch.inference_mode():
            return tuple(self._part("encode")(x).shape[1:])

    def _part(self, name: str) -> Callable[[Tensor], Tensor]:
        part = getattr(self.network, name, None)
        if part is None:
            raise ConfigError(f"This network has no code: it has no '{name}'. An autoencoder has.")
        return part

    def predict(self, images: Any, *, top: int = 3, tiles: bool | int = False) -> Any:
        """Name what is in one image, or in many.

        Args:
            images: a path, bytes, an array (H, W) or (H, W, C), a Pillow image, a frame of `convlens.video_frames`; or
                a list of these; or a folder.
            top: how many classes to list.
            tiles: segment, denoise, reconstruct: answer each image at its own scale, in overlapping tiles of the stored
                size, or of this side; for large images, and networks trained at the scale of the images (`store_px` as
                large as they were, or as their pieces). Without it an image is brought to the stored size.

        Returns:
            One prediction for one image; for a list or a folder, one for each in the same order, unreadable ones
            with `error` set.

        Raises:
            BadImage: a single image cannot be read.
            ConfigError: tiles make no sense for the task or the network, or `top` is below 1.
        """
        if isinstance(images, str | Path) and Path(images).is_dir():
            source = open_source(images, Config().data, labelled=False)
            names = [str(Path(images) / record.id) for record in source.records]
            return list(self.predict_each([source.image(r) for r in source.records], top=top, names=names, tiles=tiles))
        if isinstance(images, list | tuple):
            return list(self.predict_each(images, top=top, tiles=tiles))
        _require_top(top)
        side = self._side_of(tiles)
        return self._chunk([(_name_of(images, 0), self._read(images, None, side))], top, side)[0]

    def predict_each(
        self, images: Iterable[Any], *, top: int = 3, names: Iterable[str] | None = None, tiles: bool | int = False
    ) -> Iterable[Any]:
        """Predict many images, or the frames of a video, in a stream: an answer for each, in order, in bounded memory.

        Args:
            names: what to call the images, instead of their paths or numbers.
            tiles: as in `predict`.
        """
        _require_top(top)
        side = self._side_of(tiles)

        def read(item: tuple[str, Any]) -> Read:
            name, image = item
            try:
                return name, self._read(image, name, side)
            except BadImage as error:
                return name, error

        numbered = ((_name_of(image, number), image) for number, image in enumerate(images))
        named = numbered if names is None else zip(names, images, strict=True)
        with ThreadPoolExecutor(2) as pool:
            for chunk in together(named, 1 if side else CHUNK):
                yield from self._chunk(list(pool.map(read, chunk)), top, side)

    def _side_of(self, tiles: bool | int) -> int:
        """The side of the tiles, 0 without tiles."""
        preprocess, _ = self._ready()
        return choose_tiles(self.network, self.asks, preprocess, tiles) if tiles else 0

    def _read(self, image: Any, name: str | None, side: int) -> tuple[np.ndarray, Frame]:
        preprocess, _ = self._ready()
        if side:
            decoded = decode(image, preprocess.policy, name)
            return decoded.pixels, Frame(decoded.size_px, at_own_scale(preprocess, decoded.size_px))
        decoded = preprocess.decode(image, name)
        return preprocess.pixels(decoded), Frame(decoded.size_px, preprocess)

    def _chunk(self, read: list[Read], top: int, side: int) -> list[Any]:
        good = [(name, found) for name, found in read if not isinstance(found, BadImage)]
        answers = iter(())
        if good:
            names, frames = [name for name, _ in good], [frame for _, (_, frame) in good]
            pixels = np.stack([stored for _, (stored, _) in good])
            seen = Seen(pixels, np.arange(len(pixels)), frames)
            tiled = answer_in_tiles(self.network, self.asks, frames[0].preprocess, pixels[0], side) if side else None
            outputs = self.outputs(pixels) if tiled is None else tiled
            answers = iter(self.asks.answers(names, outputs, seen, top))
        return [
            self.asks.unreadable(name, found.reason) if isinstance(found, BadImage) else next(answers)
            for name, found in read
        ]

    def evaluate(self, data: Any, *, split: str | None = None, level: float = 0.95, **options: Any) -> dict[str, Any]:
        """Score the model on labelled images it has not been trained on.

        Args:
            data: a source; its class names must be among the model's.
            split: only the records the source itself puts in `train`, `valid` or `test`.
            options: how the source is read, such as `label_column="breed"`.

        Returns:
            The task's report, as of `convlens.metrics.classification`, with `unreadable`, the files that could not be
            scored, and `noticed`, warnings about what was left out.

        Raises:
            ClassMismatch: a label is not one of the model's classes.
            ConfigError: an option has no effect, or the model learned from pairs and `clean` is left out.
        """
        preprocess, classes = self._ready()
        config = Config.build({"task": self.task}, by_leaf(options), origin=("model", "evaluate"))
        given = [name for name, origin in config.origins.items() if origin == "evaluate"]
        _refuse([name for name in given if name not in USED_IN_EVALUATE], "evaluate")
        require_options(config)
        learned = self.card.get("data", {})
        found = read_labelled(data, config, preprocess, classes, learned, split)
        images, answers = found.store.images, found.answers
        rows = np.arange(len(images))
        facts = {**learned, "groups": list(answers.groups)}  # other kinds than in training
        paired = answers.kind == "pair"
        if paired:
            facts.pop("noise", None)  # the files have theirs
        asks = make(self.task, classes.names, {**self.card, "data": facts})
        outputs = self.outputs(images, rows, scored=not paired)
        report = asks.report(outputs, answers.values, Seen(images, rows), level=level, seed=0)
        if self.task == "detect":
            report["speed"] = self.speed(images)
        return {**report, "noticed": found.noticed, "unreadable": found.unreadable}

    # the file ---------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the model as one `.safetensors` file.

        Raises:
            ConfigError: the name does not end in `.safetensors`.
            OSError: it could not be written; an older file of that name is untouched.
        """
        preprocess, classes = self._ready()
        parts = Parts(self.network, self.task, classes, preprocess, self.architecture, self.card)
        return model_file.write(Path(path), parts, self._golden())

    @classmethod
    def load(cls, path: str | Path, network: nn.Module | None = None) -> Model:
        """Read a model file.

        Args:
            network: needed only for a model made from a user's own module.

        Raises:
            ArtefactError: the file is damaged, foreign or newer, or does not fit its own card.
        """
        tensors, card = model_file.read(path)
        with model_file.understood(path):
            parts = model_file.rebuild(tensors, card, network)
            model = cls(parts.network, parts.task, parts.classes, parts.preprocess, parts.architecture, parts.card)
            model_file.require_golden(model._golden(), card["golden"])
        return model

    def _golden(self) -> list[float]:
        preprocess, _ = self._ready()
        return model_file.golden_answer(next(self._run(model_file.golden_image(preprocess)[None]))[0])

    def _ready(self) -> tuple[Preprocess, Classes]:
        if self.preprocess is None or not isinstance(self.classes, Classes):
            raise ConfigError(
                "This model has not been trained: it has no classes and no preprocessing. Call fit first."
            )
        return self.preprocess, self.classes


def _refuse(idle: list[str], method: str) -> None:
    if idle:
        raise ConfigError(f"{', '.join(idle)} has no effect in Model.{method}. Leave it out, or use convlens.train.")


def _require_top(top: int) -> None:
    if top < 1:
        raise ConfigError(f"top is how many classes to list, 1 or more; got {top}.")


def _name_of(image: Any, number: int) -> str:
    if isinstance(image, VideoFrame):
        return image.name
    return str(image) if isinstance(image, str | Path) else f"image {number + 1}"
