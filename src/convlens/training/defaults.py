"""What `auto` means: every training option the user left open, filled in with a reason that is written down.

The values come from `benchmarks/recipe.md`. This file decides numbers; it builds nothing and trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convlens.config import Config

SEEN_IMAGES = 900_000
EPOCHS_BETWEEN = (12, 60)
FINE_TUNE_EPOCHS = 10


@dataclass(frozen=True)
class Facts:
    """What the choices depend on."""

    train_images: int
    size_px: int
    from_scratch: bool
    augmented_as: str


def complete(config: Config, facts: Facts) -> Config:
    """Fill in every open training option.

    Example:
        >>> done = complete(Config(), Facts(train_images=54_000, size_px=28, from_scratch=True, augmented_as="objects"))
        >>> done.train.epochs, done.origins["train.epochs"]
        (17, 'chosen: 54,000 training images, about 900,000 seen in all')
    """
    for option, (value, reason) in _choices(config, facts).items():
        if config[option] == "auto":
            config = config.choose(option, value, reason)
    return config


def _choices(config: Config, facts: Facts) -> dict[str, tuple[Any, str]]:
    images = f"{facts.train_images:,} training images"
    fewest, most = EPOCHS_BETWEEN
    if facts.from_scratch:
        epochs = min(max(round(SEEN_IMAGES / facts.train_images), fewest), most)
        epoch_reason = f"{images}, about {epochs * facts.train_images:,} seen in all"
        if fewest < epochs < most:
            epoch_reason = f"{images}, about {SEEN_IMAGES:,} seen in all"
        optimiser, rates, decay = "sgd", {"sgd": 0.2, "rmsprop": 1e-3, "adam": 3e-3, "adamw": 3e-3}, 5e-3
        start = "a network trained from scratch"
    else:
        epochs, epoch_reason = FINE_TUNE_EPOCHS, "fine-tuning from trained weights"
        optimiser, rates, decay = "adamw", {"sgd": 0.01, "rmsprop": 1e-4, "adam": 1e-3, "adamw": 1e-3}, 0.02
        start = "fine-tuning from trained weights"
    batch = 128 if facts.size_px <= 64 else 32
    while batch > 16 and facts.train_images < 12 * batch:
        batch //= 2
    asked_batch = batch if config.train.batch_size == "auto" else config.train.batch_size
    asked_rule = optimiser if config.train.optimiser == "auto" else config.train.optimiser
    rate = rates[asked_rule] * min(
        1.0, (asked_batch * config.train.accumulate / (128 if facts.from_scratch else 32)) ** 0.5
    )
    return {
        "train.epochs": (epochs, epoch_reason),
        "train.batch_size": (batch, f"{images} of {facts.size_px} px"),
        "train.optimiser": (optimiser, start),
        "train.rate": (float(f"{rate:.3g}"), f"{asked_rule}, batches of {asked_batch}"),
        "train.weight_decay": (decay if asked_rule in ("sgd", "adamw") else 0.0, f"{asked_rule}, {start}"),
        "train.warmup": (0.2 if facts.from_scratch else 0.1, f"schedule {config.train.schedule}")
        if config.train.schedule in ("onecycle", "cosine")
        else (0.0, f"schedule {config.train.schedule}"),
        "train.label_smoothing": (0.1 if facts.augmented_as != "digits" else 0.05, start),
        "train.ema": (0.0, "the rate falls to zero, which averages by itself"),
    }
