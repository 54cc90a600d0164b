"""The model as one object: a network together with all that is needed to use it and to believe it.

    network      an ordinary torch module
    classes      the ordered names of its outputs
    preprocess   how an image becomes its input
    card         how it was trained and how well it does

`fit`, `evaluate`, `predict`, `save` and `load` start here. Runs, reports and the command line are floors above.
"""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens import artefact
from convlens.config import Config, by_leaf
from convlens.data.batch import Batches
from convlens.data.classes import Classes
from convlens.data.prepare import Prepared, Wanted, choose_input, make_preprocess, open_all, prepare
from convlens.data.preprocess import Preprocess
from convlens.data.sources import Source, open_source
from convlens.data.store import build_store
from convlens.data.targets import make_targets
from convlens.errors import ArtefactError, BadImage, ConfigError, ConvlensError, DataError, did_you_mean
from convlens.models import stored
from convlens.models.walk import walk
from convlens.tasks.catalog import TASKS, make
from convlens.tasks.task import Task
from convlens.training.callbacks import Callback
from convlens.training.engine import run_network
from convlens.training.hardware import Hardware, tune_allocator
from convlens.training.history import History
from convlens.training.plan import make_engine, make_plan
from convlens.version import __version__

CHUNK = 64
GOLDEN_TOLERANCE = 1e-3
LARGEST_PX = 8192
IDLE_IN_FIT = ("task", "data.source", "network.", "train.checkpoint", "evaluate.", "run.name", "run.tensorboard")
OF_THE_INPUT = ("data.size_px", "data.channels", "data.fit", "data.normalise", "data.background", "data.white_level")
USED_IN_EVALUATE = ("data.image_column", "data.label_column", "data.split_column", "data.memory_mb", "run.directory")


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
        config = Config.build({"task": self.task}, by_leaf(options), origin=("model", "fit"))
        idle = IDLE_IN_FIT if self.preprocess is None else IDLE_IN_FIT + OF_THE_INPUT
        _refuse([name for name, origin in config.origins.items() if origin == "fit" and name.startswith(idle)], "fit")
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
            ShapeError: the network cannot take such images or has another number of outputs.
            ConfigError: the network has nothing to train.
        """
        classes, preprocess = prepared.classes, prepared.preprocess
        shape = (preprocess.policy.channels, *preprocess.size_px)
        outputs = walk(self.network, (1, *shape))[-1].output_shape
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

    def outputs(self, images: np.ndarray, batch_size: int = CHUNK) -> np.ndarray:
        """What the network says to stored images, such as logits.

        Shapes:
            images (N, store H, store W, C) uint8 -> (N, ...) float32; (N, K) for K classes.
        """
        preprocess, classes = self._ready()
        tune_allocator()
        zeros = np.zeros(len(images), dtype=np.int64)
        batches = Batches(images, zeros, np.arange(len(images)), batch_size=batch_size, seed=0, shuffle=False)
        device = str(next(self.network.parameters()).device)
        hardware = Hardware(device=device, layout="channels_last")
        found = [outputs.cpu().numpy() for outputs, _ in run_network(self.network, batches, preprocess, hardware)]
        return np.concatenate(found) if found else np.zeros((0, len(classes)), np.float32)

    def predict(self, images: Any, *, top: int = 3) -> Any:
        """Name what is in one image, or in many.

        Args:
            images: a path, bytes, an array (H, W) or (H, W, C), a Pillow image; or a list of these; or a folder.
            top: how many classes to list.

        Returns:
            One prediction for one image; for a list or a folder, one for each in the same order, unreadable ones
            with `error` set.

        Raises:
            BadImage: a single image cannot be read.
        """
        if isinstance(images, str | Path) and Path(images).is_dir():
            source = open_source(images, Config().data, labelled=False)
            names = [str(Path(images) / record.id) for record in source.records]
            return list(self.predict_each([source.image(r) for r in source.records], top=top, names=names))
        if isinstance(images, list | tuple):
            return list(self.predict_each(images, top=top))
        preprocess, _ = self._ready()
        pixels = preprocess.pixels(preprocess.decode(images))
        return self.asks.answers([_name_of(images, 0)], self.outputs(pixels[None]), top)[0]

    def predict_each(self, images: Iterable[Any], *, top: int = 3, names: Iterable[str] | None = None) -> Iterable[Any]:
        """Predict many images in a stream: as many answers as images, in their order, in bounded memory.

        Args:
            names: what to call the images, instead of their paths or numbers.
        """
        preprocess, _ = self._ready()

        def read(item: tuple[str, Any]) -> tuple[str, np.ndarray | BadImage]:
            name, image = item
            try:
                return name, preprocess.pixels(preprocess.decode(image, name))
            except BadImage as error:
                return name, error

        numbered = ((_name_of(image, number), image) for number, image in enumerate(images))
        named = numbered if names is None else zip(names, images, strict=True)
        with ThreadPoolExecutor(2) as pool:
            while chunk := list(islice(named, CHUNK)):
                yield from self._chunk(list(pool.map(read, chunk)), top)

    def _chunk(self, read: list[tuple[str, np.ndarray | BadImage]], top: int) -> list[Any]:
        good = [(name, pixels) for name, pixels in read if isinstance(pixels, np.ndarray)]
        outputs = self.outputs(np.stack([pixels for _, pixels in good])) if good else np.zeros((0, 0))
        answers = iter(self.asks.answers([name for name, _ in good], outputs, top))
        return [
            self.asks.unreadable(name, pixels.reason) if isinstance(pixels, BadImage) else next(answers)
            for name, pixels in read
        ]

    def evaluate(self, data: Any, *, split: str | None = None, level: float = 0.95, **options: Any) -> dict[str, Any]:
        """Score the model on labelled images it has not been trained on.

        Args:
            data: a source; its class names must be among the model's.
            split: only the records the source itself puts in `train`, `valid` or `test`.
            options: how the source is read, such as `label_column="breed"`.

        Returns:
            The task's report, as of `convlens.metrics.classification`, with `unreadable`, the files that could not be
            scored.

        Raises:
            ClassMismatch: a label is not one of the model's classes.
        """
        preprocess, classes = self._ready()
        config = Config.build(by_leaf(options), origin="evaluate")
        given = [name for name, origin in config.origins.items() if origin == "evaluate"]
        _refuse([name for name in given if name not in USED_IN_EVALUATE], "evaluate")
        source = data if isinstance(data, Source) else open_source(data, config.data, numeric=self.task == "regress")
        if split:
            kept = tuple(record for record in source.records if record.split == split)
            if not kept:
                raise DataError(f"{source.name} has no {split} part.")
            source = replace(source, records=kept)
        make_targets(source, source.records, config.data, classes)  # before anything is decoded
        folder = Path(config.run.directory) / ".store"
        store = build_store(source, preprocess, directory=folder, memory_mb=config.data.memory_mb, threads=2)
        targets = make_targets(source, store.records, config.data, classes).values
        if not len(targets):
            raise DataError(f"{source.name} has no labelled image that can be read.")
        report = self.asks.report(self.outputs(store.images), targets, level=level, seed=0)
        report["unreadable"] = [{"id": f.id, "reason": f.reason} for f in store.facts if not f.ok]
        return report

    # the file ---------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> Path:
        """Write the model as one `.safetensors` file.

        Raises:
            ConfigError: the name does not end in `.safetensors`.
            OSError: it could not be written; an older file of that name is untouched.
        """
        path = Path(path)
        if path.suffix != ".safetensors":
            raise ConfigError(f"A model file ends in .safetensors; got '{path.name}'.")
        preprocess, classes = self._ready()
        card = {
            **self.card,
            "task": self.task,
            "network": self.architecture or {"name": "custom", "class": type(self.network).__name__},
            "classes": list(classes.names),
            "preprocess": preprocess.to_json(),
            "versions": versions(),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "golden": self._golden(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        artefact.write(path, self.network.state_dict(), card)
        return path

    @classmethod
    def load(cls, path: str | Path, network: nn.Module | None = None) -> Model:
        """Read a model file.

        Args:
            network: needed only for a model made from a user's own module.

        Raises:
            ArtefactError: the file is damaged, foreign or newer, or does not fit its own card.
        """
        tensors, card = artefact.read(path)
        missing = [name for name in ("task", "network", "classes", "preprocess", "golden") if name not in card]
        if missing:
            raise ArtefactError(f"{path} is incomplete: its card lacks {', '.join(missing)}. Use another copy.")
        try:
            model = cls._of_card(card, tensors, network)
            model._check_golden(card["golden"])
        except ConvlensError as error:
            raise ArtefactError(f"{path}: {error}") from None
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
            raise ArtefactError(f"{path} is damaged: its card cannot be understood ({error!r}).") from None
        return model

    @classmethod
    def _of_card(cls, card: dict[str, Any], tensors: dict[str, Tensor], network: nn.Module | None) -> Model:
        classes, preprocess = Classes(tuple(card["classes"])), Preprocess.from_json(card["preprocess"])
        architecture = None if card["network"]["name"] == "custom" else card["network"]
        keys = ("in_channels", "outputs", "size_px")
        wanted = dict(zip(keys, (preprocess.policy.channels, len(classes), list(preprocess.size_px)), strict=True))
        built = {key: architecture[key] for key in keys} if architecture else wanted
        if built != wanted or len(card["golden"]) != len(classes) or max(preprocess.store_px) > LARGEST_PX:
            raise ArtefactError(
                f"Its card contradicts itself: classes and preprocessing say {wanted}, the network {built}, with "
                f"{len(card['golden'])} outputs stored. Use another copy."
            )
        if network is None:
            network = stored.rebuild(card["network"], tensors)
        stored.require_fit(network, tensors, card["network"]["name"])
        network.load_state_dict(tensors)
        network.to(memory_format=torch.channels_last).requires_grad_(True).eval()  # type: ignore[call-overload]
        return cls(network, card["task"], classes, preprocess, architecture, card)

    def _golden(self) -> list[float]:
        preprocess, _ = self._ready()
        return [round(float(v), 6) for v in self.outputs(golden_image(preprocess)[None])[0]]

    def _check_golden(self, golden: list[float]) -> None:
        found, allowed = self._golden(), GOLDEN_TOLERANCE * max(1.0, *map(abs, golden))
        if not all(abs(a - b) <= allowed for a, b in zip(found, golden, strict=True)):
            raise ArtefactError(
                f"The network does not answer the built-in test image as it did when it was saved (expected "
                f"{golden[:3]}..., got {found[:3]}...). The network or the preprocessing has changed."
            )

    def _ready(self) -> tuple[Preprocess, Classes]:
        if self.preprocess is None or not isinstance(self.classes, Classes):
            raise ConfigError(
                "This model has not been trained: it has no classes and no preprocessing. Call fit first."
            )
        return self.preprocess, self.classes


def golden_image(preprocess: Preprocess) -> np.ndarray:
    """A fixed pattern of the stored size, (H, W, C) uint8, that depends on no random generator."""
    height, width = preprocess.store_px
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(preprocess.policy.channels), indexing="ij")
    return ((37 * y + 101 * x + 59 * c + (y * x) % 83) % 256).astype(np.uint8)


def versions() -> dict[str, str]:
    """What the result depends on."""
    return {
        "convlens": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _refuse(idle: list[str], method: str) -> None:
    if idle:
        raise ConfigError(f"{', '.join(idle)} has no effect in Model.{method}. Leave it out, or use convlens.train.")


def _name_of(image: Any, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"image {number + 1}"
