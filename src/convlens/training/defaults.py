"""What `auto` means: every training option the user left open, filled in with a reason that is written down.

The values for training from scratch were found with `compact` on Fashion-MNIST
(docs/decisions/0005). This file decides numbers; it builds nothing and trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from convlens.config import Config
from convlens.options import TrainConfig

FINE_TUNE_EPOCHS, HEAD_EPOCHS = 10, 20
SMALL_PX = 64
FEWEST_STEPS = 12  # batches in an epoch, below which they are made smaller
SMALLEST_BATCH = 16
PIXELS_AT_ONCE = 16 * 192 * 192  # in a batch whose answers are pictures


@dataclass(frozen=True)
class Recipe:
    """Values that belong together.

    Attributes:
        rates: peak learning rate of each optimiser, for batches of `batch`; smaller ones get its square root's share.
        seen: images that training sees in all, as far as the epochs stay between the two `epochs`.
        loss: of the task.
        depth_decay: share of the rate that each stage gets of the one above it.
    """

    name: str
    optimiser: str
    rates: dict[str, float]
    batch: int
    weight_decay: float
    warmup: float
    seen: int = 770_000
    epochs: tuple[int, int] = (12, 40)
    loss: str = "cross_entropy"
    depth_decay: float = 1.0


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
    depth_decay=0.7,
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
    "a class for every pixel",
    "adamw",
    {"sgd": 0.05, "rmsprop": 1e-3, "adam": 2e-3, "adamw": 2e-3},
    16,
    0.02,
    0.1,
    seen=9_000,
    epochs=(12, 150),
    loss="cross_entropy+dice",
)
CODING = Recipe(
    "a picture through a code",
    "adamw",
    {"sgd": 0.05, "rmsprop": 3e-3, "adam": 1e-2, "adamw": 1e-2},
    128,
    1e-3,
    0.1,
    seen=360_000,
    epochs=(6, 60),
    loss="squared",
)
DENOISING = Recipe(
    "a picture out of noise",
    "adamw",
    {"sgd": 0.05, "rmsprop": 1e-3, "adam": 2e-3, "adamw": 2e-3},
    64,
    1e-3,
    0.1,
    seen=180_000,
    epochs=(3, 60),
    loss="squared",
)
BOXES = Recipe(
    "boxes around objects",
    "adamw",
    {"sgd": 0.02, "rmsprop": 1e-3, "adam": 4e-3, "adamw": 4e-3},
    16,
    0.02,
    0.1,
    seen=15_000,
    epochs=(12, 150),
    loss="yolo",
)
BOXES_FROM_WEIGHTS = replace(
    BOXES,
    name="boxes around objects, from trained weights",
    rates={"sgd": 0.006, "rmsprop": 3e-4, "adam": 1.2e-3, "adamw": 1.2e-3},
    depth_decay=0.8,
)
OF_TASK = {"segment": PIXELS, "reconstruct": CODING, "anomaly": CODING, "denoise": DENOISING, "detect": BOXES}


@dataclass(frozen=True)
class Facts:
    """What the choices depend on.

    Attributes:
        head_alone: all other layers are frozen.
        normalised: the network has normalisation layers, and so bears a high learning rate.
    """

    train_images: int
    size_px: int
    from_scratch: bool
    normalised: bool
    head_alone: bool = False


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
    recipe = _recipe(config.task, facts)
    batch = _batch_size(facts, config.task in OF_TASK) if asked.batch_size == "auto" else int(asked.batch_size)
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
        "train.depth_decay": (recipe.depth_decay, recipe.name),
        "train.warmup": (recipe.warmup if rises else 0.0, f"schedule {asked.schedule}"),
        "train.loss": ("huber" if config.task == "regress" else recipe.loss, f"task {config.task}"),
        "train.label_smoothing": (0.05 if config.task == "classify" else 0.0, f"task {config.task}"),
        "train.restore_best": _restores_best(asked),
        "train.ema": (0.0, "the rate falls to zero, which averages by itself"),
    }


def _restores_best(asked: TrainConfig) -> tuple[bool, str]:
    if asked.patience is not None:
        return True, "training may stop early"
    if asked.schedule in ("onecycle", "cosine"):
        return False, "the rate falls to zero, and the best of many noisy epochs would only look better on validation"
    return True, f"schedule {asked.schedule}"


def _recipe(task: str, facts: Facts) -> Recipe:
    if task == "detect" and not facts.from_scratch:
        return BOXES_FROM_WEIGHTS
    if task in OF_TASK:
        return OF_TASK[task]
    if facts.head_alone:
        return HEAD_ALONE
    if not facts.from_scratch:
        return FINE_TUNING
    return FROM_SCRATCH if facts.normalised else WITHOUT_NORMS


def _epochs(facts: Facts, recipe: Recipe) -> tuple[int, str]:
    if recipe in (FINE_TUNING, HEAD_ALONE):
        return FINE_TUNE_EPOCHS if recipe is FINE_TUNING else HEAD_EPOCHS, recipe.name
    fewest, most = recipe.epochs
    epochs = min(max(round(recipe.seen / facts.train_images), fewest), most)
    seen = recipe.seen if fewest < epochs < most else epochs * facts.train_images
    return epochs, f"{facts.train_images:,} training images, about {seen:,} seen in all"


def _batch_size(facts: Facts, pictures: bool) -> int:
    batch = 128 if facts.size_px <= SMALL_PX else 32
    if pictures:
        batch = min(batch, max(4, PIXELS_AT_ONCE // facts.size_px**2))
        return max(min(batch, facts.train_images // FEWEST_STEPS), min(4, batch))
    while batch > SMALLEST_BATCH and facts.train_images < FEWEST_STEPS * batch:
        batch //= 2
    return batch
