"""One lecture's layers as one network: 5x5 image, convolution, ReLU, pooling, flatten, dense, ReLU, dense, softmax.

    python examples/lecture_chain.py                 # the right numbers, beside those that the slides print
    python examples/lecture_chain.py --as-printed    # forget the biases that the slides forget

Shows what every layer gives, how one of its numbers came about, and that torch comes to the same.
"""

from __future__ import annotations

import argparse

import numpy as np

from convlens.lectures import chain

TRACED = {"conv": (0, 1), "relu": (2, 0), "pool": (1, 1), "hidden": 0, "hidden relu": 0, "output": 0, "softmax": 0}


def main(as_printed: bool = False) -> list[chain.Stage]:
    """Print every stage, and return them."""
    stages = chain.stages(as_printed=as_printed)
    twins = {} if as_printed else chain.twin_stages()
    print(f"The image:\n\n{matrix(chain.IMAGE)}\n\nThe filter:\n\n{matrix(chain.FILTER)}")
    for number, stage in enumerate(stages, 1):
        title = f"{number}. {stage.name}"
        print(f"\n\n{title}\n{'-' * len(title)}\n\n{matrix(stage.result.value)}")
        if stage.agrees:
            print("\nAs on the slide.")
        elif stage.printed is not None:
            print(f"\nOn the slide: {matrix(stage.printed)}")
        if stage.slip:
            print(stage.slip)
        if stage.name in twins:
            apart = abs(twins[stage.name] - stage.result.value).max()
            print(f"\nIn torch: {'equal to the last digit' if apart == 0 else f'at most {apart:.0e} apart'}.")
        if stage.name in TRACED:
            print(f"\n{indented(str(stage.result.trace(TRACED[stage.name])))}")
    return stages


def matrix(values: np.ndarray) -> str:
    texts = [[f"{value:.6g}" for value in row] for row in np.atleast_2d(values)]
    wide = max(len(text) for row in texts for text in row)
    return "\n".join("  ".join(text.rjust(wide) for text in row) for row in texts)


def indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--as-printed", action="store_true", help="forget the biases that the slides forget")
    main(parser.parse_args().as_printed)
