"""The HTML page in a real browser: chromium, driven without a window."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import NOON, make_recording, make_result, make_run

import callmood
from callmood.results.store import Store
from callmood.types import CallResult

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)"
)

HOSTILE = {
    "script": "<script>window.hacked = 1</script>",
    "image": "<img src=x onerror='window.hacked = 2'>",
    "quotes": '"\' onmouseover="window.hacked = 3" x=\'',
    "formula": "=cmd|' /C calc'!A0",
    "close": "</title></style></svg></script><b>bold</b>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "address": "https://example.org/x.png",
    "unicode": "Zoë 李小龙 😀",
    "arabic": "وكيل-7",
}
"""As agents and as calls. Each must be on the page as the text that it is."""
OVERRIDE = "\u202egnp.exe\u0007"
"""Turns the direction of what follows it, and rings a bell: escaped."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Agents with one to three calls, of which one escalated, and hostile names of agents, calls and queues."""
    folder = tmp_path_factory.mktemp("page")
    run = make_run()
    with Store(folder / "calls.duckdb") as store:
        store.begin_run(run)

        def write(call_id: str, *, escalated: bool = True, **metadata: Any) -> None:
            result = make_result(call_id, started_at=NOON, **metadata)
            assert result.analysis is not None
            if not escalated:
                result = replace(result, analysis=replace(result.analysis, escalations=()))
            store.write(result, run, analyzed_at=NOON)

        for agent, calls in (("agent-9", 1), ("agent-10", 3), ("Bert", 2)):
            for number in range(calls):
                write(f"{agent}-{number}", escalated=number == 0, agent_id=agent)
        broken = CallResult(recording=make_recording("broken", agent_id="nobody"), status="failed", error="x")
        store.write(broken, run, analyzed_at=NOON)
        for text in (*HOSTILE.values(), OVERRIDE):
            write(text, agent_id=text, queue=text)
    callmood.write_page(folder / "report.html", db=folder / "calls.duckdb")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,900",
        "--force-prefers-reduced-motion",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The browser, with the page freshly opened from the file."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def emulate(browser: Any, *, media: str = "", scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )


def column(browser: Any, table: str, number: int) -> list[str]:
    """The texts of a column of a table, from above."""
    return browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map(cell => cell.innerText)",
        f"#{table} tbody tr > :nth-child({number})",
    )


def heading(browser: Any, table: str, text: str) -> Any:
    from selenium.webdriver.common.by import By

    return next(
        found
        for found in browser.find_elements(By.CSS_SELECTOR, f"#{table} thead th")
        if found.text.startswith(text)
    )


def button(browser: Any, table: str, text: str) -> Any:
    from selenium.webdriver.common.by import By

    return heading(browser, table, text).find_element(By.TAG_NAME, "button")


def test_it_opens_without_an_error_and_asks_the_network_for_nothing(opened: Any, page: Path) -> None:
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    requested = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]

    assert requested == [page.as_uri()]
    assert opened.get_log("browser") == []


def test_a_click_sorts_numbers_from_the_largest_and_again_from_the_smallest(opened: Any) -> None:
    button(opened, "agents", "Calls").click()
    assert column(opened, "agents", 2)[:3] == ["3", "2", "1"]
    assert column(opened, "agents", 1)[:2] == ["agent-10", "Bert"]
    assert heading(opened, "agents", "Calls").get_attribute("aria-sort") == "descending"

    button(opened, "agents", "Calls").click()
    assert column(opened, "agents", 2)[-2:] == ["2", "3"]
    assert heading(opened, "agents", "Calls").get_attribute("aria-sort") == "ascending"


