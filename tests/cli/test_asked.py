"""Videos through `predict`: a row for each frame, a video of the boxes, and an end that keeps what was answered."""

from __future__ import annotations

import csv
import gc
import io
import json
import signal
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import small
from convlens.cli import progress
from convlens.cli.answers import Place, show_pictures
from convlens.cli.asked import Asked
from convlens.cli.found import Reel
from convlens.cli.main import app
from convlens.cli.show import show_estimates
from convlens.data.image import decode
from convlens.data.pixels import encode_png
from convlens.data.policy import ImagePolicy
from convlens.data.video import VideoFrame, together, video_frames
from convlens.errors import BadImage, ConfigError, DataError
from convlens.model import Model
from convlens.report.overlay import class_colour
from convlens.tasks.detect import Detection, FoundObject
from convlens.tasks.pictures import Inspection, Picture
from convlens.tasks.regress import Estimate, Number
from convlens.tasks.segment import Segmentation
from convlens.training.interrupt import Interrupt
from films import RATE, SIZE, StandIn, cut, film, square, stand_in, street

POLICY = ImagePolicy()
AT_ONCE = 4


class Finder:
    """Stands in for a model: finds the bright square of an image."""

    task = "detect"
    preprocess = SimpleNamespace(policy=POLICY)
    asks = SimpleNamespace(names=("square",))

    def predict_each(self, images: Any, *, names: Any, top: int, tiles: bool) -> Iterator[Detection]:
        for chunk in together(zip(names, images, strict=True), AT_ONCE):
            yield from [self.find(name, image) for name, image in chunk]

    def find(self, name: str, image: Any) -> Detection:
        try:
            pixels = decode(image, POLICY, name).pixels
        except BadImage as error:
            return Detection(name, error=error.reason)
        rows, columns = (np.flatnonzero((pixels[..., 0] > 140).any(axis)) for axis in (1, 0))
        edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        return Detection(name, (FoundObject("square", 0.9, *map(float, edges)),), pixels.shape[:2])


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> Finder:
    """The model of every file."""
    stub = Finder()
    monkeypatch.setattr(Model, "load", lambda path: stub)
    return stub


