"""The page in a browser: it asks nothing of anyone, and what it offers works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import Browser, program

from bench.report import main

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Chromium")
FAULTS = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
FIGURES = "learning_curves,accuracy,success,scores,spectral_radius,gate_spectral_radius,time_to_solve"
OVERVIEW, COMPARISONS = "#table-overview table", "#table-comparisons table"


@pytest.fixture(scope="module")
def page(make_up: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    only = ("evaluations", "spectrum", "state_jacobian")
    results = make_up(tmp_path_factory.mktemp("page") / "quick", seeds=2, only=only, experiment="quick")
    assert main([str(results), "--only", FIGURES]) == 0
    return results / "report" / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.width(1280)
        yield browser


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    return browser


def column(browser: Browser, number: int, table: str = OVERVIEW) -> list[str]:
    """The visible cells of a column."""
    rows = f"[...document.querySelectorAll('{table} tbody tr')].filter(row => !row.hidden)"
    return list(browser.ask(f"{rows}.map(row => row.cells[{number}].textContent)"))


def click(browser: Browser, number: int, table: str = OVERVIEW) -> str:
    """Click on a column's head, and return how it says to be sorted then."""
    head = f"document.querySelectorAll('{table} thead th')[{number}]"
    return str(browser.ask(f"{head}.firstChild.click(); {head}.getAttribute('aria-sort')"))


def test_nothing_is_asked_of_anyone_and_nothing_goes_wrong(opened, page):
    asked = [e["params"]["request"]["url"] for e in opened.events if e["method"] == "Network.requestWillBeSent"]
    assert asked[0] == page.as_uri()
    assert all(url.startswith("data:image/svg+xml;base64,") for url in asked[1:])
    assert not [event for event in opened.events if event["method"] in FAULTS]


def test_every_image_is_drawn_in_the_shape_that_it_says(opened):
    """In one turn of the page: a chart that is drawn meanwhile would take the place of an image."""
    still = "document.querySelectorAll('.has-live').forEach(figure => figure.classList.remove('has-live'))"
    shapes = "[...document.images].map(i => [i.naturalWidth / i.naturalHeight, i.width / i.height, i.clientWidth])"
    images = opened.ask(f"({still}, {shapes})")
    assert len(images) > 5
    for natural, shown, width in images:
        assert shown == pytest.approx(natural, rel=0.02)
        assert width > 100


def test_a_click_sorts_numbers_by_size_and_a_second_one_turns_them_round(opened):
    before = column(opened, 9)
    assert click(opened, 9) == "ascending"
    scores = [float(text.split()[0]) for text in column(opened, 9)]
    assert scores == sorted(scores)
    assert sorted(before) == sorted(column(opened, 9))
    assert click(opened, 9) == "descending"
    assert [float(text.split()[0]) for text in column(opened, 9)] == sorted(scores, reverse=True)


def test_words_are_sorted_as_words_and_only_one_column_says_that_it_is(opened):
    click(opened, 9)
    click(opened, 1)
    cells = column(opened, 1)
    assert cells == sorted(cells)
    heads = f"[...document.querySelectorAll('{OVERVIEW} thead th')].map(head => head.getAttribute('aria-sort'))"
    assert opened.ask(heads)[:3] == [None, "ascending", None]


def test_times_with_and_without_a_sign_are_one_order_and_missing_ones_come_last(opened):
    runs = "#runs ~ details table"
    opened.ask("document.querySelector('#runs ~ details').open = true")
    for _ in range(2):
        click(opened, 6, runs)
        times = column(opened, 6, runs)
        filled = [float(text) for text in times if text != "–"]
        assert times[len(filled) :] == ["–"] * (len(times) - len(filled))
        assert filled in (sorted(filled), sorted(filled, reverse=True))


def test_a_number_is_more_than_its_digits(opened):
    """As words, > 3000 comes before 1900 and 4.1k before 900."""
    body = f"document.querySelector('{OVERVIEW}').tBodies[0]"
    given = ["4.1k", "-2", "> 3000", "900", "∞", "1e-3", "+.5", "–", "1.25M"]
    opened.ask(f"[...{body}.rows].slice({len(given)}).forEach(row => row.remove())")
    opened.ask(f"{given}.forEach((text, k) => {{ {body}.rows[k].cells[8].textContent = text }})")
    assert click(opened, 8) == "ascending"
    assert column(opened, 8) == ["-2", "1e-3", "+.5", "900", "> 3000", "4.1k", "1.25M", "∞", "–"]


