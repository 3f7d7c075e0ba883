"""A test or file that is renamed must not lose its place in the parallel run."""

from __future__ import annotations

import pytest

from tests.support.chroots import SUITES
from tests.support.parallel import LONGEST, SPREAD
from tests.support.paths import CHECKOUT

FILES = {f"{path.parent.name}/{path.stem}": path for path in (CHECKOUT / "tests").glob("*/test_*.py")}
SPREAD_FILES = [name for name in FILES if name.partition("/")[2] in SPREAD]
GROUPS = {*FILES, *(f"engine-{suite}" for suite in SUITES)} - set(SPREAD_FILES)


def test_the_spread_files_are_there() -> None:
    assert len(SPREAD_FILES) == len(SPREAD)


@pytest.mark.parametrize("name", LONGEST)
def test_what_takes_long_is_called_by_its_name(name: str) -> None:
    function = f"def {name.partition('[')[0]}("
    assert name in GROUPS or any(function in FILES[each].read_text() for each in SPREAD_FILES)
