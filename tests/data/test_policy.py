"""The numbers of the image policy: stored and read back, and refused where they are impossible."""

from __future__ import annotations

import pytest

from convlens.data.policy import ImagePolicy
from convlens.errors import ConfigError


def test_a_policy_survives_json() -> None:
    policy = ImagePolicy(channels=1, background=(1, 2, 3), white_level=4095, max_pixels=7)
    assert ImagePolicy.from_json(policy.to_json()) == policy
    for change, message in (({"version": 2}, "version 2"), ({"dither": 1}, "dither"), ({"background": 3}, "cannot be")):
        with pytest.raises(ConfigError, match=message):
            ImagePolicy.from_json(policy.to_json() | change)
    with pytest.raises(ConfigError, match="channels"):
        ImagePolicy.from_json({key: value for key, value in policy.to_json().items() if key != "channels"})


@pytest.mark.parametrize(
    "change",
    [{"channels": 0}, {"channels": "3"}, {"white_level": 1}, {"white_level": 70000}, {"background": (0, 0, 256)}],
)
def test_an_impossible_policy_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        ImagePolicy(**change)  # type: ignore[arg-type]
