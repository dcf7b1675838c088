"""The page in a real browser: nothing is requested, nothing complains, and everything that can be moved moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, find_browser
from tested_runs import write_run, write_runs

from fdsr.report.page import write_page
from fdsr.report.runs import read_run
from fdsr.report.studies import make_studies

BROWSER = find_browser()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    html = write_page(make_studies([read_run(run) for run in write_runs(folder)]), [], folder)
    assert BROWSER is not None
    with Page(BROWSER, tmp_path_factory.mktemp("browser")) as opened:
        opened.look(360)
        opened.open(html)
        yield opened


def test_it_is_quiet_and_asks_for_nothing(page: Page) -> None:
    assert page.complaints == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "data"}
    assert sum(url.startswith("file:") for url in page.requests) == 1  # the page itself


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_the_screen(page: Page, width: int, dark: bool) -> None:
    page.look(width, dark=dark)
    assert page.ask("document.documentElement.scrollWidth") <= width
    # letters of figures are as large as those of a page: 12 px are nine points
    sizes = (
        "[...document.querySelectorAll('.panels text')].map(t => t.getBoundingClientRect().height).filter(h => h > 0)"
    )
    assert page.ask(f"{sizes}.length") > 20
    background, ink = (page.ask(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    light = {name: sum(map(int, value[4:-1].split(","))) for name, value in (("paper", background), ("ink", ink))}
    assert (light["paper"] < 150 and light["ink"] > 600) if dark else (light["paper"] > 700 and light["ink"] < 200)
    axis = page.ask("getComputedStyle(document.querySelector('.panels text')).fill")
    assert axis == ink


def choose(page: Page, number: int, value: str) -> None:
    """As if a user chose `value` in the maps' list of methods (0) or variables (1)."""
    chosen = f"document.querySelectorAll('.maps select')[{number}]"
    page.ask(f"{chosen}.value = '{value}'; {chosen}.dispatchEvent(new Event('change'))")


def test_the_slider_moves_by_keyboard_through_all_layers(page: Page) -> None:
    page.look(1280)
    choose(page, 0, "ddgan")
    page.ask("document.querySelector('.maps input[type=range]').focus()")
    shown = "[document.querySelector('.maps output').textContent, document.querySelector('.stack img.shown').src]"
    seen = [page.ask(shown)]
    for _ in range(4):
        page.press("ArrowRight", 39)
        seen.append(page.ask(shown))
    assert [name for name, _ in seen] == ["coarse", "ensemble mean", "member 1", "member 2", "truth"]
    assert len({picture for _, picture in seen}) == 5
    page.press("ArrowLeft", 37)
    assert page.ask(shown) == seen[3]
    assert page.ask("[...document.querySelectorAll('.stack img')].every(i => i.complete && i.naturalWidth > 1)")
    choose(page, 1, "u10")
    assert page.ask(shown)[0] == "member 2"  # another variable keeps the layer
    assert "m s-1" in page.ask("document.querySelector('.scale').textContent")


def test_one_table_at_a_time_and_methods_are_hidden(page: Page) -> None:
    visible = "[...document.querySelectorAll('.table')].filter(t => !t.hidden).map(t => t.dataset.of)"
    assert page.ask(visible) == ["all"]
    page.ask("document.querySelector('.pick input[value=u10]').click()")
    assert page.ask(visible) == ["u10"]
    parts = "[...document.querySelectorAll('.panels .s0')].map(p => getComputedStyle(p).display)"
    assert set(page.ask(parts)) == {"inline"}
    page.ask("document.querySelector('.legend input[value=\"0\"]').click()")
    assert set(page.ask(parts)) == {"none"}


def test_a_crowd_of_methods_is_hidden_and_shown_at_once(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"a_method_that_has_quite_a_long_name_indeed_{i}", members=2, nfe=i + 1, error=1.0)
        for i in range(8)
    ]
    html = write_page(make_studies([read_run(run) for run in runs]), [], tmp_path)
    assert BROWSER is not None
    with Page(BROWSER, tmp_path / "browser") as page:
        page.look(360)
        page.open(html)
        assert page.ask("document.documentElement.scrollWidth") <= 360 and page.complaints == []
        visible = (
            "[...document.querySelectorAll('.panels .s')].filter(p => getComputedStyle(p).display !== 'none').length"
        )
        every = page.ask(visible)
        page.ask("document.querySelector('.legend button[data-shown=\"\"]').click()")
        assert page.ask(visible) == 0 < every
        page.ask("document.querySelector('.legend input[value=\"3\"]').click()")
        assert 0 < page.ask(visible) < every
        page.ask("document.querySelector('.legend button').click()")
        assert page.ask(visible) == every
