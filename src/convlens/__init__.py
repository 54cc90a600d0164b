"""convlens: train, open up and ship convolutional neural networks.

    import convlens as cl
    run = cl.train("photos/", network="lenet5", epochs=10)
    run.model.predict("a.jpg")

Importing this package imports nothing heavy: every name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from convlens.version import __version__ as __version__

_HOMES = {
    "train": "experiment",
    "resume": "experiment",
    "cross_validate": "folds",
    "check": "data.check",
    "find_rate": "experiment",
    "describe": "explain.anatomy",
    "Run": "run",
    "Model": "model",
    "Prediction": "tasks.classify",
    "Config": "config",
    "ConvlensError": "errors",
    "video_frames": "data.video",
    "Callback": "training.callbacks",
    "EarlyStopping": "training.callbacks",
    "ModelCheckpoint": "training.callbacks",
    "TensorBoard": "training.callbacks",
}

__all__ = [
    "Callback",
    "Config",
    "ConvlensError",
    "EarlyStopping",
    "Model",
    "ModelCheckpoint",
    "Prediction",
    "Run",
    "TensorBoard",
    "check",
    "cross_validate",
    "describe",
    "find_rate",
    "resume",
    "train",
    "video_frames",
]

if TYPE_CHECKING:
    from convlens.config import Config
    from convlens.data.check import check
    from convlens.data.video import video_frames
    from convlens.errors import ConvlensError
    from convlens.experiment import find_rate, resume, train
    from convlens.explain.anatomy import describe
    from convlens.folds import cross_validate
    from convlens.model import Model
    from convlens.run import Run
    from convlens.tasks.classify import Prediction
    from convlens.training.callbacks import Callback, EarlyStopping, ModelCheckpoint, TensorBoard


def __getattr__(name: str) -> Any:
    if name == "reference":
        return importlib.import_module("convlens.reference")
    if name not in _HOMES:
        raise AttributeError(f"module 'convlens' has no attribute '{name}'")
    return getattr(importlib.import_module(f"convlens.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
