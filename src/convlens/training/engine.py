"""The training loop: plain, short, and the same whether it was interrupted or not.

    for every epoch:
        for every batch:  augment -> forward -> loss -> backward -> update
        look at validation, remember the best weights

All that changes lies in `State`, the network, the optimiser and the averages; together they are a checkpoint. Order,
augmentation and dropout are functions of (seed, epoch, step), so nothing else has to be remembered. The engine knows a
task by its protocol and data by its batches; files, classes and reports are not its business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.data.batch import Batch, Batches
from convlens.data.present import Present
from convlens.errors import TrainingError
from convlens.nn.constraints import constraints
from convlens.nn.keras_layer import build, waits_for_input
from convlens.nn.penalties import penalties
from convlens.options import TrainConfig
from convlens.tasks.task import Task
from convlens.training.callbacks import (
    Callback,
    EarlyStopping,
    direction,
    read_column,
    require_callbacks,
    require_columns,
)
from convlens.training.checkpoint import Checkpoints, Snapshot
from convlens.training.hardware import Hardware, keep_depthwise_float32
from convlens.training.history import Events, History
from convlens.training.interrupt import Interrupt, Interrupted
from convlens.training.optimiser import AveragedWeights, build_optimiser, decay_weights, decayed_parameters, penalty
from convlens.training.schedule import rate_factor
from convlens.training.transfer import Transfer, in_evaluation, whole

CHECK_EVERY = 32


@dataclass
class State:
    """Where training stands. `batch` counts batches of this epoch, `step` counts updates since the start.

    The seconds are of this epoch: in all, and waiting for images.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stopped: str = ""
    epoch_seconds: float = 0.0
    waiting_seconds: float = 0.0


