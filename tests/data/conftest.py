"""What several tests of reading images share."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture import Expectation, build


@pytest.fixture(scope="session")
def torture(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Expectation]]:
    """The folder of bad and odd files, which nobody writes into, and what is to become of each."""
    folder = tmp_path_factory.mktemp("torture")
    return folder, build(folder)
