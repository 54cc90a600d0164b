"""How the learning rate changes: each schedule is a pure function from progress to a factor of the peak rate.

A resumed run needs nothing but the number of the step. This file knows no optimiser and no clock.
"""

from __future__ import annotations

import math

from convlens.options import TrainConfig


def rate_factor(settings: TrainConfig, step: int, total_steps: int, steps_per_epoch: int, warmup: float) -> float:
    """Factor of the peak rate at an optimiser step, the first being 0.

    Schedules (e is the fraction of epochs done, t of all steps done, after the warm-up):
        constant     1
        step         gamma ** floor(e / step_epochs)
        exponential  gamma ** e
        time         1 / (1 + decay * e)
        cosine       (1 + cos(pi t)) / 2                              Loshchilov and Hutter 2017, arXiv 1608.03983
        onecycle     1 - t: up in a line during the warm-up, down in a line to zero    Smith 2018, arXiv 1803.09820

    The last two reach zero exactly when the declared epochs end.

    Example:
        >>> settings = TrainConfig(schedule="onecycle")
        >>> [round(rate_factor(settings, step, 8, 4, warmup=0.25), 3) for step in range(9)]
        [0.333, 0.667, 1.0, 0.833, 0.667, 0.5, 0.333, 0.167, 0.0]
    """
    warm_steps = round(warmup * total_steps)
    if step < warm_steps:
        return (step + 1) / (warm_steps + 1)
    t = (step - warm_steps) / max(total_steps - warm_steps, 1)
    epochs = step / steps_per_epoch
    match settings.schedule:
        case "constant":
            return 1.0
        case "step":
            return settings.gamma ** (epochs // settings.step_epochs)
        case "exponential":
            return settings.gamma**epochs
        case "time":
            return 1.0 / (1.0 + settings.decay * epochs)
        case "cosine":
            return (1.0 + math.cos(math.pi * t)) / 2.0
        case "onecycle":
            return 1.0 - t
