"""Denoising and anomaly detection on a set of small pictures in idx files, such as Fashion-MNIST.

    python benchmarks/pictures.py denoise --data FOLDER [--noise gaussian:0.25] [--epochs 3] [--set option=value]
    python benchmarks/pictures.py anomaly --data FOLDER [--code 16] [--epochs 20]

Denoising prints the PSNR of the network beside the noisy input and non-local means, on the same test pictures, and the
gain over the better of the two. For anomalies every class is the normal one in turn: a network is trained on that class
alone and has to tell its test pictures from all others; printed are the ROC AUC of each with its interval, that of the
distance from the mean picture, and the means over the classes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from typing import Any

import convlens as cl
from convlens.request import parse_assignment


def score(found: dict[str, Any], digits: int = 3) -> str:
    low, high = (f"{found[end]:.{digits}f}" for end in ("low", "high"))
    return f"{found['value']:.{digits}f} [{low}, {high}]"


def denoise(asked: argparse.Namespace, folder: str) -> None:
    options: dict[str, Any] = {} if asked.epochs is None else {"epochs": asked.epochs}
    options |= {key.replace(".", "__"): value for key, value in map(parse_assignment, asked.set)}
    run = cl.train(asked.data, task="denoise", corruption=asked.noise, directory=folder, **options)
    report = run.evaluation["test"]
    print(f"{asked.noise}, n {report['n']}, {sum(row['seconds'] for row in run.history.rows):.0f} s of training")
    print(f"  {'this network':18} {score(report['psnr'], 2)} dB   SSIM {score(report['ssim'])}")
    for row in report["baselines"]:
        print(f"  {row['name']:18} {score(row['psnr'], 2)} dB   SSIM {score(row['ssim'])}")
    best = max(report["baselines"], key=lambda row: row["psnr"]["value"])
    print(f"  gain over {best['name']}: {score(best['gain']['psnr'], 2)} dB")


def anomaly(asked: argparse.Namespace, folder: str) -> None:
    options = {} if asked.epochs is None else {"epochs": asked.epochs}
    ours, theirs = [], []
    for normal in asked.classes.split(","):
        run = cl.train(
            asked.data,
            task="anomaly",
            normal=normal,
            network__options={"code": asked.code},
            directory=folder,
            **options,
        )
        report = run.evaluation["test"]
        baseline = next(row for row in report["baselines"] if "gain" in row)
        ours.append(report["auc"]["value"])
        theirs.append(baseline["auc"]["value"])
        alarms = report["alarm"]["false_alarms"]
        print(
            f"  normal {normal}: AUC {score(report['auc'])}, {baseline['name']} {score(baseline['auc'])}, "
            f"false alarms {score(alarms)} of {report['alarm']['threshold']['promise']:.2f} promised",
            flush=True,
        )
    print(f"  mean AUC {statistics.mean(ours):.3f}, {baseline['name']} {statistics.mean(theirs):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["denoise", "anomaly"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--noise", default="gaussian:0.25")
    parser.add_argument("--code", type=int, default=16)
    parser.add_argument("--classes", default="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="of the denoising network")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (denoise if asked.what == "denoise" else anomaly)(asked, folder)


if __name__ == "__main__":
    main()