def predict(*words: str | Path, code: int = 0, model: Any = "model.safetensors") -> Result:
    result = CliRunner().invoke(app, ["predict", str(model), *(str(word) for word in words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def of_frames(video: str, n: int = 3) -> list[VideoFrame]:
    return [VideoFrame(video, i, i / RATE, square(i), RATE) for i in range(n)]


# rows -----------------------------------------------------------------------------------------------------------------


def test_every_frame_has_its_rows_with_name_and_time(finder: Finder, tmp_path: Path) -> None:
    video = street(tmp_path)
    found = rows(predict(video, "--format", "csv").stdout)
    assert list(found[0])[:4] == ["image", "time_s", "width", "height"]
    assert [row["image"] for row in found] == [f"{video}#{i}" for i in range(8)]
    assert [row["time_s"] for row in found] == [f"{i / RATE:.3f}" for i in range(8)]
    for i, row in enumerate(found):
        assert float(row["xmin"]) == pytest.approx(8 + 2 * i, abs=1), "the box moves with the square"
    listed = json.loads(predict(video, "--format", "json").stdout)
    assert [(row["name"], row["time_s"]) for row in listed] == [(f"{video}#{i}", i / RATE) for i in range(8)]
    coco = json.loads(predict(video, "--format", "coco").stdout)
    assert [image["time_s"] for image in coco["images"]] == [i / RATE for i in range(8)]
    table = predict(video, "--frames", "2").stdout.splitlines()
    assert table[0].split() == ["image", "time_s", "objects", "square"]
    assert [line.split()[1:] for line in table[1:]] == [["0.000", "1", "1"], ["0.100", "1", "1"]]


def test_images_and_videos_stand_side_by_side(finder: Finder, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    video, folder = street(tmp_path / "in", 3), tmp_path / "pictures"
    folder.mkdir()
    (folder / "street.png").write_bytes(encode_png(square(5)))
    (tmp_path / "bad.png").write_bytes(b"no image")
    out = tmp_path / "out"
    words = (folder, video, tmp_path / "bad.png", video, "--format", "csv", "--draw", out)
    done = predict(*words, code=2)
    assert "1 of 8 images could not be read; their rows say why." in done.stderr
    names = [row["image"].rpartition("/")[2] for row in rows(done.stdout)]
    film = [f"street.mp4#{i}" for i in range(3)]
    assert names == ["street.png", *film, "bad.png", *film]
    assert [bool(row["time_s"]) for row in rows(done.stdout)] == [False, *[True] * 3, False, *[True] * 3]
    assert {path.name for path in out.iterdir()} == {"street.png", "street.mp4", "street-2.mp4"}
    assert [len(list(video_frames(out / name))) for name in ("street.mp4", "street-2.mp4")] == [3, 3]
    alone = rows(predict(folder, "--format", "csv").stdout)
    assert "time_s" not in alone[0]


def test_a_model_answers_frames_as_it_answers_images(tmp_path: Path) -> None:
    model, video = small.finished().model, street(tmp_path, 70)
    frames = list(video_frames(video))
    answers = list(model.predict_each(video_frames(video)))
    assert [answer.name for answer in answers] == [frame.name for frame in frames]
    for frame, answer in list(zip(frames, answers, strict=True))[::23]:
        alone = model.predict(frame.pixels)
        assert (answer.label, answer.probability) == (alone.label, pytest.approx(alone.probability, abs=1e-5))
        assert model.predict(frame).name == frame.name
    path = small.finished().model_path
    found = rows(predict(video, "--every", "30", "--format", "csv", model=path).stdout)
    expected = [(f"{video}#{i}", f"{i / RATE:.3f}") for i in (0, 30, 60)]
    assert [(row["image"], row["time_s"]) for row in found] == expected
    assert [row["answer"] for row in found] == [answers[i].label for i in (0, 30, 60)]
    table = predict(video, "--frames", "1", model=path).stdout.splitlines()
    assert table[0].split() == ["image", "time_s", "answer", "probability", "next"]
    assert "0.000" in table[1]


def test_numbers_have_a_time_too(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [(Estimate(frame.name, (Number("age", 3.0, None, None),)), frame) for frame in of_frames("a.mp4")]
    for style in ("csv", "table", "json"):
        assert show_estimates(pairs, style, ["age"], timed=True) == 0
        out = capsys.readouterr().out
        if style == "json":
            assert [row["time_s"] for row in json.loads(out)] == [0.0, 0.1, 0.2]
        else:
            times = [line.replace(",", " ").split()[1] for line in out.splitlines()]
            assert times == ["time_s", "0.000", "0.100", "0.200"]


# pictures -------------------------------------------------------------------------------------------------------------


def test_the_boxes_are_drawn_into_a_video(finder: Finder, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    video, out = street(tmp_path / "in", 9), tmp_path / "out"
    predict(video, "--draw", out, "--every", "2")
    assert [path.name for path in out.iterdir()] == ["street.mp4"]
    drawn = list(video_frames(out / "street.mp4"))
    assert [frame.rate for frame in drawn] == [RATE / 2] * 5
    red, _, blue = class_colour(1)
    for i, frame in enumerate(drawn):
        assert frame.pixels.shape == (*SIZE, 3)
        warm = frame.pixels[..., 0].astype(int) - frame.pixels[..., 2]  # all but the box is grey
        left, right = 8 + 4 * i, 23 + 4 * i
        for edge in (warm[20:32, left], warm[20:32, right], warm[31, left:right]):
            assert edge.mean() > (red - blue) / 3, "the colour of its class, smeared by the coding"
        assert np.abs(warm[20:30, left + 4 : right - 3]).mean() < 12, "a frame, no area"
        assert np.abs(frame.pixels[34:46].astype(int) - 40).mean() < 12, "nothing is drawn elsewhere"


def test_a_camera_is_drawn_as_time_went_by(tmp_path: Path) -> None:
    reel, used = Reel(Place(tmp_path, None, POLICY), set()), (0.0, 0.1, 0.5, 0.6)
    for i, time_s in enumerate(used):
        frame = VideoFrame("camera:0", 3 * i, time_s, square(i), RATE, live=True)
        reel.write(frame, frame.pixels)
    reel.close()
    shown = [frame.pixels.astype(int) for frame in video_frames(tmp_path / "camera-0.mp4")]
    for pixels, i in zip(shown, (0, 1, 1, 1, 1, 2, 3), strict=True):
        assert np.abs(pixels - square(i)).mean() < 5


@pytest.mark.parametrize("style", ["csv", "json", "table"])
def test_pictures_are_written_for_every_frame(style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros(SIZE, np.uint8)
    frames, more = of_frames("clips/street.mp4"), of_frames("camera:0", 1)
    pairs: list[tuple[Any, Any]] = [(Segmentation(f.name, mask, (("disc", 0.25),)), f) for f in frames]
    pairs += [(Picture(more[0].name, square(1)), more[0]), (Inspection("a.png", 0.5, True, mask / 255), square(0))]
    pairs += [(Picture("b.png", error="truncated"), square(0))]
    assert show_pictures(pairs, style, Place(tmp_path, None, POLICY), timed=True) == 1
    names = [f"street-{i:06}{end}.png" for i in range(3) for end in ("", "-overlay")]
    assert {path.name for path in tmp_path.iterdir()} == {*names, "camera-0-000000.png", "a-heat.png"}
    out = capsys.readouterr().out
    if style == "csv":
        assert [row["time_s"] for row in rows(out)] == ["0.000", "0.100", "0.200", "0.000", "", ""]
        assert rows(out)[1]["written"] == str(tmp_path / "street-000001.png")
    elif style == "json":
        assert [row["time_s"] for row in json.loads(out)] == [0.0, 0.1, 0.2, 0.0, None, None]
    else:
        assert out.splitlines()[0].split()[:2] == ["image", "time_s"]
        assert "truncated" in out


# ends -----------------------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_answered(finder: Finder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(number: int) -> None:
        if number == 5:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    for style in ("csv", "json", "table"):
        capture, out = StandIn(10**6, before=press), tmp_path / style
        with monkeypatch.context() as patch:
            stand_in(patch, capture)
            done = predict("camera:0", "--draw", out, "--format", style, code=130)
        assert "convlens: Stopped after 5 images." in done.stderr
        assert done.stdout.count("camera:0#") == 5
        assert capture.released == 1
        assert [path.name for path in out.iterdir()] == ["camera-0.mp4"]
        assert len(list(video_frames(out / "camera-0.mp4"))) >= 5
    assert signal.getsignal(signal.SIGINT) is before


def test_a_camera_ends_after_so_many_frames(finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = StandIn(10**6)
    stand_in(monkeypatch, capture)
    assert len(rows(predict("camera:0", "--frames", "7", "--format", "csv").stdout)) == 7
    assert (capture.grabbed, capture.released) == (7, 1)


def test_a_video_that_is_cut_off_has_the_rows_it_can_have(finder: Finder, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "in").mkdir()
    long = cut(film(tmp_path / "in" / "a.avi", [square(i % 16) for i in range(40)], codec="MJPG"), 0.5)
    video, out = street(tmp_path / "in", 2), tmp_path / "out"
    done = predict(long, video, "--format", "csv", "--draw", out, code=2)
    found = rows(done.stdout)
    count = sum("a.avi" in row["image"] for row in found)
    assert 5 < count < 40
    assert f"a.avi ended after {count} frames, of 40 that it promises" in done.stderr
    assert [row["image"] for row in found[count:]] == [f"{video}#0", f"{video}#1"], "what follows is answered too"
    assert len(list(video_frames(out / "a.mp4"))) == count


def test_what_cannot_be_done_is_said_before_anything_is_answered(
    finder: Finder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    video, image = street(tmp_path), tmp_path / "a.png"
    image.write_bytes(encode_png(square(0)))
    (tmp_path / "no.mp4").write_text("no film")
    for words, said in (
        ((image, "--every", "2"), "--every is for videos, and there is none"),
        ((image, "--frames", "2"), "--frames is for videos, and there is none"),
        ((video, "--draw", tmp_path), "is where the images lie, and they would be written over"),
        ((image, tmp_path / "no.mp4"), "cannot be opened as a video"),
        ((image, tmp_path / "none.mp4"), "there is no such file"),
        (("camera:999",), "camera:999 cannot be opened as a camera"),
    ):
        done = predict(*words, code=2)
        assert said in done.stderr, words
        assert done.stdout == "", words
    finder.task = "anomaly"
    assert "a video has many frames" in predict(video, "--heatmap", tmp_path / "h.png", code=2).stderr
    with pytest.raises(ConfigError, match="for videos"):
        Asked.of([image], every=3)
    with pytest.raises(DataError, match="no such file"):
        Asked.of([tmp_path / "none.mp4"])
    monkeypatch.setitem(sys.modules, "cv2", None)
    for name in (video, "camera:0"):
        assert "needs OpenCV: pip install 'convlens[video]'" in predict(image, name, code=2).stderr


def test_few_frames_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = StandIn(60, promised=0)
    stand_in(monkeypatch, capture)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a film")
    asked, alive = Asked([(str(path), None)]), weakref.WeakSet[VideoFrame]()
    model: Any = Finder()
    count = -1
    with Interrupt() as interrupt:
        for count, (answer, frame) in enumerate(asked.answered(model, interrupt, top=3, tiles=False, quiet=True)):
            assert answer.name == frame.name == f"{path}#{count}"
            assert capture.grabbed <= count + AT_ONCE
            alive.add(frame)
            del frame
            gc.collect(0)
            assert len(alive) <= 2 * AT_ONCE
    assert count == 59


def test_it_is_said_how_far_a_long_video_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [(SimpleNamespace(name=f"a.mp4#{i}"), None) for i in range(3)]
    assert list(progress.pulse(pairs, lambda: 3, quiet=False)) == pairs
    assert capsys.readouterr().err == "", "not of a short one"
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.0)
    list(progress.pulse(pairs, lambda: 3, quiet=False))
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["a.mp4#0", "a.mp4#1", "a.mp4#2"]
    list(progress.pulse(pairs, lambda: 3, quiet=True))
    assert capsys.readouterr().err == ""
