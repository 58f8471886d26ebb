"""The chart in Dagster's metadata: valid XML, short enough to be shown without a click, and correct."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import date
from decimal import Decimal
from urllib.parse import unquote

from hypothesis import example, given
from hypothesis import strategies as st

from xero_pipeline.assets.pictures import WEEKS_SHOWN, Chart, Curve, render_chart_markdown
from xero_pipeline.weeks import Week

# Dagster's UI hides longer markdown behind a click.
MAX_SHOWN_AT_ONCE = 1000
LATEST = Week(date(2026, 11, 21))
WEEKS = [LATEST.shift(-n) for n in reversed(range(30))]
SVG = "{http://www.w3.org/2000/svg}"

amounts = st.decimals(-(10**10), 10**10, places=2)
curves = st.dictionaries(st.sampled_from(WEEKS), amounts)


def parse_image(markdown: str) -> ET.Element:
    address = re.search(r"\(<data:image/svg\+xml,([^<>\n]*)>\)$", markdown)
    assert address is not None
    return ET.fromstring(unquote(address[1]))  # noqa: S314 - the SVG is our own


def read_texts(markdown: str) -> list[str]:
    return [text.text or "" for text in parse_image(markdown).iter(f"{SVG}text")]


def build_flat_curve(name: str, amount: str) -> Curve:
    return Curve(name, dict.fromkeys(WEEKS, Decimal(amount)))


def test_a_chart_states_the_newest_figures_and_draws_the_weeks() -> None:
    markdown = render_chart_markdown(
        Chart(
            "Mock Organisation",
            "AUD",
            build_flat_curve("trading income", "1234.50"),
            build_flat_curve("net profit", "-600.00"),
        )
    )
    assert markdown.startswith(
        "Mock Organisation, 26 weeks to 2026-11-21: trading income 1,234.50, net profit -600.00 AUD\n\n![chart]("
    )
    assert read_texts(markdown) == ["trading income", "net profit", "-600", "1.23k", "0"]
    area, line = list(parse_image(markdown).iter(f"{SVG}path"))[1:]
    assert area.attrib["d"].count("h12") == WEEKS_SHOWN
    assert line.attrib["d"].count("12 0") == WEEKS_SHOWN - 1


def test_a_chart_without_figures_is_empty() -> None:
    assert render_chart_markdown(Chart("Mock Organisation", "AUD", Curve("closing cash", {}))) == ""


def test_weeks_without_figures_leave_a_gap() -> None:
    values = {WEEKS[-4]: Decimal(3), WEEKS[-1]: Decimal(3)}
    markdown = render_chart_markdown(Chart("Mock Organisation", "AUD", Curve("closing cash", values)))
    assert "4 weeks to 2026-11-21: closing cash 3.00 AUD" in markdown
    (_, area) = parse_image(markdown).iter(f"{SVG}path")
    assert area.attrib["d"] == "M38 78v-58h12v58h12h12v-58h12V78"


@given(st.text(max_size=30), curves, curves)
@example("R&D <b>[Org](x)</b> 100 % 'q' \"p\" `c` \\ ü \n 名", dict.fromkeys(WEEKS, Decimal(1)), {LATEST: Decimal(-1)})
def test_the_image_is_valid_for_any_name_and_any_figures(
    name: str, first: dict[Week, Decimal], second: dict[Week, Decimal]
) -> None:
    markdown = render_chart_markdown(Chart(name, "AUD", Curve("trading income", first), Curve("net profit", second)))
    assert bool(markdown) == bool(first or second)
    if markdown:
        root = parse_image(markdown)
        assert root.tag == f"{SVG}svg"
        for path in root.iter(f"{SVG}path"):
            assert not re.search(r"[^MlhvVHz0-9 .-]", path.attrib["d"])
        caption = markdown.split("\n\n")[0]
        assert not set("[]()<>`\n") & set(caption)


@given(st.lists(amounts, min_size=WEEKS_SHOWN, max_size=WEEKS_SHOWN), st.lists(amounts, min_size=26, max_size=26))
def test_a_chart_is_short_enough_to_be_shown_without_a_click(first: list[Decimal], second: list[Decimal]) -> None:
    weeks = WEEKS[-WEEKS_SHOWN:]
    chart = Chart(
        "An Organisation With Quite A Name Pty Ltd",
        "AUD",
        Curve("trading income", dict(zip(weeks, first, strict=True))),
        Curve("net profit", dict(zip(weeks, second, strict=True))),
    )
    assert len(render_chart_markdown(chart)) < MAX_SHOWN_AT_ONCE
