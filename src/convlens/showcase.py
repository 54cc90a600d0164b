"""What a run's page shows of its answers, for every task but classification: the sections, with pictures of the cases.

A specialist looks at the best, the median and the worst case before any mean; so does the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from convlens.data.mask_map import IGNORED
from convlens.data.pixels import encode_png, resize
from convlens.data.prepare import Prepared
from convlens.metrics.pixel_tally import mean_iou
from convlens.model import Model
from convlens.report import boxes_page, masks_page, numbers_page, pictures_page
from convlens.report.boxes_drawn import draw_pair
from convlens.report.figures import code_map, contact_sheet
from convlens.report.overlay import error_map, heat, overlay
from convlens.report.sections import Card, Section, Shot
from convlens.tasks.detect import Detect
from convlens.tasks.pictures import Anomaly, Denoise, Reconstruct
from convlens.tasks.segment import Segment
from convlens.tasks.task import Seen

SHOTS = 9
SHOWN_PX, GAP_GREY = 256, 160
STEPS = 8  # pictures from one code to another

READINGS: dict[str, Callable[[Any], str]] = {
    "regress": numbers_page.reading,
    "segment": masks_page.mask_reading,
    "detect": boxes_page.box_reading,
    "reconstruct": pictures_page.picture_reading,
    "denoise": pictures_page.picture_reading,
    "anomaly": pictures_page.anomaly_reading,
}


def answer_sections(
    evaluation: dict[str, Any], prepared: Prepared, model: Model, test_outputs: np.ndarray
) -> list[Section]:
    """What the page shows of the part that gave the score."""
    if "headline" not in evaluation:
        return []
    part = evaluation["headline"]["part"]
    report, rows, asks = evaluation[part], getattr(prepared.split, part), model.asks
    outputs = test_outputs if part == "test" else model.outputs(prepared.store.images, rows, scored=True)
    seen = Seen(prepared.store.images, rows)
    match asks:
        case Segment():
            return _masks(report, asks, outputs, prepared, rows)
        case Detect():
            return _boxes(report, asks, outputs, prepared, rows)
        case Anomaly():
            return _anomalies(report, asks, outputs, prepared, seen)
        case Denoise():
            clean = asks.clean(seen, prepared.targets[rows])
            chosen = _spread(errors := ((outputs - clean) ** 2).mean((1, 2, 3), dtype=np.float64))
            noisy = asks.noisy(Seen(seen.images, rows[chosen]))
            shown = zip(noisy, outputs[chosen], clean[chosen], strict=True)
            strips = [_side_by_side([_levels(one) for one in three]) for three in shown]
            shots = _shots(strips, _psnr(errors[chosen]), prepared, rows[chosen])
            return pictures_page.picture_sections(report, shots, ("with noise", "given back", "clean"))
        case Reconstruct():
            chosen = _spread(errors := _errors(asks, outputs, seen))
            strips = [_strip(prepared, int(rows[i]), [_levels(outputs[i])]) for i in chosen]
            shots = _shots(strips, _psnr(errors[chosen]), prepared, rows[chosen])
            cards, words = _codes(model, prepared, rows), ("image", "given back")
            probe = evaluation.get("code_classifier", {}).get(part)
            return pictures_page.picture_sections(report, shots, words, cards, probe)
        case _:
            shown = {worst["position"] for target in report["per_target"] for worst in target["worst"]}
            pictures = {i: (picture(prepared, int(rows[i])), prepared.store.records[int(rows[i])].id) for i in shown}
            return numbers_page.number_sections(report, pictures)


def picture(prepared: Prepared, row: int) -> bytes:
    """One stored image as PNG."""
    return contact_sheet([[prepared.store.images[row]]])


def _masks(
    report: dict[str, Any], asks: Segment, outputs: np.ndarray, prepared: Prepared, rows: np.ndarray
) -> list[Section]:
    """From the best to the worst: the image, the true mask, the answer, and where they differ."""
    scores = mean_iou(asks.tally(outputs, prepared.targets[rows]).matrices)
    chosen = _spread(-np.nan_to_num(scores, nan=1.0))
    strips = []
    for i in chosen:
        image, true = prepared.store.images[rows[i]], prepared.targets[rows[i]]
        answer = np.where(true == IGNORED, IGNORED, outputs[i])  # padding, and what is not counted
        maps = [overlay(image, true), overlay(image, answer), error_map(true, outputs[i])]
        strips.append(_side_by_side([image, *maps]))
    said = [f"mean IoU {scores[i]:.3f}" if np.isfinite(scores[i]) else "nothing in it counts" for i in chosen]
    shots = _shots(strips, said, prepared, rows[chosen])
    return masks_page.mask_sections(report, shots, ("image", "true mask", "answer", "where they differ"))


def _boxes(
    report: dict[str, Any], asks: Detect, outputs: np.ndarray, prepared: Prepared, rows: np.ndarray
) -> list[Section]:
    """From the best to the worst by F1: the true boxes, and those that are shown."""
    tally = asks.tally(outputs, prepared.targets[rows], prepared.store.images.shape[1:3])
    counted = [boxes_page.shown_counts(image, report["threshold"]) for image in tally.images]
    cost = [-2 * right / max(1, shown + true) if shown + true else -1.0 for right, shown, true in counted]
    chosen = _spread(np.array(cost))
    strips = [
        contact_sheet([draw_pair(prepared.store.images[rows[i]], tally.images[i], asks.names, report["threshold"])])
        for i in chosen
    ]
    said = [f"{counted[i][0]} of {counted[i][2]} found, {counted[i][1] - counted[i][0]} false" for i in chosen]
    shots = _shots(strips, said, prepared, rows[chosen])
    return boxes_page.box_sections(report, shots)


def _anomalies(
    report: dict[str, Any], asks: Anomaly, outputs: np.ndarray, prepared: Prepared, seen: Seen
) -> list[Section]:
    """The normal images of the highest scores and the others of the lowest: the image, what comes back, the heat."""
    positions = [case["position"] for name in ("highest_normal", "lowest_abnormal") for case in report[name]]
    scores, warmth = asks.scores(outputs, seen), asks.heat(outputs, seen)
    strips, said, groups = [], [], prepared.answers.groups
    top = max(float(np.quantile(warmth, 0.999)), 1e-9)
    for i in positions:
        image = prepared.store.images[seen.samples[i]]
        strips.append(_side_by_side([image, _levels(outputs[i]), heat(image, warmth[i], low=0.0, high=top)]))
        kind = f"{groups[max(0, int(prepared.targets[seen.samples[i]]))]}, " if groups else ""
        said.append(f"{kind}score {scores[i]:.4g}")
    shots = _shots(strips, said, prepared, seen.samples[positions])
    return pictures_page.anomaly_sections(report, shots, ("image", "given back", "where it differs"))


def _codes(model: Model, prepared: Prepared, rows: np.ndarray) -> list[Card]:
    """The code in two dimensions, and the pictures between two codes, where the network has a code."""
    network = model.network
    if not hasattr(network, "encode"):
        return []
    codes = model.codes(prepared.store.images, rows)
    centred = codes - codes.mean(0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    share = float((spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-12))
    groups = prepared.answers.groups
    flat = np.zeros((len(codes), 2), np.float32)  # one image, or one number, has fewer directions
    flat[:, : len(axes[:2])] = centred @ axes[:2].T
    words = (
        f"Each point is an image: its {codes.shape[1]} numbers in the two directions of largest spread, which hold "
        f"{100 * share:.0f} % of it."
    )
    if len(groups) > 1:
        words += " " + ", ".join(f"{number} {name}" for number, name in enumerate(groups, 1)) + "."
    cards = [Card("The code", words, code_map(flat, prepared.targets[rows] if len(groups) > 1 else None))]
    first, second = codes[0], codes[int(np.argmax(((codes - codes[0]) ** 2).sum(1)))]
    between = np.stack([first + (second - first) * t for t in np.linspace(0, 1, STEPS)]).astype(np.float32)
    pictures = [*model.decode(between)]
    sheet = contact_sheet([pictures[: STEPS // 2], pictures[STEPS // 2 :]])
    words = "Equal steps from the code of one image to that of another."
    cards.append(Card("Between two codes", words, png=sheet, across=STEPS // 2))
    return cards


def _strip(prepared: Prepared, row: int, pictures: Sequence[np.ndarray]) -> bytes:
    return _side_by_side([prepared.store.images[row], *pictures])


def _side_by_side(pictures: Sequence[np.ndarray]) -> bytes:
    """Pictures of one size in a row, no larger than a page shows them."""
    height, width = pictures[0].shape[:2]
    share = min(1.0, SHOWN_PX / max(height, width))
    size = max(1, round(height * share)), max(1, round(width * share))
    shown = [one if share == 1 else resize(one, size) for one in pictures]
    shown = [one if one.shape[2] == 3 else np.repeat(one[..., :1], 3, axis=2) for one in shown]
    gap = np.full((size[0], max(1, size[1] // 16), 3), GAP_GREY, np.uint8)
    return encode_png(np.concatenate([part for one in shown for part in (gap, one)][1:], axis=1))


def _shots(strips: Sequence[bytes], said: Sequence[str], prepared: Prepared, rows: np.ndarray) -> list[Shot]:
    ids = [prepared.store.records[int(row)].id for row in rows]
    return [Shot(png, [words], identity) for png, words, identity in zip(strips, said, ids, strict=True)]


def _spread(cost: np.ndarray) -> np.ndarray:
    """Positions from the smallest to the largest cost: the two ends and what lies evenly between them."""
    order = np.argsort(cost, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(SHOTS, len(order))).round().astype(np.int64))]


def _errors(asks: Reconstruct, outputs: np.ndarray, seen: Seen) -> np.ndarray:
    return ((outputs - asks.clean(seen)) ** 2).mean((1, 2, 3), dtype=np.float64)


def _psnr(errors: np.ndarray) -> list[str]:
    return [f"{-10 * np.log10(max(error, 1e-12)):.1f} dB" for error in errors]


def _levels(picture: np.ndarray | torch.Tensor) -> np.ndarray:
    """(C, H, W) levels 0..1 -> (H, W, C) uint8."""
    return np.rint(255 * np.asarray(picture)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
