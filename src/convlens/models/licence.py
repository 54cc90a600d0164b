"""What the licence of starting weights says about use: recognised by its name, no legal advice."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_NOT_FOR_SALE = re.compile(r"(?<![a-z])nc(?![a-z])|non-?_? ?commercial|research[- _]only|amlr", re.IGNORECASE)


def non_commercial(licence: str | None) -> bool:
    """Whether a licence, by its name, does not allow commercial use.

    Example:
        >>> [non_commercial(name) for name in ("cc-by-nc-4.0", "fair-noncommercial-research", "apache-2.0", None)]
        [True, True, False, False]
    """
    return bool(licence and _NOT_FOR_SALE.search(licence))


def restriction(weights: Mapping[str, Any]) -> str:
    """A warning about weights as the card of a model describes them; "" where there is no cause."""
    if not non_commercial(weights["licence"]):
        return ""
    return (
        f"The starting weights {weights['origin']} have the licence {weights['licence']}, which does not allow "
        f"commercial use. Networks trained from them come under it too; the model file keeps it."
    )
