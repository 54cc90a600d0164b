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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens import artefact
from convlens.config import KINDS, Config, by_leaf
from convlens.data.batch import Batches
from convlens.data.classes import Classes
from convlens.data.mask_map import MaskMap
from convlens.data.noise import Noise
from convlens.data.prepare import Prepared, Wanted, choose_input, make_preprocess, open_all, prepare, require_healthy
from convlens.data.preprocess import Preprocess
from convlens.data.present import make_present
from convlens.data.sources import Source, open_source
from convlens.data.store import build_store
from convlens.data.targets import make_targets
from convlens.errors import ArtefactError, BadImage, ConfigError, ConvlensError, DataError, did_you_mean
from convlens.models import stored
from convlens.models.walk import walk
from convlens.tasks.catalog import TASKS, make
from convlens.tasks.task import Frame, Seen, Task
from convlens.training.callbacks import Callback
from convlens.training.engine import run_network
from convlens.training.hardware import Hardware, tune_allocator
from convlens.training.history import History
from convlens.training.plan import make_engine, make_plan
from convlens.training.transfer import in_evaluation
from convlens.version import __version__

CHUNK = 64
GOLDEN_TOLERANCE = 1e-3
GOLDEN_VALUES = 1000  # of an answer as large as a picture
LARGEST_PX = 8192
IDLE_IN_FIT = ("task", "data.source", "network.", "train.checkpoint", "evaluate.", "run.name", "run.tensorboard")
Read = tuple[str, tuple[np.ndarray, Frame] | BadImage]
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
        batches = Batches(images, zeros, rows, batch_size=batch_size, seed=0, shuffle=False)
        device = str(next(self.network.parameters()).device)
        hardware = Hardware(device=device, layout="channels_last")
        for outputs, _ in run_network(self.network, batches, present, hardware):
            yield outputs

    def codes(self, images: np.ndarray, rows: np.ndarray | None = None, batch_size: int = CHUNK) -> np.ndarray:
        """The codes of stored images, where the network has an `encode`.

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
        return np.concatenate(found)

    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """The pictures of codes, in levels 0..1, where the network has a `decode`.

        Shapes:
            (n, code) float32 -> (n, C, H, W) float32
        """
        device = next(self.network.parameters()).device
        with in_evaluation(self.network), torch.inference_mode():
            return self.asks.keep(self._part("decode")(torch.from_numpy(codes).to(device))).cpu().numpy()

    def _part(self, name: str) -> Callable[[Tensor], Tensor]:
        part = getattr(self.network, name, None)
        if part is None:
            raise ConfigError(f"This network has no code: it has no '{name}'. An autoencoder has.")
        return part

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
        decoded = preprocess.decode(images)
        pixels = preprocess.pixels(decoded)[None]
        seen = Seen(pixels, np.arange(1), [Frame(decoded.size_px, preprocess)])
        return self.asks.answers([_name_of(images, 0)], self.outputs(pixels), seen, top)[0]

    def predict_each(self, images: Iterable[Any], *, top: int = 3, names: Iterable[str] | None = None) -> Iterable[Any]:
        """Predict many images in a stream: as many answers as images, in their order, in bounded memory.

        Args:
            names: what to call the images, instead of their paths or numbers.
        """
        preprocess, _ = self._ready()

        def read(item: tuple[str, Any]) -> Read:
            name, image = item
            try:
                decoded = preprocess.decode(image, name)
            except BadImage as error:
                return name, error
            return name, (preprocess.pixels(decoded), Frame(decoded.size_px, preprocess))

        numbered = ((_name_of(image, number), image) for number, image in enumerate(images))
        named = numbered if names is None else zip(names, images, strict=True)
        with ThreadPoolExecutor(2) as pool:
            while chunk := list(islice(named, CHUNK)):
                yield from self._chunk(list(pool.map(read, chunk)), top)

    def _chunk(self, read: list[Read], top: int) -> list[Any]:
        good = [(name, found) for name, found in read if not isinstance(found, BadImage)]
        answers = iter(())
        if good:
            names, frames = [name for name, _ in good], [frame for _, (_, frame) in good]
            pixels = np.stack([stored for _, (stored, _) in good])
            seen = Seen(pixels, np.arange(len(pixels)), frames)
            answers = iter(self.asks.answers(names, self.outputs(pixels), seen, top))
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
            scored.

        Raises:
            ClassMismatch: a label is not one of the model's classes.
        """
        preprocess, classes = self._ready()
        config = Config.build(by_leaf(options), origin="evaluate")
        given = [name for name, origin in config.origins.items() if origin == "evaluate"]
        _refuse([name for name in given if name not in USED_IN_EVALUATE], "evaluate")
        if not isinstance(data, Source):
            data = open_source(data, config.data, kind=KINDS[self.task])
        source = self._with_meaning(data)
        if split:
            kept = tuple(record for record in source.records if record.split == split)
            if not kept:
                raise DataError(f"{source.name} has no {split} part.")
            source = replace(source, records=kept)
        if source.kind == "class":
            classes.indices([str(record.label) for record in source.records], source.name)  # before anything is decoded
        folder = Path(config.run.directory) / ".store"
        store = build_store(source, preprocess, directory=folder, memory_mb=config.data.memory_mb, threads=2)
        groups = self.card.get("data", {}).get("groups", ())
        answers = make_targets(source, store.records, store.kept, config.data, preprocess, classes, groups)
        require_healthy(answers.findings, strict=False)
        if not len(answers.values):
            raise DataError(f"{source.name} has no labelled image that can be read.")
        rows = np.arange(len(store.images))
        outputs = self.outputs(store.images, rows, scored=True)
        report = self.asks.report(outputs, answers.values, Seen(store.images, rows), level=level, seed=0)
        report["unreadable"] = [{"id": f.id, "reason": f.reason} for f in store.facts if not f.ok]
        return report

    def _with_meaning(self, source: Source) -> Source:
        """The source with the meaning its masks had in training: one map of values, wherever they are read."""
        if source.kind != "mask":
            return source
        return replace(source, mask_map=MaskMap.from_json(self.card["data"]["mask"]))

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
        if built != wanted or not len(card["golden"]) or max(preprocess.store_px) > LARGEST_PX:
            raise ArtefactError(
                f"Its card contradicts itself: classes and preprocessing say {wanted}, the network {built}. "
                f"Use another copy."
            )
        if network is None:
            network = stored.rebuild(card["network"], tensors)
        stored.require_fit(network, tensors, card["network"]["name"])
        network.load_state_dict(tensors)
        network.to(memory_format=torch.channels_last).requires_grad_(True).eval()  # type: ignore[call-overload]
        return cls(network, card["task"], classes, preprocess, architecture, card)

    def _golden(self) -> list[float]:
        preprocess, _ = self._ready()
        answer = next(self._run(golden_image(preprocess)[None]))[0].cpu().flatten()
        places = np.linspace(0, len(answer) - 1, min(len(answer), GOLDEN_VALUES)).astype(np.int64)
        return [round(float(v), 6) for v in answer[places]]

    def _check_golden(self, golden: list[float]) -> None:
        found, allowed = self._golden(), GOLDEN_TOLERANCE * max(1.0, *map(abs, golden))
        same = len(found) == len(golden) and all(abs(a - b) <= allowed for a, b in zip(found, golden, strict=True))
        if not same:
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
