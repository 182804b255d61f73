"""The report of `greenroom bench` in a real browser: colours, and the width of a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.report.page import page
from tests.bench.test_report import peers, result
from tests.e2e.browser.chromium import page_of

pytestmark = pytest.mark.e2e
COLOURS = """
[...document.querySelectorAll('figure')].map((figure) => [
  [...figure.querySelectorAll('.legend i')].map((each) => getComputedStyle(each).backgroundColor),
  [...figure.querySelectorAll('polyline')].map((each) => getComputedStyle(each).stroke),
])
"""
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 3, "mobile": True}
LEFT_TO_RIGHT = "document.documentElement.scrollWidth"
SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll('svg text')].map((each) => each.getBoundingClientRect().height))
"""


def test_the_report_is_readable_on_a_phone_and_its_legends_tell_lines_apart(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    long = result(
        target="https://a-name-without-any-blank.example:4000/and/a/long/path/behind/it/for/good/measure"
    )
    file.write_text(
        page([result().as_json(), result(3000, target="node").as_json(), long.as_json(), peers()])
    )

    with page_of(file.as_uri()) as shown:
        shown.wait_for("document.querySelectorAll('figure').length === 8")
        charts = shown.run(COLOURS)
        for legend, lines in charts:
            assert legend == lines
            assert len(set(legend)) == len(legend)
        assert [len(lines) for _, lines in charts[:2]] == [3, 3]
        shown.call("Emulation.setDeviceMetricsOverride", **PHONE)
        shown.wait_for("innerWidth === 390")
        assert shown.run(LEFT_TO_RIGHT) == 390
        assert shown.run(SMALLEST_TEXT) > 10
        assert shown.run("document.querySelector('table').getBoundingClientRect().top") < 150