def test_the_heads_are_buttons_for_the_keyboard(opened):
    opened.ask(f"document.querySelector('{OVERVIEW} thead button').focus()")
    assert opened.ask("document.activeElement.tagName") == "BUTTON"
    for kind in ("rawKeyDown", "char", "keyUp"):
        opened.tell("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert opened.ask(f"document.querySelector('{OVERVIEW} thead th').getAttribute('aria-sort')") == "ascending"


def test_a_filter_leaves_the_rows_with_all_its_words_and_says_how_many(opened):
    box = "document.querySelector('#table-overview input')"
    label = opened.ask(f"{box}.labels[0].textContent")
    assert label.strip() == "Filter rows"
    opened.ask(f"{box}.value = 'LSTM copying'; {box}.dispatchEvent(new Event('input'))")
    assert set(zip(column(opened, 0), column(opened, 1), strict=True)) == {("copying", "lstm")}
    assert opened.ask("document.querySelector('#table-overview output').textContent") == "3 of 18 rows"
    opened.ask(f"{box}.value = ''; {box}.dispatchEvent(new Event('input'))")
    assert len(column(opened, 0)) == 18


@pytest.mark.parametrize(
    ("text", "count"),
    [("copying 1", 3), ("clip 1", 6), ("copying clip=none cell=lstm", 1), ("score>0.5 tanh", 0), ("", 18)],
)
def test_a_filter_may_name_the_column(opened, text, count):
    box = "document.querySelector('#table-overview input')"
    opened.ask(f"{box}.value = '{text}'; {box}.dispatchEvent(new Event('input'))")
    assert len(column(opened, 0)) == count


def test_a_setting_that_is_not_chosen_is_hidden_in_every_table(opened):
    box = "document.querySelector('.axes input[data-axis=clip][value=none]')"
    opened.ask(f"{box}.click()")
    assert set(column(opened, 2)) == {"1", "10"}
    assert set(column(opened, 3, "#runs ~ details table")) == {"1", "10"}
    compared = list(zip(column(opened, 1, COMPARISONS), column(opened, 2, COMPARISONS), strict=True))
    assert compared
    assert all("none" not in text and "no clipping" not in text for row in compared for text in row)
    opened.ask(f"{box}.click()")
    assert len(column(opened, 0)) == 18


def test_a_copy_button_says_that_it_has_copied(opened):
    button = "document.querySelector('#table-overview button.copy')"
    opened.ask(f"{button}.click()")
    assert opened.ask(f"new Promise(done => setTimeout(() => done({button}.textContent), 200))") == "Copied"
    assert opened.ask("document.querySelector('#table-overview button.copy').dataset.copy").startswith("% needs")


def test_in_the_dark_the_page_is_dark_and_its_figures_are_legible(opened):
    def colours() -> list[str]:
        of = ("document.body", "document.querySelector('.white')")
        return [opened.ask(f"getComputedStyle({element}).backgroundColor") for element in of]

    assert colours() == ["rgb(255, 255, 255)", "rgb(255, 255, 255)"]
    with opened.media(prefers_color_scheme="dark"):
        assert colours() == ["rgb(20, 24, 28)", "rgb(255, 255, 255)"]  # black on white, framed


def test_on_paper_controls_are_gone_and_the_runs_are_there(opened):
    def shown(selector: str) -> bool:
        return bool(
            opened.ask(f"document.querySelector('{selector}').checkVisibility({{contentVisibilityAuto: true}})")
        )

    assert shown("nav")
    with opened.media("print"):
        assert not shown("nav")
        assert not shown(".filter")
        assert opened.ask("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert opened.printed().startswith(b"%PDF")


def test_on_a_narrow_screen_only_tables_scroll_sideways(opened):
    opened.width(400)
    try:
        assert opened.ask("document.documentElement.scrollWidth") <= 400
        assert opened.ask("document.querySelector('.scroll').scrollWidth") > 400
    finally:
        opened.width(1280)


def test_on_a_narrow_screen_no_cell_is_a_column_of_letters(opened):
    opened.ask("document.querySelectorAll('details').forEach(part => { part.open = true })")
    opened.width(390)
    try:
        cells = opened.ask(
            "[...document.querySelectorAll('th, td')].map(c => [c.innerText, c.clientWidth, c.clientHeight])"
        )
        shown = [(text, width, height) for text, width, height in cells if text.strip() and width]
        assert len(shown) > 200
        assert not [text for text, width, height in shown if height > 100 and width < 250]
        claim = "document.querySelector('.claims tbody tr').children"
        tops = opened.ask(f"[...{claim}].map(part => part.getBoundingClientRect().top)")
        assert tops == sorted(tops)
        assert len(set(tops)) > 2  # one below the other
    finally:
        opened.width(1280)


def test_of_a_table_that_is_wider_than_the_page_the_first_column_stays_and_the_last_can_be_reached(opened):
    opened.width(390)
    box = "document.querySelector('#table-comparisons .scroll')"
    try:
        assert opened.ask(f"{box}.scrollWidth") > opened.ask(f"{box}.clientWidth") == 350
        opened.ask(f"{box}.scrollLeft = 1e6")
        edges = [
            f"{box}.querySelector('tbody {cell}').getBoundingClientRect().{edge} - {box}.getBoundingClientRect().{edge}"
            for cell, edge in (("th", "left"), ("td:last-child", "right"))
        ]
        assert [abs(opened.ask(edge)) < 1 for edge in edges] == [True, True]
    finally:
        opened.width(1280)


# On demand


def wait(browser: Browser, expression: str) -> None:
    """Until it holds, ten seconds at most."""
    again = f"({expression}) ? done(true) : k > 200 ? done(false) : setTimeout(() => look(k + 1), 50)"
    told = f"new Promise(done => {{ const look = k => {again}; look(0); }})"
    assert browser.ask(told), expression


def test_every_run_has_a_part_that_opens_and_closes(opened):
    run = opened.ask("document.querySelector('tr[id^=row-]').id").removeprefix("row-")
    wait(opened, "document.querySelector('tr[id^=row-] a')")
    opened.ask(f"location.hash = 'run-{run}'")
    wait(opened, "document.getElementById('one-run').open")
    told = opened.ask("document.getElementById('one-run').textContent")
    for word in (f"Run {run}", "score", "config.yaml", "run.log", "clipping.threshold"):
        assert word in told
    opened.ask("[...document.querySelectorAll('#one-run a')].find(a => a.textContent.includes('next')).click()")
    wait(opened, f"!document.querySelector('#one-run h2').textContent.includes('{run}')")
    opened.ask("[...document.querySelectorAll('#one-run button')].find(b => b.textContent === 'Close').click()")
    assert opened.ask("document.getElementById('one-run').open") is False
    wait(opened, "location.hash === ''")


def test_two_settings_stand_side_by_side_with_what_differs_and_the_test_between_them(opened):
    opened.ask("document.getElementById('compare').scrollIntoView()")
    wait(opened, "document.querySelector('#compare table')")
    told = opened.ask("document.getElementById('compare').textContent")
    assert "/2 solved" in told
    assert "p, two-sided, of this comparison alone" in told
    first, second = (f"document.querySelectorAll('#compare select')[{k}]" for k in range(2))
    chosen = "{0}.value = {1}; {0}.dispatchEvent(new Event('input', {{bubbles: true}}))"
    opened.ask(chosen.format(first, 0) + ";" + chosen.format(second, 1))
    wait(opened, "document.querySelector('#compare table').textContent.includes('clipping.threshold110')")
    opened.ask(chosen.format(second, f"{second}.length - 1"))
    wait(opened, "document.querySelector('#compare').textContent.includes('different tasks')")


@pytest.mark.skipif(
    find_spec("vl_convert") is None, reason="the page draws no interactive figure without vl-convert-python"
)
def test_figures_are_drawn_to_look_around_in_and_follow_what_is_chosen(opened):
    opened.ask("document.getElementById('learning_curves').scrollIntoView()")
    wait(opened, "document.querySelector('#learning_curves canvas')")
    assert opened.ask("getComputedStyle(document.querySelector('#learning_curves .white')).display") == "none"
    height = opened.ask("document.querySelector('#learning_curves canvas').clientHeight")
    opened.ask("document.querySelector('.axes input[data-axis=clip][value=none]').click()")
    wait(opened, f"document.querySelector('#learning_curves canvas')?.clientHeight < {height} - 50")
    opened.ask("document.querySelector('#learning_curves .fixed input').click()")
    assert opened.ask("document.querySelector('#learning_curves .white').checkVisibility()")
    with opened.media("print"):
        shown = "getComputedStyle(document.querySelector('#scores .{}')).display"
        assert (opened.ask(shown.format("live")), opened.ask(shown.format("white"))) == ("none", "block")
    opened.ask("location.hash = 'run-' + document.querySelector('tr[id^=row-]').id.slice(4)")
    wait(opened, "document.querySelectorAll('#one-run canvas').length >= 3")
    opened.ask("document.getElementById('one-run').close()")
    assert not [event for event in opened.events if event["method"] in FAULTS]