def test_only_the_sorted_column_says_that_it_is(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    for text, state in (("Escalated, shrunk", "descending"), ("Agent", "ascending")):
        if text == "Agent":
            button(opened, "agents", text).click()
        marked = opened.find_elements(By.CSS_SELECTOR, "#agents th[aria-sort]")
        assert [(found.text, found.get_attribute("aria-sort")) for found in marked] == [(text, state)]


def test_names_sort_as_people_count_them(opened: Any) -> None:
    button(opened, "agents", "Agent").click()
    names = column(opened, "agents", 1)

    assert names.index("agent-9") < names.index("agent-10") < names.index("Bert")


def test_what_is_not_known_stays_at_the_end_both_ways(opened: Any) -> None:
    for _ in range(2):
        button(opened, "agents", "Hours").click()
        assert column(opened, "agents", 1)[-1] == "nobody"
        assert column(opened, "agents", 3)[-1] == "–"


@pytest.mark.parametrize("key", ["ENTER", "SPACE"])
def test_the_keyboard_sorts(opened: Any, key: str) -> None:
    from selenium.webdriver.common.keys import Keys

    # From the heading of the first column, one tab away from the second.
    opened.execute_script("arguments[0].focus()", button(opened, "agents", "Agent"))
    opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.switch_to.active_element.text == "Calls"
    opened.switch_to.active_element.send_keys(getattr(Keys, key))

    assert column(opened, "agents", 2)[:3] == ["3", "2", "1"]
    # The keyboard's place is not lost, and can be seen.
    assert opened.switch_to.active_element.text == "Calls"
    assert opened.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


CONTRASTS = """
const luminance = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
const ground = element => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return rgb(colour);
  }
};
return arguments[0].map(([selector, property]) => {
  const element = document.querySelector(selector);
  const [a, b] = [luminance(rgb(getComputedStyle(element)[property])), luminance(ground(element))];
  return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
});
"""
TEXTS = ["h1", "p.soft", "nav a", "caption", "thead th", "td .beside", "#escalations a", ".flag", ".tiles dt"]
SIGNS = [".line.agent", ".line.customer", ".onset", ".peak"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_lines_stand_out_in_light_and_in_dark(opened: Any, scheme: str) -> None:
    emulate(opened, scheme=scheme)
    ground = opened.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 150) is (scheme == "dark")

    # WCAG 2.2: 4.5 for text, 3 for what must be seen to understand.
    low = [
        *(
            found
            for found in opened.execute_script(CONTRASTS, [[s, "color"] for s in TEXTS])
            if found[1] < 4.5
        ),
        *(
            found
            for found in opened.execute_script(CONTRASTS, [[s, "stroke"] for s in SIGNS])
            if found[1] < 3
        ),
    ]
    assert low == []


def test_speakers_are_told_apart_without_colour(opened: Any) -> None:
    dashes = opened.execute_script(
        "return ['agent', 'customer'].map("
        "role => getComputedStyle(document.querySelector(`.card .line.${role}`)).strokeDasharray)"
    )
    assert dashes == ["5px, 4px", "none"]


def test_printed_it_is_black_on_white_and_whole(opened: Any) -> None:
    emulate(opened, media="print", scheme="dark")
    style = opened.execute_script(
        "const of = (selector, property) => getComputedStyle(document.querySelector(selector))[property];"
        "return [of('body', 'backgroundColor'), of('body', 'color'), of('nav', 'display'),"
        " of('.scroll', 'maxHeight'), of('.card', 'breakInside')]"
    )
    assert style == ["rgb(255, 255, 255)", "rgb(0, 0, 0)", "none", "none", "avoid"]
    emulate(opened)
    printed = opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(printed["data"]) > 10_000


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_screens_scroll_tables_and_not_the_page(opened: Any, width: int) -> None:
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": False},
    )
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_shown_as_text(opened: Any, text: str) -> None:
    assert text in column(opened, "agents", 1)
    assert column(opened, "escalations", 1).count(text) == column(opened, "escalations", 3).count(text) == 1
    assert (
        opened.execute_script(
            "return [...document.querySelectorAll('.card h3')].map(heading => heading.innerText)"
        ).count(text)
        == 1
    )


def test_hostile_names_run_and_make_nothing(opened: Any) -> None:
    assert opened.execute_script("return window.hacked") is None
    assert opened.execute_script(
        "return ['script', 'img', 'b:not(.facts b)', '[onmouseover]', 'a:not([href^=\"#\"])']"
        ".map(selector => document.querySelectorAll(selector).length)"
    ) == [1, 0, 0, 0, 0]
    # Steering characters are written out; a name of the other direction leaves its neighbours alone.
    assert "\\u202egnp.exe\\x07" in column(opened, "agents", 1)
    assert opened.execute_script(
        "return [...document.querySelectorAll('#agents tbody th > *')].every(e => e.tagName === 'BDI')"
    )


def test_the_policy_stops_scripts_and_styles_that_are_not_the_pages_own(opened: Any) -> None:
    opened.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.hacked = 4';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<p id=styled style=\"color: red\">x</p>')"
    )
    assert opened.execute_script("return window.hacked") is None
    assert (
        opened.execute_script("return getComputedStyle(document.querySelector('#styled')).color")
        != "rgb(255, 0, 0)"
    )


def test_an_escalation_leads_to_its_call(opened: Any) -> None:
    from selenium.webdriver.common.by import By

    link = next(
        found for found in opened.find_elements(By.CSS_SELECTOR, "#escalations a") if found.text == "Bert-0"
    )
    link.click()
    target = opened.find_element(By.CSS_SELECTOR, ".card:target")
    assert target.find_element(By.TAG_NAME, "h3").text == "Bert-0"
    assert (
        target.find_element(By.CSS_SELECTOR, "svg title")
        .get_attribute("textContent")
        .startswith("Negativity over time in call Bert-0. Flagged, since")
    )
    assert len(target.find_elements(By.CSS_SELECTOR, ".flagbox")) == 1


def test_tables_and_headings_are_named_for_those_who_listen(opened: Any) -> None:
    levels = opened.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3')].map(heading => Number(heading.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert opened.execute_script(
        "return [...document.querySelectorAll('table')].every(t => t.caption && t.caption.innerText)"
        " && [...document.querySelectorAll('th')].every(th => th.scope)"
        " && [...document.querySelectorAll('[aria-labelledby]')]"
        ".every(e => document.getElementById(e.getAttribute('aria-labelledby')))"
        " && new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
        " === document.querySelectorAll('[id]').length"
    )


def test_without_scripts_everything_can_be_read(browser: Any, opened: Any, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page.as_uri() + "?without")
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    said = {(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node}

    assert ("rowheader", "agent-10") in said
    assert ("columnheader", "Calls escalated") in said
    assert ("heading", "Bert-0") in said
    # The buttons that sort are the script's.
    assert not [name for role, name in said if role == "button"]
    assert any(
        role == "image" and name.startswith("Negativity over time in call Bert-0") for role, name in said
    )
