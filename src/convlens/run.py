"""The run directory: everything one training left behind, and the object to look at it with.

run.json            what was asked, versions; before training completed by what was decided, and the data fingerprint
data.json           every image: id, label, part, content hash
health.json         what was noticed about the data
network.json        the layers, with their shapes and parameters
history.jsonl       one line an epoch              events.jsonl   one line for every decision, warning, checkpoint
checkpoints/        the last two                   contact_sheet.png   augmented training images
model.safetensors   the result                     evaluation.json     validation and test
report.html         all of it as one page          test_opened.json    how often the test set was looked at
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convlens.config import Config
from convlens.errors import RunError, TrainingError
from convlens.files import write_json
from convlens.training.history import Events, History
from convlens.training.interrupt import Interrupt, Interrupted

if TYPE_CHECKING:
    from convlens.model import Model

BEFORE_TRAINING = ("run.json", "data.json", "health.json", "network.json", "contact_sheet.png", "events.jsonl")
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Run:
    """One run, finished or not.

    Attributes:
        directory: where all of it lies.
        history, events: what happened so far.
    """

    directory: Path
    history: History = field(repr=False, default_factory=History)
    events: Events = field(repr=False, default_factory=Events)

    @classmethod
    def create(cls, config: Config) -> Run:
        """Make a new, empty run directory, named by date, source and a number unless `run.name` says otherwise.

        Raises:
            RunError: it exists already or cannot be made.
        """
        parent = Path(config.run.directory)
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if config.run.name:
                directory = parent / config.run.name
                directory.mkdir()
            else:
                directory = _next_name(parent, Path(config.data.source).name)
        except FileExistsError:
            if not parent.is_dir():
                raise RunError(f"run.directory expects a folder; {parent} is a file. Choose another.") from None
            raise RunError(
                f"{parent / str(config.run.name)} exists already. Choose another run.name, or continue it with "
                f"'convlens resume {parent / str(config.run.name)}'."
            ) from None
        except OSError as error:
            raise RunError(
                f"The run directory in {parent} cannot be made: {error.strerror}. Set run.directory."
            ) from None
        return cls.open(directory)

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """Look at a run directory that exists."""
        directory = Path(directory)
        try:
            if not directory.is_dir():
                raise RunError(f"There is no run directory {directory}.")
            return cls(directory, History(directory / "history.jsonl"), Events(directory / "events.jsonl"))
        except OSError as error:
            raise RunError(f"The run directory {directory} cannot be read: {error.strerror}.") from None

    @property
    def model_path(self) -> Path:
        """Where the model file is, or will be."""
        return self.directory / "model.safetensors"

    @property
    def report_path(self) -> Path:
        """Where the report is, or will be."""
        return self.directory / "report.html"

    @cached_property
    def model(self) -> Model:
        """The trained model, read from its file."""
        from convlens.model import Model

        if not self.model_path.exists():
            raise RunError(f"{self.directory} has no model yet. Continue it with 'convlens resume {self.directory}'.")
        return Model.load(self.model_path)

    @property
    def evaluation(self) -> dict[str, Any]:
        """The scores on validation and test."""
        return self.read("evaluation")

    def evaluate(self, data: Any, **options: Any) -> dict[str, Any]:
        """Score the model on other labelled images; see `Model.evaluate`."""
        return self.model.evaluate(data, **options)

    def read(self, name: str) -> Any:
        """One of the JSON files, by its name without the suffix.

        Raises:
            RunError: it is missing or not JSON.
        """
        path = self.directory / f"{name}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.directory} has no {name}.json: it is not a run, or it ended before that.") from None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from None
        except ValueError:
            raise RunError(f"{path} is not JSON. Restore the file, or start a new run.") from None

    def write(self, name: str, value: Any) -> None:
        """Write one of the JSON files, atomically."""
        write_json(self.directory / f"{name}.json", value)

    def require_same_data(self, records: Sequence[dict[str, Any]]) -> None:
        """Check that the data is that with which the run began.

        Args:
            records: the table as it is now: `id`, `label`, `part` and `content` of every image.

        Raises:
            RunError: it has changed; names the first differences.
        """
        before = {row["id"]: row for row in self.read("data")["records"]}
        now = {row["id"]: row for row in records}
        if before == now:
            return
        kept = sorted(before.keys() & now.keys())
        changes = [f"{name} is gone" for name in sorted(before.keys() - now.keys())]
        changes += [f"{name} is new" for name in sorted(now.keys() - before.keys())]
        for key in ("content", "label"):
            changes += [f"{name} has another {key}" for name in kept if before[name][key] != now[name][key]]
        if not changes:  # one file more or less moves others to another part; alone it means another group or split
            moved = [name for name in kept if before[name] != now[name]]
            changes = [f"{name} moved from {before[name]['part']} to {now[name]['part']}" for name in moved]
        count = "1 change" if len(changes) == 1 else f"{len(changes):,} changes"
        raise RunError(
            f"The data has changed since {self.directory} began, {count}: {'; '.join(changes[:5])}"
            f"{'; ...' if len(changes) > 5 else ''}. Restore the data, or start a new run."
        )

    @contextlib.contextmanager
    def resumable(self) -> Iterator[None]:
        """Say how to go on when the work is broken off by a signal or a full disk.

        Raises:
            Interrupted: Ctrl-C or SIGTERM.
            TrainingError: the disk is full.
        """
        go_on = f"Continue with: convlens resume {shlex.quote(str(self.directory))}"
        try:
            with Interrupt(at_once=True):
                yield
        except Interrupted as interruption:
            way = go_on if self._asked else "Nothing had begun."
            raise Interrupted(f"{interruption} {way}", interruption.number) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            if not self._asked:
                raise TrainingError(
                    "The disk is full, so the run could not begin. Make room, and start again."
                ) from None
            raise TrainingError(
                f"The disk is full; what {self.directory} holds already is whole. Make room. {go_on}"
            ) from None

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """Leave no directory behind where the run cannot begin; after a signal or on a full disk, only what can go on.

        It can go on as soon as `run.json` says what was asked.
        """
        try:
            yield
        except BaseException as error:
            broken_off = not isinstance(error, Exception) or (isinstance(error, OSError) and error.errno in FULL)
            if not (broken_off and self._asked):
                self.discard()
            raise

    @property
    def _asked(self) -> bool:
        return (self.directory / "run.json").exists()

    def discard(self) -> None:
        """Remove a directory in which nothing has been trained yet; whatever else lies in it stays."""
        for name in (*BEFORE_TRAINING, "lock"):
            (self.directory / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.directory.rmdir()

    def count_test_opening(self) -> int:
        """Note that the test set is about to be looked at; returns how often that has happened."""
        path = self.directory / "test_opened.json"
        times = (self.read("test_opened")["times"] if path.exists() else 0) + 1
        self.write("test_opened", {"times": times})
        return times


def _next_name(parent: Path, source: str) -> Path:
    plain = re.sub(r"[^\w.-]+", "-", source).strip("-.") or "data"
    stem = f"{datetime.date.today().isoformat()}-{plain}"
    number = 1
    while True:
        directory = parent / f"{stem}-{number}"
        try:
            directory.mkdir()
            return directory
        except FileExistsError:
            number += 1