@dataclass
class Engine:
    """Trains one network on one task.

    Attributes:
        settings: no `auto` left in it.
        present: how a batch becomes the network's input and what its output is compared with.
        train, valid: batches of uint8 images; without `valid` the last epoch counts as the best.
        transfer: which layers are trained when; without it, all that require a gradient.
        save_model: how `ModelCheckpoint` writes a file; given by the owner of the model.
        name_of: turns a sample number into a name for messages.
    """

    network: nn.Module
    task: Task
    settings: TrainConfig
    hardware: Hardware
    present: Present
    train: Batches
    valid: Batches | None = None
    transfer: Transfer | None = None
    seed: int = 0
    callbacks: Sequence[Callback] = ()
    history: History = field(default_factory=History)
    events: Events = field(default_factory=Events)
    checkpoints: Checkpoints | None = None
    save_model: Callable[[Path], object] = lambda path: None
    name_of: Callable[[int], str] = str

    def __post_init__(self) -> None:
        self.state = State()
        if waits_for_input(self.network):
            self._show_input()
        self.network.to(self.hardware.device, memory_format=self.hardware.memory_format)  # type: ignore[call-overload]
        self.program = self.hardware.program(self.network)
        self.rate = float(self.settings.rate)
        self.layers = self.transfer or whole(self.network)
        self.optimiser = build_optimiser(self.layers.optimiser_groups(self.network), self.settings, self.rate)
        self.penalties, self.constraints = penalties(self.network), constraints(self.network)
        ema = float(self.settings.ema)
        self.average = AveragedWeights(self.network, ema, self.constraints) if ema else None
        self.best_weights: dict[str, Tensor] | None = None
        self.meter = self.task.meter()
        self.epochs = int(self.settings.epochs)
        self.steps_per_epoch = math.ceil(len(self.train) / self.settings.accumulate)
        self.total_steps = self.epochs * self.steps_per_epoch
        self.monitor = self.settings.monitor if self.valid else "train_loss"
        self.callbacks = require_callbacks(self.callbacks)
        if self.settings.patience:
            stopper = EarlyStopping(self.settings.patience, self.monitor, self.settings.min_delta)
            self.callbacks = [*self.callbacks, stopper]
        self._losses: list[Tensor] = []
        self._last_loss = math.nan
        self._norms: list[Tensor] = []
        self._interrupt = Interrupt()
        self.set_layers()

    def fit(self) -> History:
        """Train until the declared epochs are done or something stops it; ends with the best weights in the network.

        Raises:
            TrainingError: the loss is not finite, or memory ran out.
            Interrupted: Ctrl-C or SIGTERM; the state has been saved.
            ConfigError: `train.monitor` or a callback needs a figure that the history will not have.
        """
        require_columns(self.task, self.monitor, self.callbacks, validated=bool(self.valid))
        with self._interrupt, keep_depthwise_float32(self.network, self.hardware), self.layers.holding(self.network):
            self._tell("on_train_begin")
            try:
                while self.state.epoch < self.epochs and not self.state.stopped:
                    self._epoch()
            except Interrupted as interruption:
                self._checkpoint()
                self.events.add("interrupt", str(interruption))
                raise
            except torch.OutOfMemoryError as error:
                raise TrainingError(self._memory_message(str(error))) from None
            except RuntimeError as error:
                if "alloc" not in str(error):
                    raise
                raise TrainingError(self._memory_message(str(error))) from None
            self._tell("on_train_end")
            self._checkpoint()
        if self.best_weights is not None:
            self.network.load_state_dict(self.best_weights)
        elif self.average:
            self.average.apply()
        return self.history

    def set_layers(self) -> None:
        """Train the layers whose turn it is in this epoch; the others keep still, in evaluation mode."""
        self.layers.begin(self.network, self.state.epoch)
        self.weights = decayed_parameters(self.network)
        if self.state.batch == 0 and (joining := self.layers.joining(self.state.epoch)):
            self.events.add("layers", f"From epoch {self.state.epoch + 1} on {', '.join(joining)} is trained too.")

    def stop(self, reason: str) -> None:
        """End training after this epoch."""
        self.state.stopped = reason
        self.events.add("stop", f"Training stopped after epoch {self.state.epoch + 1}: {reason}.")

    @property
    def present_rate(self) -> float:
        """The learning rate of the last step."""
        return self.rate_at(max(self.state.step - 1, 0))

    @property
    def recent_loss(self) -> float:
        """The loss of the last batch that was looked at; waits for the device."""
        return float(self._losses[-1]) if self._losses else self._last_loss

    @property
    def speed(self) -> float:
        """Images a second in this epoch."""
        return self.state.batch * self.train.batch_size / max(self.state.epoch_seconds, 1e-9)

    # one epoch --------------------------------------------------------------------------------------------------

    def _epoch(self) -> None:
        started = time.perf_counter()
        already = self.state.epoch_seconds
        self._tell("on_epoch_begin")
        self.set_layers()
        asked = time.perf_counter()
        for batch in self.train.epoch(self.state.epoch, start=self.state.batch):
            self.state.waiting_seconds += time.perf_counter() - asked
            self._tell("on_batch_begin")
            self.learn(batch)
            self._tell("on_batch_end")
            self.state.epoch_seconds = already + time.perf_counter() - started
            if self._at_step_end():
                self._save_if_asked_or_due()
            asked = time.perf_counter()
        self._check_losses()
        row = self._finish_epoch()
        self.state.epoch, self.state.batch = self.state.epoch + 1, 0
        self.state.epoch_seconds = self.state.waiting_seconds = 0.0
        self.meter, self._norms = self.task.meter(), []
        self.history.append(row)
        self._save_if_asked_or_due()

    def learn(self, batch: Batch) -> Tensor:
        """Forward, backward and, when enough batches have come together, an update; returns the loss."""
        first = self.state.batch % self.settings.accumulate == 0
        seed_step(self.seed, self.state.epoch, self.state.batch, self.hardware.device)
        images = batch.images.to(self.hardware.device, non_blocking=True)
        targets = batch.targets.to(self.hardware.device, non_blocking=True)
        x, targets = self.present.changed(images, targets, batch.samples, self.state.epoch)
        x = x.contiguous(memory_format=self.hardware.memory_format)
        if first:
            self.optimiser.zero_grad(set_to_none=True)
        with self.hardware.autocast():
            outputs = self.program(x)
            loss = self.task.loss(outputs.float(), targets)
        for cost in self.penalties:
            loss = loss + cost()
        if self.settings.accumulate > 1:
            loss = loss * (len(batch.samples) / self._group_samples())
        if first and (self.settings.l1 or self.settings.l2):
            loss = loss + penalty(self.weights, self.settings.l1, self.settings.l2)
        loss.backward()
        self.meter.update(outputs, targets)
        self._losses.append(loss.detach())
        self.state.batch += 1
        if self._at_step_end():
            self._update()
        if len(self._losses) >= CHECK_EVERY:
            self._check_losses()
        return loss.detach()

    def rate_at(self, step: int) -> float:
        """The learning rate of an update."""
        settings, warmup = self.settings, float(self.settings.warmup)
        return self.rate * rate_factor(settings, step, self.total_steps, self.steps_per_epoch, warmup)

    def _update(self) -> None:
        settings = self.settings
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip_norm)
        if settings.gradient_norms:
            self._norms.append(torch.stack(torch._foreach_norm([gradient for _, gradient in self._gradients()])))
        rate = self.rate_at(self.state.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
            decay_weights(group["params"], group["lr"], float(settings.weight_decay))
        self.optimiser.step()
        for project in self.constraints:
            project()
        if self.average:
            self.average.update()
        self.state.step += 1

    def _finish_epoch(self) -> dict[str, Any]:
        figures = {f"train_{name}": value for name, value in self.meter.compute().items()}
        row: dict[str, Any] = {"epoch": self.state.epoch + 1, **figures}
        started = time.perf_counter()
        with self.average.applied() if self.average else nullcontext():
            if self.valid:
                meter = self.task.meter()
                stopped = self._raise_if_asked
                for outputs, targets in run_network(self.network, self.valid, self.present, self.hardware, stopped):
                    meter.update(outputs, targets)
                row |= {f"val_{name}": value for name, value in meter.compute().items()}
            row["rate"] = self.present_rate
            row["seconds"] = round(self.state.epoch_seconds, 3)
            row["waiting_s"] = round(self.state.waiting_seconds, 3)
            row["validation_s"] = round(time.perf_counter() - started, 3)
            row["images_per_s"] = round(self.train.samples / max(self.state.epoch_seconds, 1e-9), 1)
            self._remember_best(row)  # while the averaged weights are in the network
        if self._norms:
            means = torch.stack(self._norms).mean(0).tolist()
            row["gradient_norms"] = dict(zip([name for name, _ in self._gradients()], means, strict=True))
        for callback in self.callbacks:
            callback.on_epoch_end(self, row)
        return row

    def _remember_best(self, row: dict[str, Any]) -> None:
        value = direction(self.monitor) * read_column(row, self.monitor, "train.monitor")
        if not self.valid or not self.settings.restore_best:
            self.state.best_epoch = row["epoch"]
        elif self.state.best is None or value < self.state.best:
            self.state.best, self.state.best_epoch = value, row["epoch"]
            self.best_weights = {name: t.detach().clone() for name, t in self.network.state_dict().items()}

    # safety -----------------------------------------------------------------------------------------------------

    def _check_losses(self) -> None:
        """The NaN guard: looks at the losses since the last look, so that the device is seldom waited for."""
        if not self._losses:
            return
        finite = torch.stack(self._losses).isfinite()
        if not bool(finite.all()):
            batch = self.state.batch - len(self._losses) + int((~finite).nonzero()[0])
            samples = self.train.order(self.state.epoch)[self.train.slice(batch)]
            names = ", ".join(self.name_of(int(sample)) for sample in samples[:3])
            raise TrainingError(
                f"The loss is not finite at epoch {self.state.epoch + 1}, batch {batch + 1} "
                f"(learning rate {self.present_rate:.3g}; images {names}, ...). "
                f"The last checkpoint is whole. Lower train.rate, or set train.clip_norm=1."
            )
        self._last_loss = float(self._losses[-1])
        self._losses = []

    def _save_if_asked_or_due(self) -> None:
        self._raise_if_asked()
        if self.checkpoints and self.checkpoints.due:
            self._checkpoint()

    def _raise_if_asked(self) -> None:
        if self._interrupt.number is not None:
            where = f"epoch {self.state.epoch + 1}, step {self.state.step}"
            raise Interrupted(f"Stopped by signal {self._interrupt.number} at {where}.", self._interrupt.number)

    def _checkpoint(self) -> None:
        self._check_losses()
        if self.checkpoints:
            self.checkpoints.save(self.state.step, self.snapshot())

    def _memory_message(self, error: str) -> str:
        return (
            f"Memory ran out at epoch {self.state.epoch + 1}, batch {self.state.batch + 1} with batches of "
            f"{self.train.batch_size} images: {error.splitlines()[0]}. Lower train.batch_size, or raise "
            f"train.accumulate to keep the same update. The last checkpoint is whole."
        )

    # state ------------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Everything needed to go on, as tensors and plain values."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        card: dict[str, Any] = {
            "state": asdict(self.state),
            "meter": self.meter.state(),
            "history": len(self.history),
            "callbacks": [callback.state() for callback in self.callbacks],
            "optimiser": {},
            "norms": len(self._norms),
        }
        for name, tensor in (self.best_weights or {}).items():
            tensors[f"best.{name}"] = tensor
        for index, values in self.optimiser.state_dict()["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{index}.{key}"] = value
                elif value is not None:
                    card["optimiser"][f"{index}.{key}"] = value
        if self.average:
            card["average_updates"] = self.average.updates
            tensors |= {f"average.{i}": tensor for i, tensor in enumerate(self.average.shadow)}
        tensors |= {f"norms.{i}": tensor for i, tensor in enumerate(self._norms)}
        return tensors, card

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot, exactly."""
        tensors, card = snapshot
        self.state = State(**card["state"])
        self.meter.restore(card["meter"])
        self.history.cut(card["history"])
        for callback, state in zip(self.callbacks, card["callbacks"], strict=True):
            callback.restore(state)
        self.network.load_state_dict(_under("network.", tensors))
        best = _under("best.", tensors)
        self.best_weights = {name: t.to(self.hardware.device) for name, t in best.items()} or None
        values: dict[int, dict[str, Any]] = {}
        for name, value in [*_under("optimiser.", tensors).items(), *card["optimiser"].items()]:
            index, _, key = name.partition(".")
            values.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": values})
        if self.average:
            self.average.updates = card["average_updates"]
            shadow = _under("average.", tensors)
            torch._foreach_copy_(self.average.shadow, [shadow[str(i)] for i in range(len(shadow))])
        self._norms = [tensors[f"norms.{i}"].to(self.hardware.device) for i in range(card["norms"])]

    # small helpers ----------------------------------------------------------------------------------------------

    def _show_input(self) -> None:
        """Layers that wait for their first input see one, and draw their first weights from the seed alone."""
        with torch.random.fork_rng(devices=[]):
            seed_step(self.seed, 0, 0, "cpu")
            first = next(self.train.epoch(0))
            build(self.network, self.present.still(first.images[:1], first.targets[:1], first.samples[:1])[0])

    def _at_step_end(self) -> bool:
        return self.state.batch % self.settings.accumulate == 0 or self.state.batch == len(self.train)

    def _group_samples(self) -> int:
        first = self.state.batch - self.state.batch % self.settings.accumulate
        last = min(first + self.settings.accumulate, len(self.train)) - 1
        return self.train.slice(last).stop - self.train.slice(first).start

    def _gradients(self) -> list[tuple[str, Tensor]]:
        return [(name, p.grad) for name, p in self.network.named_parameters() if p.grad is not None]

    def _tell(self, stage: str) -> None:
        for callback in self.callbacks:
            getattr(callback, stage)(self)


def run_network(
    network: nn.Module,
    batches: Batches,
    present: Present,
    hardware: Hardware,
    look: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (outputs, targets) of every batch: no augmentation, eval mode, float32, so that it equals a prediction.

    Args:
        look: called before each batch; may raise to stop.
    """
    with in_evaluation(network), torch.inference_mode():
        for batch in batches.epoch(0):
            look()
            images, targets = batch.images.to(hardware.device), batch.targets.to(hardware.device)
            x, targets = present.still(images, targets, batch.samples)
            yield network(x.contiguous(memory_format=hardware.memory_format)).float(), targets


def seed_step(seed: int, epoch: int, batch: int, device: str) -> None:
    """Make dropout and its like a function of (seed, epoch, batch).

    Only the generator of the device in use is seeded: `torch.manual_seed` would also reach for every accelerator.
    """
    value = int(np.random.SeedSequence([seed, epoch, batch]).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(value)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(value)
    elif device == "mps":
        torch.mps.manual_seed(value)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
