"""From the files of a run to the page about it: draws the contact sheet, fills `RunSummary`, writes `report.html`."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convlens.config import Config
from convlens.data.pixels import resize
from convlens.data.prepare import Prepared
from convlens.metrics.decision import decide, risk_coverage
from convlens.model import Model
from convlens.model_file import versions
from convlens.options import KINDS, Kind
from convlens.report.boxes_drawn import draw_targets
from convlens.report.figures import contact_sheet
from convlens.report.folds_page import fold_section
from convlens.report.overlay import overlay
from convlens.report.page import (
    Confidence,
    DataSummary,
    Headline,
    Layer,
    Mistake,
    NetworkSummary,
    RunSummary,
    Timing,
    write,
)
from convlens.run import Run
from convlens.showcase import READINGS, answer_sections, picture
from convlens.tasks.classify import Classify
from convlens.training.plan import present_of

MOST_MISTAKES = 24
SHEET_IMAGES, SHEET_DRAWS, SHEET_PX = 12, 5, 160
SHEET_WORDS = {
    "segment": "First row: training images as stored, their masks painted over them; hatched pixels do not count. "
    "Below each: random changes of both, drawn anew every epoch. Validation and test images are never changed.",
    "denoise": "First row: training images as stored. Below each: what training sees of it, noisy, and changed where "
    "augment says so; anew every epoch. Validation and test images always have the same noise.",
}
SPLIT_BY: dict[Kind, str] = {
    "class": "stratified by class, ",
    "number": "stratified by the number, ",
    "mask": "stratified by how much of an image is object, ",
    "picture": "stratified by class where there are any, ",
    "boxes": "",
}
LAID_OVER: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"mask": overlay, "boxes": draw_targets}


def summarise(run: Run, config: Config, prepared: Prepared, model: Model, test_outputs: np.ndarray) -> Path:
    """Write the report of a finished run; returns its path."""
    evaluation, stored, layers = run.evaluation, run.read("run"), run.read("network")["layers"]
    history = run.history.rows
    training_s, validation_s = (sum(row.get(name, 0.0) for row in history) for name in ("seconds", "validation_s"))
    weights, asks = stored["weights"], model.asks
    passes = [event["seconds"] for event in run.events if event["kind"] == "features"]
    features_s = {"computing the features": sum(passes)} if passes else {}
    own = (
        classified(asks, evaluation, prepared, test_outputs)
        if isinstance(asks, Classify)
        else {
            "sections": answer_sections(evaluation, prepared, model, test_outputs),
            "figure": asks.figure,
        }
    )
    summary = RunSummary(
        title=run.directory.name,
        task=config.task,
        created=stored["created"],
        duration_s=stored["preparing_s"] + sum(features_s.values()) + training_s + validation_s + evaluation["seconds"],
        headline=_headline(config.task, evaluation),
        test_opened=evaluation.get("test_opened", 0),
        data=_data(config, prepared),
        network=NetworkSummary(
            name=config.network.name,
            parameters=sum(p.numel() for p in model.network.parameters()),
            layers=[
                Layer(row["name"], row["kind"], " x ".join(str(n) for n in row["output_shape"][1:]), row["parameters"])
                for row in layers
            ],
            weights=weights["origin"],
            licence=weights["licence"],
        ),
        history=history,
        best_epoch=evaluation["best_epoch"],
        epochs_planned=int(config.train.epochs),
        valid=evaluation.get("valid"),
        test=evaluation.get("test"),
        contact_sheet=(run.directory / "contact_sheet.png").read_bytes(),
        sheet_words=SHEET_WORDS.get(config.task, ""),
        config=config.rows(),
        events=run.events.rows,
        timing=Timing(
            {
                "reading and checking the images": stored["preparing_s"],
                **features_s,
                "training": round(training_s, 3),
                "validation after each epoch": round(validation_s, 3),
                "calibration and test": evaluation["seconds"],
            },
            data_bound=sum(row["waiting_s"] for row in history) / training_s if training_s else None,
        ),
        hardware={**stored["hardware"], "processor": platform.processor() or platform.machine()},
        versions=versions(),
        model_file=run.model_path.name,
        **own,
    )
    write(summary, run.report_path)
    return run.report_path


def summarise_folds(
    directory: Path, runs: Sequence[Run], prepared: Prepared, model: Model, outputs: np.ndarray, found: dict[str, Any]
) -> Path:
    """Write the report of a cross-validation; returns its path.

    Args:
        prepared: all images that were tested are its test.
        model: says what is asked, with what holds for all folds together; its network is not looked at.
        found: the content of `cross_validation.json`.
    """
    config, first, asks = Config.from_json(runs[0].read("run")["config"]), runs[0], model.asks
    evaluation = {"headline": {**found["headline"], "part": "test"}, "test": found["report"]}
    if isinstance(asks, Classify):
        own: dict[str, Any] = classified(asks, evaluation, prepared, outputs)
        own["confidence"] = replace(own["confidence"], threshold=None)  # each fold has its own
    else:
        own = {"sections": answer_sections(evaluation, prepared, model, outputs)}
    summary = RunSummary(
        title=directory.name,
        task=config.task,
        created=first.read("run")["created"],
        duration_s=sum(row["seconds"] + row["validation_s"] for run in runs for row in run.history.rows),
        headline=_headline(config.task, evaluation),
        network=NetworkSummary(
            name=config.network.name, parameters=sum(row["parameters"] for row in first.read("network")["layers"])
        ),
        test=found["report"],
        before=[fold_section(found)],
        config=[row for row in config.rows() if row[0] not in ("data.fold", "run.name", "run.directory")],
        events=[{"kind": "warning", "message": message} for message in found["warnings"]],
        hardware=first.read("run")["hardware"],
        versions=versions(),
        model_file="",  # those of the folds are for this score alone
        **own,
    )
    path = directory / "report.html"
    write(summary, path)
    return path


def classified(
    classify: Classify, evaluation: dict[str, Any], prepared: Prepared, test_logits: np.ndarray
) -> dict[str, Any]:
    """What only the page of a classifier shows."""
    return {
        "confidence": _confidence(classify, evaluation, prepared, test_logits),
        "mistakes": find_mistakes(classify, prepared, test_logits),
    }


def find_mistakes(classify: Classify, prepared: Prepared, test_logits: np.ndarray) -> list[Mistake]:
    """The wrong answers on the test set, the most confident first."""
    rows = prepared.split.test[: len(test_logits)]
    if not len(rows):
        return []
    probabilities, names = classify.probabilities(test_logits), prepared.classes.names
    answers = decide(probabilities, classify.threshold)
    truth = prepared.targets[rows]
    confidence = probabilities[np.arange(len(rows)), answers]
    wrong = np.flatnonzero(answers != truth)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES]
    return [
        Mistake(
            png=picture(prepared, int(rows[i])),
            true=names[truth[i]],
            predicted=names[answers[i]],
            probability=float(confidence[i]),
            id=prepared.store.records[int(rows[i])].id,
        )
        for i in wrong
    ]


def draw_contact_sheet(config: Config, prepared: Prepared) -> bytes:
    """Some training images as stored, and under each what training sees of it in several epochs, as PNG.

    Masks and boxes are laid over the images; of noisy pictures the noise is shown.
    """
    rows = prepared.split.train
    chosen = np.sort(np.sort(rows)[:: max(1, len(rows) // SHEET_IMAGES)][:SHEET_IMAGES])
    images, targets = prepared.store.images[chosen], prepared.targets[chosen]
    shown, lay = present_of(config, prepared), LAID_OVER.get(prepared.answers.kind, lambda image, _: image)
    drawn = [[lay(*pair) for pair in zip(images, targets, strict=True)]]
    for epoch in range(SHEET_DRAWS):
        x, y = shown.changed(torch.from_numpy(images), torch.from_numpy(targets), chosen, epoch)
        drawn.append([lay(*pair) for pair in zip(prepared.preprocess.picture(x), y.numpy(), strict=True)])
    height, width = images.shape[1:3]
    share = min(1.0, SHEET_PX / max(height, width))
    cell = max(1, round(height * share)), max(1, round(width * share))  # windows are shown as large as whole images
    return contact_sheet([[one if one.shape[:2] == cell else resize(one, cell) for one in row] for row in drawn])


def _headline(task: str, evaluation: dict[str, Any]) -> Headline | None:
    found = evaluation.get("headline")
    if not found:
        return None
    report = evaluation[found["part"]]
    if task in READINGS:
        return Headline(found["name"], found["value"], None, found["part"], READINGS[task](report))
    return replace(Headline.of(report, found["name"], found["part"]), probe=found.get("linear_probe"))


def _confidence(
    classify: Classify, evaluation: dict[str, Any], prepared: Prepared, test_logits: np.ndarray
) -> Confidence:
    card, risk = classify.card, None
    if len(test_logits):
        targets = prepared.targets[prepared.split.test]
        curve = risk_coverage(classify.probabilities(test_logits), targets, classify.threshold)
        risk = {name: np.asarray(values).tolist() for name, values in curve.items()}
    part = "test" if "test" in evaluation else "valid"
    return Confidence(
        temperature=card.get("calibration", {}).get("temperature"),
        before=evaluation.get(part, {}).get("uncalibrated"),
        threshold=card.get("threshold"),
        abstain=card.get("abstain"),
        risk_coverage=risk,
    )


def _how_split(config: Config, sizes: dict[str, int]) -> str:
    listed = ", ".join(f"{size:,} {part}" for part, size in sizes.items())
    return f"{listed}: {SPLIT_BY[KINDS[config.task]]}duplicates and groups kept on one side, seed {config.seed}"


def _data(config: Config, prepared: Prepared) -> DataSummary:
    sizes = {part: len(getattr(prepared.split, part)) for part in ("train", "valid", "test")}
    return DataSummary(
        source=Path(config.data.source).name,
        counts={part: prepared.counts(part) for part in sizes},
        size_px=prepared.preprocess.size_px,
        channels=prepared.preprocess.policy.channels,
        fingerprint=prepared.store.fingerprint,
        findings=[finding.to_json() for finding in prepared.findings],
        split=_how_split(config, sizes),
    )
