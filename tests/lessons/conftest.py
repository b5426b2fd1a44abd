"""Each file tests one lesson, named `LESSON`: its script is loaded once and measured once."""

from types import ModuleType
from typing import Any

import pytest

from polypool.cli.lesson import load


@pytest.fixture(scope="module")
def lesson(request: pytest.FixtureRequest) -> ModuleType:
    return load(request.module.LESSON)


@pytest.fixture(scope="module")
def result(lesson: ModuleType) -> Any:
    return lesson.measure()
