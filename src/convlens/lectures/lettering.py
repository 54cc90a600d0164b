"""Small letters for pictures, five pixels wide and seven high, so that no font is needed to write under them."""

from __future__ import annotations

import numpy as np

WIDE, TALL = 6, 9  # with the space to the next letter and line
_COLUMNS = {  # a byte a column, the lowest bit at the top
    " ": "0000000000", "-": "0808080808", ".": "0060600000", ",": "0080703000", ":": "0036360000", "_": "8080808080",
    "=": "1414141414", "+": "08083e0808", "0": "3e5149453e", "1": "00427f4000", "2": "4261514946", "3": "2141454b31",
    "4": "1814127f10", "5": "2745454539", "6": "3c4a494930", "7": "0171090503", "8": "3649494936", "9": "064949291e",
    "a": "2054545478", "b": "7f48444438", "c": "3844444420", "d": "384444487f", "e": "3854545418", "f": "087e090102",
    "g": "18a4a49c78", "h": "7f08040478", "i": "00447d4000", "j": "4080847d00", "k": "7f10284400", "l": "00417f4000",
    "m": "7c04180478", "n": "7c08040478", "o": "3844444438", "p": "fc18242418", "q": "18242418fc", "r": "7c08040408",
    "s": "4854545420", "t": "043f444020", "u": "3c4040207c", "v": "1c2040201c", "w": "3c4030403c", "x": "4428102844",
    "y": "4c9090907c", "z": "4464544c44",
}  # fmt: skip


def lettered(text: str, scale: int = 1) -> np.ndarray:
    """Where the ink of a line of text is. Small letters and digits; what has no letter becomes a space.

    Shapes:
        -> bool (9 scale, 6 scale len(text))

    Example:
        >>> for row in lettered("no"):
        ...     print("|" + "".join(" #"[dot] for dot in row.astype(int)) + "|")
        |            |
        |            |
        |# ##   ###  |
        |##  # #   # |
        |#   # #   # |
        |#   # #   # |
        |#   #  ###  |
        |            |
        |            |
    """
    columns = [byte for letter in text for byte in (*bytes.fromhex(_COLUMNS.get(letter, _COLUMNS[" "])), 0)]
    bits = np.array(columns, np.uint16)[np.newaxis] >> np.arange(TALL)[:, np.newaxis] & 1
    return np.kron(bits, np.ones((scale, scale), int)).astype(bool)
