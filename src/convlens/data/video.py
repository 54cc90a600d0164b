"""The frames of videos and cameras as images, one after the other, and videos made of pictures.

The only file that knows OpenCV. No frame is kept, so a video may be of any length. A name is opened only as a file that
is there or as a camera, never as an address: nothing is fetched.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convlens.errors import ConfigError, ConvlensError, DataError
from convlens.files import ASIDE

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
CAMERA = re.compile(r"camera:(\d{1,3})")
CODEC = "mp4v"  # MPEG-4 part 2: the one of MP4 that needs no licence and is in every build of FFmpeg
FASTEST = 1000.0  # frames a second; what claims more knows its rate not
USUAL_RATE = 25.0  # of a drawn video, where that of its source is unknown
SLACK = 2  # frames that a stated number may be off by, as some cameras end a file
FRAMES = 16  # of a file that are answered together, so that rows come soon and Ctrl-C is soon heard
HELD_BYTES = 2**27  # of images that are held at once


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One frame of a video: an image like any other, wherever one is asked for.

    Attributes:
        video: the file or camera, as the user called it.
        number: of the frame, from 0, those passed over included.
        time_s: since the first frame; None where the video does not tell.
        pixels: upright, RGB, (H, W, 3) uint8.
        rate: how many of the frames that are given make a second; None where the video does not tell.
        live: from a camera, so somebody waits for the answer.
    """

    video: str
    number: int
    time_s: float | None
    pixels: np.ndarray
    rate: float | None = None
    live: bool = False

    @property
    def name(self) -> str:
        """`street.mp4#123`."""
        return f"{self.video}#{self.number}"

    @property
    def file_name(self) -> str:
        """A name for a picture of it: `street-000123.png`."""
        return f"{stem_of_video(self.video)}-{self.number:06}.png"


def is_video(name: str) -> bool:
    """Whether a name is that of a video or a camera.

    Example:
        >>> [is_video(name) for name in ("a/street.MP4", "camera:0", "street.png", "camera:front")]
        [True, True, False, False]
    """
    return is_camera(name) or name.lower().endswith(SUFFIXES)


def is_camera(name: str) -> bool:
    """Whether it is a camera by its number, such as `camera:0`."""
    return CAMERA.fullmatch(name) is not None


def stem_of_video(video: str) -> str:
    """What files made from a video are called.

    Example:
        >>> stem_of_video("a/street.mp4"), stem_of_video("camera:0")
        ('street', 'camera-0')
    """
    return video.replace(":", "-") if is_camera(video) else Path(video).stem


def video_frames(video: str | Path, *, every: int = 1, most: int | None = None) -> Generator[VideoFrame, None, None]:
    """The frames of a video file or a camera, each read when it is asked for.

    Args:
        video: a file, or `camera:0` for the first camera, which gives frames until it is told to stop.
        every: of how many frames one is given, the first and then each `every`-th.
        most: how many are given at most.

    Raises:
        ConfigError: OpenCV is not there, or a number is below 1.
        DataError: there is no such file or camera, it has no frames, or, after all frames that could be read, it ended
            earlier than it promised.
    """
    video = str(video)
    if every < 1 or (most is not None and most < 1):
        raise ConfigError(f"Frames are counted from 1; got every={every} and most={most}.")
    live, given, number, start_s = is_camera(video), 0, 0, 0.0
    with _opened(video) as (cv2, capture):
        rate = _known_rate(capture.get(cv2.CAP_PROP_FPS))
        while capture.grab():
            if number == 0:
                start_s = time.monotonic()
            if number % every == 0:
                time_s = time.monotonic() - start_s if live else _time_of(cv2, capture, number, rate)
                read, pixels = capture.retrieve()
                if not read:
                    break
                rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
                yield VideoFrame(video, number, time_s, rgb, rate and rate / every, live)
                given += 1
                if given == most:
                    return
            number += 1
        promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    _require_whole(video, number, promised if math.isfinite(promised) else 0.0, rate)


def _require_whole(video: str, read: int, promised: float, rate: float | None) -> None:
    """Say it where a video ended before its end.

    Raises:
        DataError: it did.
    """
    if is_camera(video):
        raise DataError(f"{video} gave {read:,} frames and then no more. Is it still plugged in?")
    if read == 0:
        raise DataError(f"{video} has no frame that can be read: it is cut off or damaged. Copy it again.")
    slack = SLACK if _counts_its_frames(video) else max(SLACK, rate or USUAL_RATE)
    if read < promised - slack:
        raise DataError(
            f"{video} ended after {read:,} frames, of {promised:,.0f} that it promises: it seems cut off or damaged. "
            "What could be read was used."
        )


def _counts_its_frames(video: str) -> bool:
    """Whether the file states their number; elsewhere it is reckoned from its length, of which sound is a part."""
    with open(video, "rb") as file:
        head = file.read(12)
    return head[4:8] == b"ftyp" or head[:4] + head[8:] == b"RIFFAVI "


