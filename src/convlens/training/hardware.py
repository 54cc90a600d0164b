"""How the arithmetic is done on this machine: device, memory layout, precision, threads; measured, never guessed.

`choose` times a few real training steps of the real network in each candidate arrangement and keeps the fastest, with
the figures as the reason. A resumed run repeats the stored choice instead of measuring again, because another layout or
precision rounds differently.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from convlens.errors import ConfigError
from convlens.options import TrainConfig
from convlens.training.compiling import compiled

TRIAL_VALUES = 8 * 3 * 160 * 160  # of the images of a trial step; small images are measured in whole batches
TRIAL_SECONDS = 0.3
HOPELESS = 1.5
CLEARLY = 1.2  # a lower precision, or fewer threads, must be this much faster to be worth it
NOTABLY = 1.05  # so must compiled steps

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Hardware:
    """One arrangement, and why it was chosen."""

    device: str = "cpu"
    layout: str = "contiguous"
    precision: str = "float32"
    threads: int = 1
    compile: bool = False
    reason: str = "as asked"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout as torch names it."""
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format

    def autocast(self) -> Any:
        """The context of the forward pass."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)

    @property
    def words(self) -> str:
        """Layout, precision, threads and whether compiled, for a person."""
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.layout.replace('_', ' ')} {self.precision} {threads}{' compiled' if self.compile else ''}"

    def program(self, network: nn.Module) -> Forward:
        """How a training step runs a network: as it is, or compiled."""
        return compiled(network) if self.compile else network


def choose(network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor, settings: TrainConfig) -> Hardware:
    """Pick the fastest arrangement for a network by timing real steps on copies of it.

    Args:
        network: stays untouched.
        loss: from outputs (N, ...) to a scalar, for any number of samples.
        x: an input batch (N, C, H, W), as large as in training; of large images only the first few are used.
        settings: anything but `auto` is taken as asked and not measured.

    Raises:
        ConfigError: the device is not there, or the network cannot be compiled and was to be.
    """
    best = _choose_arrangement(network, loss, x, settings)
    if not settings.compile:
        return best
    x, rival = x.to(best.device), replace(best, compile=True)
    if settings.compile == "auto":
        return _faster(network, loss, x, best, rival)
    time_steps(network, loss, x, rival, give_up=0.0)  # whether it can be compiled is known before the run begins
    return rival


def _choose_arrangement(
    network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor, settings: TrainConfig
) -> Hardware:
    device = pick_device(settings.device)
    threads = torch.get_num_threads() if settings.threads == "auto" else settings.threads
    torch.set_num_threads(threads)
    tune_allocator()
    layouts = ["channels_last", "contiguous"] if settings.layout == "auto" else [settings.layout]
    precisions = ["float32", "bfloat16"] if settings.precision == "auto" else [settings.precision]
    base = Hardware(device=str(device), threads=threads)
    candidates = [replace(base, layout=layout, precision=precisions[0]) for layout in layouts]
    if len(layouts) * len(precisions) == 1:
        return candidates[0]
    x = x[: max(1, TRIAL_VALUES // x[0].numel())].to(device)
    times: dict[Hardware, float] = {}
    for candidate in candidates:
        times[candidate] = time_steps(network, loss, x, candidate, give_up=_give_up(times))
    best = min(times, key=times.__getitem__)

    def challenge(rivals: list[Hardware]) -> Hardware:
        for rival in rivals:
            times[rival] = time_steps(network, loss, x, rival, give_up=_give_up(times))
        fastest = min(rivals, key=times.__getitem__)
        return fastest if CLEARLY * times[fastest] < times[best] else best

    if len(precisions) > 1:  # in every layout: the better one in float32 need not be so in bfloat16
        best = challenge([replace(one, precision="bfloat16") for one in candidates])
    if settings.threads == "auto" and threads > 1 and device.type == "cpu":
        best = challenge([replace(best, threads=1)])  # wins where other programs keep the cores busy
    torch.set_num_threads(best.threads)
    figures = ", ".join(f"{h.words} {1000 * t:.3g} ms" for h, t in times.items())
    return replace(best, reason=f"fastest of {len(times)} measured on {len(x)} images: {figures}")


def _faster(
    network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor, plain: Hardware, rival: Hardware
) -> Hardware:
    """Compiled steps where they are measured faster, on whole batches: they are what is compiled."""
    seconds = time_steps(network, loss, x, plain, give_up=math.inf)
    try:
        compiled_seconds = time_steps(network, loss, x, rival, give_up=math.inf)
    except ConfigError as error:
        return replace(plain, reason=f"{plain.reason}; not compiled: {error}")
    best = rival if NOTABLY * compiled_seconds < seconds else plain
    figures = f"compiled {1000 * compiled_seconds:.3g} ms instead of {1000 * seconds:.3g} ms on {len(x)} images"
    return replace(best, reason=f"{plain.reason}; {figures}")


def time_steps(
    network: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor, hardware: Hardware, give_up: float
) -> float:
    """Seconds of the fastest training step in one arrangement; stops early once it is slower than `give_up`.

    Compiling does not count.
    """
    trial = arranged(network, hardware)
    x = x.contiguous(memory_format=hardware.memory_format)
    best, spent, program = float("inf"), 0.0, hardware.program(trial)
    torch.set_num_threads(hardware.threads)
    with torch.random.fork_rng(devices=[]), keep_depthwise_float32(trial, hardware):
        trial.train()
        if hardware.compile:
            with hardware.autocast():
                value = loss(program(x))
            value.backward()
        for attempt in range(12):
            synchronize(hardware.device)
            start = time.perf_counter()
            with hardware.autocast():
                value = loss(program(x))
            value.backward()
            synchronize(hardware.device)
            seconds = time.perf_counter() - start
            best, spent = min(best, seconds), spent + seconds
            if attempt and (best > give_up or spent > TRIAL_SECONDS):
                break
    return best


def arranged(network: nn.Module, hardware: Hardware) -> nn.Module:
    """A copy of a network on the device and in the layout of an arrangement."""
    return copy.deepcopy(network).to(hardware.device, memory_format=hardware.memory_format)  # type: ignore[call-overload]


def _give_up(times: dict[Hardware, float]) -> float:
    return HOPELESS * min(times.values(), default=float("inf"))


@contextmanager
def keep_depthwise_float32(network: nn.Module, hardware: Hardware) -> Iterator[None]:
    """Run depthwise convolutions in float32 inside bfloat16 autocast.

    On processors their bfloat16 backward pass is ten times slower than the float32 one; everything else gains.
    """
    wrapped: list[nn.Module] = []
    if hardware.precision == "bfloat16" and hardware.device == "cpu":
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
                module.__dict__["forward"] = functools.partial(_float32_forward, module.forward)
                wrapped.append(module)
    try:
        yield
    finally:
        for module in wrapped:
            del module.__dict__["forward"]


def _float32_forward(forward: Forward, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(x.float())


def pick_device(asked: str) -> torch.device:
    """The device asked for, or the best one there is.

    Raises:
        ConfigError: it is not there.
    """
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"train.device: '{asked}' cannot be used here ({reason}). Try auto or cpu.") from None
    return device


def synchronize(device: str) -> None:
    """Wait until a device has done what it was given; a processor always has."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


@functools.cache
def tune_allocator() -> bool:
    """Ask the C library to keep freed memory instead of returning it after every step (glibc only).

    Large activations are otherwise unmapped and mapped again, page by page, in each step.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        library = ctypes.CDLL(None)
        return bool(library.mallopt(trim_threshold, -1)) and bool(library.mallopt(mmap_max, 0))
    except (OSError, AttributeError):
        return False
