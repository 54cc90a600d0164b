"""What `predict` is asked about: images, folders of them and videos, as one stream that holds few of them at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from convlens.cli.progress import pulse
from convlens.config import Config
from convlens.data.sources import open_source
from convlens.data.video import VideoFrame, is_camera, is_video, opencv, video_frames
from convlens.errors import ConfigError, DataError
from convlens.model import Model
from convlens.training.interrupt import Interrupt, Interrupted

T = TypeVar("T")


@dataclass
class Asked:
    """The images and videos of one command line, in their order.

    Attributes:
        named: what each is called, and the image, or None for a video.
        every, most: which frames of the videos.
        count: how many images and frames were read so far.
        broken: what ended videos too early.
    """

    named: list[tuple[str, Any]]
    every: int = 1
    most: int | None = None
    count: int = 0
    broken: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, words: Iterable[Path], every: int | None = None, most: int | None = None) -> Asked:
        """Look for what was named; at the first frame of each video file.

        Raises:
            ConfigError: OpenCV is not there, or frames are chosen where there is no video.
            DataError: a folder holds no images, or a video cannot be read.
        """
        named = list[tuple[str, Any]]()
        for word in words:
            if word.is_dir():
                source = open_source(word, Config().data, labelled=False)
                named += [(str(word / record.id), source.image(record)) for record in source.records]
            else:
                named.append((str(word), None if is_video(str(word)) else word))
        asked = cls(named, every or 1, most)
        if not asked.videos and (every or most):
            raise ConfigError(f"{'--every' if every else '--frames'} is for videos, and there is none. Leave it out.")
        for video in asked.videos:
            if is_camera(video):  # which may take seconds to open
                opencv(video)
            else:
                next(video_frames(video))
        return asked

    @property
    def videos(self) -> list[str]:
        """The names of the videos and cameras."""
        return [name for name, image in self.named if image is None]

    @property
    def files(self) -> list[Any]:
        """The images in memory, and the paths of all others and of videos."""
        return [Path(name) if image is None else image for name, image in self.named if not is_camera(name)]

    def answered(
        self, model: Model, interrupt: Interrupt, *, top: int, tiles: bool | int, quiet: bool
    ) -> Iterator[tuple[Any, Any]]:
        """Each answer with the image or frame that it is about. A signal ends the stream as if nothing followed.

        Args:
            quiet: do not say how far it is.
        """
        names, images, shown = _copies(self._stream(interrupt), 3)
        answers = model.predict_each((i for _, i in images), names=(n for n, _ in names), top=top, tiles=tiles)
        pairs = zip(answers, (image for _, image in shown), strict=True)
        return pulse(pairs, lambda: self.count, quiet=quiet) if self.videos else pairs

    def _stream(self, interrupt: Interrupt) -> Iterator[tuple[str, Any]]:
        for name, image in self.named:
            frames = [image] if image is not None else video_frames(name, every=self.every, most=self.most)
            try:
                for frame in frames:
                    if interrupt.number is not None:
                        return
                    self.count += 1
                    yield (frame.name if isinstance(frame, VideoFrame) else name), frame
            except DataError as error:
                if self.count == 0:  # a camera that is not there
                    raise
                self.broken.append(str(error))

    def require_all(self, failed: int, interrupt: Interrupt) -> None:
        """Say, after the answers, what has none.

        Args:
            failed: how many images could not be read.

        Raises:
            Interrupted, DataError: it says why.
        """
        said = [f"{failed} of {self.count} images could not be read; their rows say why."] if failed else []
        said += self.broken
        if interrupt.number is not None:
            raise Interrupted(" ".join([f"Stopped after {self.count:,} images.", *said]), interrupt.number)
        if said:
            raise DataError(" ".join(said))


def _copies(items: Iterator[T], n: int) -> list[Iterator[T]]:
    """The same items several times; `itertools.tee` would keep up to 57 frames that everybody has seen."""
    queues = [deque[T]() for _ in range(n)]

    def one(queue: deque[T]) -> Iterator[T]:
        while True:
            if not queue:
                try:
                    item = next(items)
                except StopIteration:
                    return
                for each in queues:
                    each.append(item)
                del item
            yield queue.popleft()

    return [one(queue) for queue in queues]
