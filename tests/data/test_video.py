"""Frames of videos and cameras: the right ones in the right colours, one at a time, and an honest end."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import convlens as cl
from convlens.data import video as module
from convlens.data.image import decode
from convlens.data.image_file import read_header
from convlens.data.policy import ImagePolicy
from convlens.data.video import VideoFrame, VideoWriter, is_video, together, video_frames
from convlens.errors import ConfigError, ConvlensError, DataError
from films import RATE, SIZE, StandIn, coloured, cut, film, square, stand_in, street

COLOURS = ((220, 30, 30), (30, 200, 30), (30, 30, 220))


def file(folder: Path) -> Path:
    (folder / "a.mp4").write_bytes(b"a film")
    return folder / "a.mp4"


# reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v")])
def test_frames_have_their_colours_names_and_times(name: str, codec: str, tmp_path: Path) -> None:
    path = film(tmp_path / name, [coloured(COLOURS[i % 3]) for i in range(6)], codec=codec)
    frames = list(cl.video_frames(path))
    assert [frame.name for frame in frames] == [f"{path}#{i}" for i in range(6)]
    assert [frame.number for frame in frames] == list(range(6))
    assert [frame.time_s for frame in frames] == pytest.approx([i / RATE for i in range(6)], abs=2e-3)
    for i, frame in enumerate(frames):
        assert (frame.pixels.shape, frame.pixels.dtype) == ((*SIZE, 3), np.uint8)
        assert np.abs(frame.pixels.astype(int) - COLOURS[i % 3]).max() < 25, "red, green, blue in this order"
        assert (frame.rate, frame.live) == (RATE, False)


def test_each_so_many_th_frame_and_no_more_than_asked_for(tmp_path: Path) -> None:
    path = street(tmp_path, 10)
    assert [frame.number for frame in video_frames(path, every=4)] == [0, 4, 8]
    found = list(video_frames(path, every=3, most=2))
    assert [frame.number for frame in found] == [0, 3]
    assert found[1].time_s == pytest.approx(3 / RATE)
    assert found[1].rate == pytest.approx(RATE / 3)
    assert np.abs(found[1].pixels.astype(int) - square(3)).mean() < 5
    for options in ({"every": 0}, {"most": 0}):
        with pytest.raises(ConfigError, match="counted from 1"):
            next(video_frames(path, **options))


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = StandIn(10**9)
    stand_in(monkeypatch, capture)
    frames = video_frames(file(tmp_path), every=5)
    assert capture.grabbed == 0
    for count in range(3):
        assert next(frames).number == 5 * count
        assert (capture.grabbed, capture.retrieved) == (5 * count + 1, count + 1), "what is passed over is not decoded"
    assert capture.released == 0
    frames.close()
    assert capture.released == 1
    list(video_frames(file(tmp_path), most=1))
    assert capture.released == 2


def test_times_are_the_stamps_of_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, StandIn(4, stamps=lambda i: (0.0, 50.0, 400.0, 410.0)[i]))
    assert [frame.time_s for frame in video_frames(file(tmp_path))] == [0, 0.05, 0.4, 0.41]
    stand_in(monkeypatch, StandIn(3, stamps=lambda i: 0.0))
    assert [frame.time_s for frame in video_frames(file(tmp_path))] == [0, 1 / RATE, 2 / RATE]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 90_000.0])
def test_an_unknown_rate_gives_no_times(rate: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, StandIn(2, rate=rate))
    assert [(frame.time_s, frame.rate) for frame in video_frames(file(tmp_path), every=1)] == [(None, None)] * 2


def test_a_video_that_was_filmed_upright_is_upright(tmp_path: Path) -> None:
    path = film(tmp_path / "phone.mp4", [square(0)] * 3)
    content, quarter = bytearray(path.read_bytes()), struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    at = content.index(b"tkhd") + 4 + 40  # its matrix
    content[at : at + 36] = quarter
    path.write_bytes(content)
    for frame in video_frames(path):
        assert frame.pixels.shape == (SIZE[1], SIZE[0], 3)
        assert np.abs(frame.pixels.astype(int) - np.rot90(square(0), -1)).mean() < 5


# ends -----------------------------------------------------------------------------------------------------------------


def test_a_video_that_is_cut_off_gives_what_it_has_and_says_so(tmp_path: Path, capfd: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, *SIZE, 3), dtype=np.uint8)
    path, found = cut(film(tmp_path / "a.avi", list(noise), codec="MJPG"), 0.6), []
    with pytest.raises(DataError, match=r"a\.avi ended after (\d+) frames, of 20 that it promises") as caught:
        found += (frame.number for frame in video_frames(path))
    for frame in video_frames(path, most=5):
        found.append(frame.number)
    assert found[-5:] == [0, 1, 2, 3, 4], "nothing is said of an end that was not reached"
    assert "What could be read was used" in str(caught.value)


def test_the_number_of_frames_that_were_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = {"counted": b"\0\0\0\x20ftypisom", "reckoned": b"\x1aE\xdf\xa3 matroska"}
    for name, content in head.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
    for name, read, promised, broken in (
        ("counted", 57, 250, True),
        ("counted", 97, 100, True),
        ("counted", 98, 100, False),
        ("counted", 30, 0, False),
        ("counted", 30, -(2.0**63), False),
        ("counted", 30, float("nan"), False),
        ("reckoned", 90, 100, False),  # its sound may last longer
        ("reckoned", 89, 100, True),
    ):
        stand_in(monkeypatch, StandIn(read, promised=promised))
        frames, found = video_frames(tmp_path / f"{name}.mp4"), list[int]()
        try:
            found += (frame.number for frame in frames)
            said = ""
        except DataError as error:
            said = str(error)
        assert bool(said) is broken, (name, read, promised)
        assert f"after {read} frames, of {promised:,.0f}" in said or not broken


def test_what_is_no_video_is_an_error_that_says_what_to_do(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "text.mp4").write_text("not a film at all\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    half = cut(street(tmp_path), 0.5)  # an MP4 has its table of contents at the end
    for path in (tmp_path / "text.mp4", tmp_path / "empty.mp4", half):
        with pytest.raises(DataError, match=r"cannot be opened as a video. It is damaged, cut off, or of a kind"):
            next(video_frames(path))
    for name in ("none.mp4", "http://127.0.0.1/a.mp4", "pipe:0.mp4", "%02d.mp4"):
        with pytest.raises(DataError, match="no such file"):
            next(video_frames(tmp_path / name if name == "none.mp4" else name))
    assert "OpenCV" not in capfd.readouterr().err


def test_a_video_without_frames_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, StandIn(0, promised=20))
    with pytest.raises(DataError, match="has no frame that can be read"):
        list(video_frames(file(tmp_path)))


def test_without_opencv_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = street(tmp_path)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"street\.mp4 needs OpenCV: pip install 'convlens\[video\]'"):
        next(video_frames(path))
    with pytest.raises(ConfigError, match="needs OpenCV"):
        VideoWriter(tmp_path / "b.mp4", SIZE, RATE)


# cameras --------------------------------------------------------------------------------------------------------------


def test_a_camera_gives_frames_as_time_goes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((100.0, 100.0, 100.25, 101.0))
    capture = StandIn(10**6, rate=0.0)
    asked = stand_in(monkeypatch, capture)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    found = list(video_frames("camera:2", every=2, most=3))
    assert asked == [(2,)]
    assert [frame.name for frame in found] == ["camera:2#0", "camera:2#2", "camera:2#4"]
    assert [frame.time_s for frame in found] == [0, 0.25, 1]
    assert [frame.live for frame in found] == [True] * 3
    assert found[2].file_name == "camera-2-000004.png"
    assert capture.released == 1


def test_a_camera_that_is_not_there_or_goes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, StandIn(3, opened=False))
    with pytest.raises(DataError, match=r"camera:0 cannot be opened as a camera\. Is it plugged in and free"):
        next(video_frames("camera:0"))
    stand_in(monkeypatch, StandIn(3))
    with pytest.raises(DataError, match="camera:0 gave 3 frames and then no more"):
        list(video_frames("camera:0"))


def test_names_of_videos() -> None:
    assert all(map(is_video, ("a.mp4", "b/c.MOV", "d.avi", "camera:12")))
    assert not any(map(is_video, ("a.png", "a.gif", "camera", "camera:x", "mp4", "camera:0/a.png")))
    assert VideoFrame("a/street.v2.mp4", 7, None, square(0)).file_name == "street.v2-000007.png"


# frames are images ----------------------------------------------------------------------------------------------------


def test_a_frame_is_read_as_an_image() -> None:
    frame = VideoFrame("a.mp4", 3, 0.3, coloured((200, 100, 50)))
    assert (decode(frame, ImagePolicy()).pixels == frame.pixels).all()
    assert decode(frame, ImagePolicy(channels=1)).pixels.shape == (*SIZE, 1)
    assert read_header(frame, ImagePolicy()).height == SIZE[0]
    with pytest.raises(ConvlensError, match=r"a\.mp4#3"):
        decode(frame, ImagePolicy(max_pixels=100))


def test_images_are_taken_together_as_long_as_they_are_few_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [(str(i), square(i)) for i in range(5)]
    frames = [(str(i), VideoFrame("a", i, None, square(i))) for i in range(5)]
    live = [(str(i), VideoFrame("a", i, None, square(i), live=True)) for i in range(2)]

    def lengths(items: list[Any], most: int = 64) -> list[int]:
        return [len(chunk) for chunk in together(items, most)]

    assert lengths([(str(i), "a.png") for i in range(130)]) == [64, 64, 2]
    assert lengths(named) == lengths(frames) == [5]
    assert lengths([]) == []
    assert lengths(8 * frames) == [16, 16, 8], "rows come soon"
    assert lengths(8 * frames, 3) == [3] * 13 + [1]
    assert lengths([named[0], *live, named[1]]) == [2, 1, 1], "nobody in front of a camera waits for more"
    monkeypatch.setattr(module, "HELD_BYTES", 2 * square(0).nbytes)
    assert lengths(named) == lengths(frames) == [2, 2, 1]
    assert [item for chunk in together(iter(named), 2) for item in chunk] == named


def test_what_was_read_before_an_error_is_given_first() -> None:
    def broken() -> Any:
        yield from (("a", 1), ("b", 2), ("c", 3))
        raise DataError("ended")

    chunks = together(broken(), 2)
    assert list(islice(chunks, 2)) == [[("a", 1), ("b", 2)], [("c", 3)]]
    with pytest.raises(DataError, match="ended"):
        next(chunks)


# writing --------------------------------------------------------------------------------------------------------------


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "b.mp4"
    with VideoWriter(path, SIZE, 12.5) as writer:
        for i in range(7):
            assert not path.exists(), "it takes its place when it is whole"
            writer.write(square(i))
    assert writer.written == 7
    assert list(path.parent.iterdir()) == [path]
    found = list(video_frames(path))
    assert [frame.rate for frame in found] == [12.5] * 7
    for i, frame in enumerate(found):
        assert np.abs(frame.pixels.astype(int) - square(i)).mean() < 5
    red = tmp_path / "red.mp4"
    with VideoWriter(red, SIZE, 30) as writer:
        writer.write(coloured(COLOURS[0]))
    assert np.abs(next(video_frames(red)).pixels.astype(int) - COLOURS[0]).max() < 25


def test_odd_sides_lose_a_row_and_other_sizes_are_scaled(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "b.mp4", (SIZE[0] + 1, SIZE[1] + 1), 10) as writer:
        writer.write(np.pad(square(0), ((0, 1), (0, 1), (0, 0))))
        writer.write(square(1))
        writer.write(square(2).repeat(2, 0).repeat(2, 1))
    found = list(video_frames(tmp_path / "b.mp4"))
    assert len(found) == 3
    for i, frame in enumerate(found):
        assert np.abs(frame.pixels.astype(int) - square(i)).mean() < 5


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setattr(module, "CODEC", "none")
    with pytest.raises(ConfigError, match=r"b\.mp4 cannot be written: .* this OpenCV writes no MP4"):
        VideoWriter(tmp_path / "b.mp4", SIZE, RATE)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "b.mp4", SIZE, RATE)
    writer.write(square(0))
    writer.written += 1  # which the disk did not take
    with pytest.raises(DataError, match=r"b\.mp4 holds 1 of 2 frames. Is the disk full"):
        writer.close()


def test_the_levels_of_opencvs_log_are_left_as_they_were(tmp_path: Path) -> None:
    log = module.log_of(cv2)
    before = log.getLogLevel()
    assert before > 0
    list(video_frames(street(tmp_path)))
    assert log.getLogLevel() == before


def test_a_long_video_takes_no_more_memory_than_a_short_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    stand_in(monkeypatch, StandIn(400))
    tracemalloc.start()
    began = time.monotonic()
    for _ in video_frames(file(tmp_path)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * square(0).nbytes + 2**20, f"{peak:,} bytes after {time.monotonic() - began:.1f} s"


def test_what_is_wrong_is_said_by_our_error_alone(tmp_path: Path) -> None:
    (tmp_path / "no.mp4").write_text("no film")
    asked = "from convlens.data import video\ntry: next(video.video_frames('no.mp4'))\nexcept video.DataError: pass"
    done = subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
