"""Numbers said in words: how the report writes a share, a count and a time, and its one-sentence readings.

A reading states what was seen, with n and interval, and claims no more. Plain text only: the page escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convlens.report.numbers import column, short

NONE = DASH = "\u2013"
SCORES = {
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R\u00b2",
    "skill": "Skill",
    "foreground_dice": "Dice of the foreground",
    "mean_dice": "Mean Dice",
    "psnr": "PSNR in dB",
    "map50": "mAP at IoU 0.5",
    "auc": "ROC AUC",
    "false_alarms": "False alarms",
    "dice": "Dice of all objects",
}
ALL = "images"  # in place of classes, where an image has no one class
FIGURES = {  # what the figure beside the loss is
    "mae": "How far answers are off on average, in the unit of the data.",
    "dice": "How well what is drawn and what is there overlap; 1 is perfect.",
    "psnr": "How near the pictures come to what they should be; more is nearer.",
    "map50": "The area under precision over recall at IoU 0.5, the mean of the classes; 1 is perfect.",
}


def percent(value: float | None, digits: int = 1) -> str:
    """A share as percent; only what is all or nothing is written 100 or 0.

    Example:
        >>> [percent(x).replace("\\u00a0", " ") for x in (0.94, 1.0, 0.9997, 0.99999, 0.0001)]
        ['94.0 %', '100 %', '99.97 %', '> 99.99 %', '0.01 %']
    """
    if value is None or not math.isfinite(value):
        return NONE
    return f"{_share(value, digits)}\u00a0%"


def points(value: float) -> str:
    """A difference of two shares.

    Example:
        >>> points(0.008)
        '0.8 percentage points'
    """
    return f"{_share(value, 1)} percentage points"


def between(interval: Mapping[str, Any], digits: int = 1) -> str:
    """An interval of shares, in percent; ends too near 0 or 100 to be written are rounded outwards.

    Example:
        >>> between({"low": 0.935, "high": 0.944}) == "93.5\\u201394.4"
        True
    """
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None:
        return NONE
    ends = [_share(end, digits) for end in (low, high)]
    return DASH.join({"<": "0", ">": "100"}.get(end[0], end) for end in ends)


def _share(value: float, digits: int) -> str:
    if value in (0, 1):
        return "100" if value else "0"
    shown = f"{100 * value:.{digits}f}"
    if float(shown) not in (0, 100):
        return shown
    if digits < 2:
        return _share(value, 2)
    return "> 99.99" if value > 0.5 else "< 0.01"


def count(value: float | None) -> str:
    """A whole number with its thousands.

    Example:
        >>> count(10000), count(999)
        ('10,000', '999')
    """
    return NONE if value is None else f"{value:,.0f}"


def many(value: int, word: str, plural: str = "") -> str:
    """A number and its noun.

    Example:
        >>> many(1, "image"), many(1200, "class", "classes")
        ('1 image', '1,200 classes')
    """
    return f"{count(value)} {word if value == 1 else plural or word + 's'}"


def duration(seconds: float | None) -> str:
    """A time a person can feel.

    Example:
        >>> duration(0.25), duration(59.9), duration(228), duration(7380)
        ('0.25 s', '60 s', '3 min 48 s', '2 h 3 min')
    """
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def headline(name: str, value: Mapping[str, Any], baseline: Mapping[str, Any] | None, part: str) -> str:
    """The score in one sentence, with n, its interval and what answering blindly would reach.

    Args:
        name: `accuracy`, `balanced_accuracy` or `macro_f1`.
        value: `value`, `low`, `high`, `n`, and perhaps `level`.
        baseline: `value` and the `class` that is always answered.
        part: `test` or `valid`.
    """
    where = {"test": "test", "valid": "validation"}.get(part, part)
    images = many(int(value["n"]), f"{where} image")
    interval = (
        f" ({100 * value.get('level', 0.95):g}\u00a0% interval {between(value)})"
        if value.get("low") is not None
        else ""
    )
    share = percent(value["value"])
    said = {
        "accuracy": f"On {images} it was right {share} of the time{interval}",
        "balanced_accuracy": f"On {images} it was right {share} of the time{interval}, every class counting the same",
        "macro_f1": f"On {images} the mean F1 of the classes was {share}{interval}",
    }.get(name, f"On {images} the {name.replace('_', ' ')} was {share}{interval}")
    if not baseline:
        return f"{said}."
    reach = "would be right" if name == "accuracy" else "would reach"
    always = f"always answering “{baseline['class']}” {reach} {percent(baseline['value'])}"
    low = value.get("low")
    if low is not None and low <= baseline["value"]:
        return f"{said}. That is not clearly better than nothing: {always}."
    return f"{said}; {always}."


def linear_probe(value: Mapping[str, Any], probe: Mapping[str, Any]) -> str:
    """What the starting weights reach without being trained, and whether training them gained anything.

    Args:
        value, probe: intervals of the same score on the same images.
    """
    text = f"A linear classifier on the features of the starting weights reaches {percent(probe['value'])} there"
    text += f" (interval {between(probe)})." if probe.get("low") is not None else "."
    low = value.get("low")
    if low is not None and low <= probe["value"]:
        return f"{text} The result is not clearly better than that."
    return text


def learning(rows: Sequence[Mapping[str, Any]], best_epoch: int | None, planned: int | None = None) -> str:
    """What the curves show: which epoch was kept, and how far training and validation came apart there."""
    if not rows:
        return "No epoch was finished."
    epochs = many(len(rows), "epoch")
    if planned and planned > len(rows):
        epochs += f" of {planned} planned"
    train, valid = column(rows, "train_loss"), column(rows, "val_loss")
    if not any(math.isfinite(v) for v in valid):
        return f"Trained for {epochs}. There was no validation, so the weights of the last epoch were kept."
    kept = next((i for i, row in enumerate(rows) if row.get("epoch") == best_epoch), len(rows) - 1)
    text = f"Trained for {epochs}; the weights after epoch {rows[kept]['epoch']} were kept"
    if not (math.isfinite(valid[kept]) and math.isfinite(train[kept])):
        return f"{text}."
    text += f", where the validation loss was {short(valid[kept])} and the training loss {short(train[kept])}."
    later = [v for v in valid[kept + 1 :] if math.isfinite(v)]
    if len(later) >= 2 and later[-1] > 1.05 * valid[kept] and train[-1] < train[kept]:
        text += f" After that the training loss kept falling while validation rose to {short(later[-1])}: overfitting."
    elif kept == len(rows) - 1 and len(rows) > 1 and valid[kept] < 0.98 * valid[kept - 1]:
        text += " The validation loss was still falling when training ended: more epochs may help."
    return text


def time_spent(parts: Mapping[str, float], data_bound: float | None) -> str:
    """Where the time went, and whether the images kept the processor waiting."""
    total = sum(parts.values())
    if total <= 0:
        return ""
    name, most = max(parts.items(), key=lambda item: item[1])
    text = f"Of {duration(total)}, {percent(most / total, 0)} went into {name}"
    if data_bound is None:
        return f"{text}."
    told = "so the input held it back" if data_bound > 0.2 else "so the input did not hold it back"
    return f"{text}. Training waited for images {percent(data_bound)} of the time, {told}."


def times(value: int) -> str:
    """How often.

    Example:
        >>> times(0), times(1), times(3)
        ('never', 'once', '3 times')
    """
    return {0: "never", 1: "once", 2: "twice"}.get(value, f"{count(value)} times")


def mistakes(report: Mapping[str, Any], pairs: Sequence[Any]) -> str:
    """How many answers were wrong, and which confusion is the most frequent."""
    wrong = sum(sum(row) for row in report["confusion"]) - sum(row[i] for i, row in enumerate(report["confusion"]))
    if not wrong:
        return (
            f"All {many(report['n'], 'image')} were answered correctly. On other images of the same kind, up to "
            f"{percent(1 - report['accuracy']['low'])} wrong answers would be no surprise."
        )
    text = f"{count(wrong)} of {many(report['n'], 'answer')} {'was' if wrong == 1 else 'were'} wrong."
    first = pairs[0]
    if first.count > 1:
        text += (
            f" Most often, “{first.true}” was called “{first.predicted}”: {count(first.count)} times, "
            f"{percent(first.count / wrong, 0)} of all mistakes."
        )
    return text


def classes(report: Mapping[str, Any]) -> str:
    """The best and the worst recognised class, and whether their intervals keep them apart."""
    rows = [row for row in report["per_class"] if row["recall"]["value"] is not None]
    if len(rows) < 2:
        return "Recall: of what is this class, how much was called so. Precision: of what was called so, how much is."
    worst = min(rows, key=lambda row: row["recall"]["value"])
    best = max(rows, key=lambda row: row["recall"]["value"])
    if worst["recall"]["value"] == best["recall"]["value"]:
        return f"Every class is recognised equally often ({percent(best['recall']['value'])})."
    text = (
        f"“{best['name']}” is recognised most often ({percent(best['recall']['value'])}), "
        f"“{worst['name']}” least ({percent(worst['recall']['value'])})."
    )
    if worst["recall"]["high"] >= best["recall"]["low"]:
        return f"{text} Their intervals overlap: with so few images the order of the classes may be chance."
    return text


def confidence(report: Mapping[str, Any], temperature: float | None, before: Mapping[str, Any] | None) -> str:
    """How far stated and real confidence lie apart, and what calibration did."""
    error = report["calibration"]["error"]
    if error["value"] is None:
        return "There were no images to compare stated with real confidence."
    text = f"The confidence it states is off by {points(error['value'])} on average (interval {between(error)})."
    if error["low"] == 0:
        text += " A perfectly honest network could show as much by chance."
    if before and before["error"]["value"] is not None and temperature is not None:
        text += f" Before calibration it was {points(before['error']['value'])}."
    return text


def abstaining(
    report: Mapping[str, Any], rule: Mapping[str, Any] | None, curve: Mapping[str, Sequence[float]] | None
) -> str:
    """What is gained by leaving the least certain images unanswered."""
    kept = report.get("abstain")
    if kept and kept["accuracy"]["value"] is not None:
        text = (
            f"The dot is the rule in the model file: below {percent(kept['confidence'])} it says “unsure”. It answers "
            f"{percent(kept['coverage']['value'])} and is right on {percent(kept['accuracy']['value'])} of those"
        )
        return f"{text}; {percent(rule['promise'])} was promised." if rule else f"{text}."
    if not curve or not curve["coverage"]:
        return ""
    answered = min(range(len(curve["coverage"])), key=lambda i: abs(curve["coverage"][i] - 0.9))
    share, right = curve["coverage"][answered], 1 - curve["risk"][answered]
    return f"Answering only the surest {percent(share, 0)}, it would be right on {percent(right)} of those."


def data(counts: Mapping[str, Mapping[str, int]]) -> str:
    """How many images in how many classes, and how even they are."""
    train = next(iter(counts.values()), {})
    total = sum(sum(part.values()) for part in counts.values())
    if set(train) <= {ALL}:
        return f"{many(total, 'image')}."
    text = f"{many(total, 'image')} in {many(len(train), 'class', 'classes')}."
    sizes = [n for n in train.values() if n]
    if len(sizes) > 1:
        if max(sizes) <= 1.2 * min(sizes):
            text += " The classes are about even."
        else:
            text += f" The largest has {max(sizes) / min(sizes):.1f} times the training images of the smallest."
    return text
