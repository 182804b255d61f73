"""What the tests of supervision share."""

import pytest

from tests.supervision.children import Diary


@pytest.fixture
def diary() -> Diary:
    return Diary()
