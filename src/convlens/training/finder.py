"""Which learning rate? Raise it a little with every step until the loss explodes, and look where it fell fastest.

Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, arXiv 1506.01186.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from convlens.config import Config
from convlens.data.prepare import Prepared
from convlens.errors import TrainingError
from convlens.training.engine import Engine
from convlens.training.hardware import Hardware, keep_depthwise_float32
from convlens.training.plan import make_engine

LOWEST, HIGHEST, STEPS = 1e-6, 10.0, 120
EXPLODED = 3.0
SMOOTHING = 0.9


@dataclass(frozen=True)
class RateCurve:
    """Loss against learning rate.

    Attributes:
        rates, losses: of each step; losses are smoothed.
        suggestion: the rate at which the loss fell fastest.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


def find_rate(network: nn.Module, config: Config, prepared: Prepared, hardware: Hardware) -> RateCurve:
    """Try rates from 1e-6 to 10 on a copy of the network, one batch each; the network itself is not changed.

    Args:
        config: with nothing open (see `make_plan`); its own rate and schedule are not used.

    Raises:
        TrainingError: the loss is not finite from the start, or never falls.
    """
    engine: Engine = make_engine(copy.deepcopy(network), config, prepared, hardware)
    growth = (HIGHEST / LOWEST) ** (1 / (STEPS - 1))
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    with keep_depthwise_float32(engine.network, hardware):
        engine.set_layers()
        while len(rates) < STEPS:
            for batch in engine.train.epoch(engine.state.epoch):
                rate = LOWEST * growth ** len(rates)
                engine.rate_at = lambda step, rate=rate: rate  # type: ignore[method-assign]
                loss = float(engine.learn(batch))
                mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
                smooth = mean / (1 - SMOOTHING ** (len(losses) + 1))
                if not math.isfinite(loss) or (losses and smooth > EXPLODED * min(losses)):
                    return _read(rates, losses)
                rates.append(rate)
                losses.append(smooth)
                if len(rates) == STEPS:
                    break
            engine.state.epoch, engine.state.batch = engine.state.epoch + 1, 0
    return _read(rates, losses)


def _read(rates: list[float], losses: list[float]) -> RateCurve:
    if len(losses) < 10:
        raise TrainingError("The loss exploded within ten steps of the smallest rate. Check labels and network.")
    lowest = int(np.argmin(losses))
    slopes = np.gradient(np.array(losses[: lowest + 1])) if lowest >= 2 else np.zeros(1)
    if slopes.min() >= 0:
        raise TrainingError("The loss fell at no learning rate between 1e-6 and 10. Check the labels and the network.")
    return RateCurve(tuple(rates), tuple(losses), float(f"{rates[int(slopes.argmin())]:.2g}"))
