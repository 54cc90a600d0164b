"""What `auto` means: every training option the user left open, filled in with a reason that is written down.

The values for training from scratch were found with `compact` on Fashion-MNIST
(docs/decisions/0005). This file decides numbers; it builds nothing and trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convlens.config import Config, Kind, TrainConfig

SEEN_IMAGES = 770_000
EPOCHS_FROM, EPOCHS_TO = 12, 40
FINE_TUNE_EPOCHS, HEAD_EPOCHS = 10, 20
DEPTH_DECAY = 0.7
SMALL_PX = 64
FEWEST_STEPS = 12  # batches in an epoch, below which they are made smaller
SMALLEST_BATCH = 16
PIXELS_AT_ONCE = 16 * 192 * 192


@dataclass(frozen=True)
class Recipe:
    """Values that belong together.

    Attributes:
        rates: peak learning rate of each optimiser, for batches of `batch`; smaller ones get its square root's share.
    """

    name: str
    optimiser: str
    rates: dict[str, float]
    batch: int
    weight_decay: float
    warmup: float


FROM_SCRATCH = Recipe(
    "a network trained from scratch", "sgd", {"sgd": 0.15, "rmsprop": 1e-3, "adam": 3e-3, "adamw": 3e-3}, 128, 5e-3, 0.2
)
WITHOUT_NORMS = Recipe(
    "a network without normalisation layers",
    "sgd",
    {"sgd": 0.02, "rmsprop": 3e-4, "adam": 1e-3, "adamw": 1e-3},
    128,
    5e-3,
    0.2,
)
FINE_TUNING = Recipe(
    "fine-tuning from trained weights",
    "adamw",
    {"sgd": 0.01, "rmsprop": 1e-4, "adam": 1e-3, "adamw": 1e-3},
    32,
    0.02,
    0.1,
)

HEAD_ALONE = Recipe(
    "a new head on trained features",
    "adamw",
    {"sgd": 0.01, "rmsprop": 1e-3, "adam": 3e-3, "adamw": 3e-3},
    32,
    0.02,
    0.1,
)
PIXELS = Recipe(
    "a class for every pixel", "adamw", {"sgd": 0.05, "rmsprop": 1e-3, "adam": 2e-3, "adamw": 2e-3}, 16, 0.02, 0.1
)
PICTURES = Recipe(
    "a picture for a picture", "adamw", {"sgd": 0.05, "rmsprop": 1e-3, "adam": 2e-3, "adamw": 2e-3}, 64, 1e-3, 0.1
)
SEEN_WINDOWS, SEEN_PICTURES = 9_000, 360_000
LOSS_OF: dict[Kind, str] = {
    "class": "cross_entropy",
    "number": "huber",
    "mask": "cross_entropy+dice",
    "picture": "squared",
    "boxes": "yolo",
}
OWN_RECIPES: dict[Kind, Recipe] = {"mask": PIXELS, "picture": PICTURES}


@dataclass(frozen=True)
class Facts:
    """What the choices depend on.

    Attributes:
        kind: what is learned from; see `convlens.config.Kind`.
        head_alone: all other layers are frozen.
        normalised: the network has normalisation layers, and so bears a high learning rate.
    """

    train_images: int
    size_px: int
    from_scratch: bool
    normalised: bool
    head_alone: bool = False
    kind: Kind = "class"


def complete(config: Config, facts: Facts) -> Config:
    """Fill in every open training option.

    Example:
        >>> done = complete(Config(), Facts(train_images=54_000, size_px=28, from_scratch=True, normalised=True))
        >>> done.train.epochs, done.origins["train.epochs"]
        (14, 'chosen: 54,000 training images, about 770,000 seen in all')
    """
    for option, (value, reason) in _choices(config, facts).items():
        if config[option] == "auto":
            config = config.choose(option, value, reason)
    return config


def _choices(config: Config, facts: Facts) -> dict[str, tuple[Any, str]]:
    asked, images = config.train, f"{facts.train_images:,} training images"
    recipe = _recipe(facts)
    batch = _batch_size(facts) if asked.batch_size == "auto" else int(asked.batch_size)
    rule = recipe.optimiser if asked.optimiser == "auto" else asked.optimiser
    rate = recipe.rates[rule] * min(1.0, (batch * asked.accumulate / recipe.batch) ** 0.5)
    rises = asked.schedule in ("onecycle", "cosine")
    decays = rule in ("sgd", "adamw")
    return {
        "train.epochs": _epochs(facts, recipe),
        "train.batch_size": (batch, f"{images} of {facts.size_px} px"),
        "train.optimiser": (rule, recipe.name),
        "train.rate": (float(f"{rate:.3g}"), f"{rule}, batches of {batch}"),
        "train.weight_decay": (recipe.weight_decay if decays else 0.0, f"{rule}, {recipe.name}"),
        "train.depth_decay": (DEPTH_DECAY if recipe is FINE_TUNING else 1.0, recipe.name),
        "train.warmup": (recipe.warmup if rises else 0.0, f"schedule {asked.schedule}"),
        "train.loss": (LOSS_OF[facts.kind], f"the usual one for a {facts.kind}"),
        "train.label_smoothing": (0.05 if facts.kind == "class" else 0.0, recipe.name),
        "train.restore_best": _restores_best(asked),
        "train.ema": (0.0, "the rate falls to zero, which averages by itself"),
    }


def _restores_best(asked: TrainConfig) -> tuple[bool, str]:
    if asked.patience is not None:
        return True, "training may stop early"
    if asked.schedule in ("onecycle", "cosine"):
        return False, "the rate falls to zero, and the best of many noisy epochs would only look better on validation"
    return True, f"schedule {asked.schedule}"


def _recipe(facts: Facts) -> Recipe:
    if facts.kind in OWN_RECIPES:
        return OWN_RECIPES[facts.kind]
    if facts.head_alone:
        return HEAD_ALONE
    if not facts.from_scratch:
        return FINE_TUNING
    return FROM_SCRATCH if facts.normalised else WITHOUT_NORMS


def _epochs(facts: Facts, recipe: Recipe) -> tuple[int, str]:
    if facts.kind in OWN_RECIPES:
        most, fewest, highest = (SEEN_WINDOWS, 12, 150) if facts.kind == "mask" else (SEEN_PICTURES, 6, 60)
        epochs = min(max(round(most / facts.train_images), fewest), highest)
        return epochs, f"{facts.train_images:,} training images, about {epochs * facts.train_images:,} seen in all"
    if recipe in (FINE_TUNING, HEAD_ALONE):
        return FINE_TUNE_EPOCHS if recipe is FINE_TUNING else HEAD_EPOCHS, recipe.name
    epochs = min(max(round(SEEN_IMAGES / facts.train_images), EPOCHS_FROM), EPOCHS_TO)
    seen = SEEN_IMAGES if EPOCHS_FROM < epochs < EPOCHS_TO else epochs * facts.train_images
    return epochs, f"{facts.train_images:,} training images, about {seen:,} seen in all"


def _batch_size(facts: Facts) -> int:
    batch = 128 if facts.size_px <= SMALL_PX else 32
    if facts.kind in OWN_RECIPES:
        batch = min(batch, max(4, PIXELS_AT_ONCE // facts.size_px**2))
        return max(min(batch, facts.train_images // FEWEST_STEPS), min(4, batch))
    while batch > SMALLEST_BATCH and facts.train_images < FEWEST_STEPS * batch:
        batch //= 2
    return batch