def _known_rate(stated: float) -> float | None:
    return stated if math.isfinite(stated) and 0 < stated <= FASTEST else None


def _time_of(cv2: ModuleType, capture: Any, number: int, rate: float | None) -> float | None:
    """When the frame that was grabbed last is shown, by its own stamp, as frames need not follow evenly."""
    if rate is None:
        return None
    stamp = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return stamp if number == 0 or stamp > 0 else number / rate


@contextmanager
def _opened(video: str) -> Iterator[tuple[ModuleType, Any]]:
    """OpenCV, and a video that is open."""
    cv2, camera = opencv(video), CAMERA.fullmatch(video)
    if camera is None and not os.path.isfile(video):
        raise DataError(f"{video}: there is no such file.")
    with _silent(cv2):  # our own error says it
        if camera:
            capture = cv2.VideoCapture(int(camera[1]))
        else:
            capture = cv2.VideoCapture(os.path.abspath(video), cv2.CAP_FFMPEG)  # so a name is never a pattern
    try:
        if not capture.isOpened():
            hint = "Is it plugged in and free?" if camera else "It is damaged, cut off, or of a kind that is not known."
            raise DataError(f"{video} cannot be opened as a {'camera' if camera else 'video'}. {hint}")
        if camera:
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that waited
        yield cv2, capture
    finally:
        capture.release()


def opencv(video: str) -> ModuleType:
    """The library.

    Args:
        video: what it is needed for.

    Raises:
        ConfigError: it is not there.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet; what is wrong is said by our own errors
    try:
        import cv2
    except ImportError:
        raise ConfigError(f"{video} needs OpenCV: pip install 'convlens[video]'.") from None
    return cv2


@contextmanager
def _silent(cv2: ModuleType) -> Iterator[None]:
    log = log_of(cv2)
    before = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(before)


def log_of(cv2: ModuleType) -> Any:
    """Where the level of the log is set: in OpenCV 5, or in 4."""
    return cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2


class VideoWriter:
    """A new MP4 file, without sound, written frame by frame.

    It takes its place when it is closed, and plays however far it came. MP4 wants even sides: of an odd one the last
    row or column is left out.

    Args:
        path: of the file; ends in .mp4.
        size_px: height and width of the pictures.
        rate: pictures a second.

    Raises:
        ConfigError: OpenCV is not there, or cannot write such a file.
    """

    def __init__(self, path: Path, size_px: tuple[int, int], rate: float) -> None:
        self.path, self.written = path, 0
        self._cv2 = cv2 = opencv(path.name)
        self._size = (size_px[1] // 2 * 2, size_px[0] // 2 * 2)
        self._aside = path.with_name(f"{path.stem}.{os.getpid()}{ASIDE}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*CODEC)
        with _silent(cv2):
            self._writer = cv2.VideoWriter(str(self._aside.absolute()), cv2.CAP_FFMPEG, code, rate, self._size)
        if not self._writer.isOpened():
            self._aside.unlink(missing_ok=True)
            raise ConfigError(
                f"{path} cannot be written: either its folder cannot, or this OpenCV writes no MP4. "
                "The one of pip install 'convlens[video]' does."
            )

    def write(self, pixels: np.ndarray) -> None:
        """Append a picture; one of another size is scaled.

        Shapes:
            pixels (H, W, 3) uint8, RGB
        """
        width, height = self._size
        if (pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2) == (height, width):
            fitting = pixels[:height, :width]
        else:
            fitting = self._cv2.resize(pixels, self._size, interpolation=self._cv2.INTER_AREA)
        self._writer.write(self._cv2.cvtColor(fitting, self._cv2.COLOR_RGB2BGR))
        self.written += 1

    def close(self) -> None:
        """End the file, so that it plays.

        Raises:
            DataError: it holds fewer pictures than were written, as on a full disk, of which OpenCV says nothing.
        """
        cv2 = self._cv2
        self._writer.release()
        with _silent(cv2):
            written = cv2.VideoCapture(str(self._aside.absolute()), cv2.CAP_FFMPEG)
        kept = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
        written.release()
        os.replace(self._aside, self.path)
        if kept != self.written:
            raise DataError(f"{self.path} holds {kept:,} of {self.written:,} frames. Is the disk full?")

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def together(images: Iterable[tuple[str, Any]], most: int) -> Iterator[list[tuple[str, Any]]]:
    """Lists of at most `most` named images: fewer of large ones and of frames, and at once what somebody waits for.

    What ends the stream too early is raised after the images before it.
    """
    held, size = list[tuple[str, Any]](), 0
    try:
        for name, image in images:
            held.append((name, image))
            enough, pixels = most, image
            if isinstance(image, VideoFrame):
                enough, pixels = 1 if image.live else min(most, FRAMES), image.pixels
            size += pixels.nbytes if isinstance(pixels, np.ndarray) else 0
            if len(held) >= enough or size >= HELD_BYTES:
                yield held
                held, size = [], 0
    except ConvlensError:
        if held:
            yield held
        raise
    if held:
        yield held
