"""The page in Chromium: photos are dropped, protected and downloaded."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.web import served

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
exceptions = pytest.importorskip("selenium.common.exceptions")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="Chromium is not installed (Debian: apt-get install chromium chromium-driver)",
)
PHONE, DESK = (390, 844), (1440, 900)
# of a text on what is behind it, at least: WCAG 2.2, level AA
CONTRAST = 4.5


@dataclass(frozen=True)
class Browser:
    """A browser on the page."""

    driver: Any
    address: str

    def see(self, query: str, seconds: float = 120) -> Any:
        """Wait for something to be seen."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(
                exceptions.StaleElementReferenceException
            ):  # the page drew itself anew meanwhile
                for element in self.driver.find_elements("css selector", query):
                    if element.is_displayed():
                        return element
            time.sleep(0.1)
        raise AssertionError(f"{query} is not seen; the page says {self.text('main')}")

    def text(self, query: str) -> str:
        return self.driver.find_element("css selector", query).text

    def drop(self, files: list[Path]) -> None:
        """Drop files on the zone, as a hand does."""
        box = self.driver.find_element("id", "drop").rect
        for kind in ("dragEnter", "dragOver", "drop"):
            self.driver.execute_cdp_cmd(
                "Input.dispatchDragEvent",
                {
                    "type": kind,
                    "x": box["x"] + box["width"] / 2,
                    "y": box["y"] + box["height"] / 2,
                    "data": {"items": [], "files": [*map(str, files)], "dragOperationsMask": 1},
                },
            )

    def resize(self, size: tuple[int, int]) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": size[0],
                "height": size[1],
                "deviceScaleFactor": 1,
                "mobile": size == PHONE,
            },
        )

    def prefer(self, scheme: str) -> None:
        """Prefer light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def requests(self) -> list[str]:
        """Return what was asked for since this was last called."""
        told = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        return [
            e["params"]["request"]["url"]
            for e in told
            if e["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # without a sandbox, which root may not have, and without the small /dev/shm of containers
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with served(tmp_path_factory.mktemp("root")) as (address, keys):
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        try:
            driver.get(f"{address}/?key={keys.lasting}")
            yield Browser(driver, address)
        finally:
            driver.quit()


@pytest.fixture(scope="module")
def protected(browser: Browser, sample_files: list[Path]) -> Browser:
    """The page once a photo and a folder of photos were dropped and protected."""
    folder = sample_files[0].parent / "trip"
    if not folder.exists():
        folder.mkdir()
        shutil.copy(sample_files[1], folder)
        (folder / ".DS_Store").touch()
    browser.resize(DESK)
    browser.drop([sample_files[0], folder])
    browser.see("#preview .pair")
    assert browser.text("#count") == "2 photos"
    browser.see("#go").click()
    browser.see("#results .pair")
    return browser


def test_a_photo_is_dropped_protected_and_downloaded(
    protected: Browser, sample_files: list[Path], tmp_path: Path
) -> None:
    assert "This says nothing about other models." in protected.text("#words")
    how = {"behavior": "allow", "downloadPath": str(tmp_path)}
    protected.driver.execute_cdp_cmd("Browser.setDownloadBehavior", how)
    protected.see("#download").click()
    file = tmp_path / "protected photos.zip"
    assert waited(file.exists)
    with zipfile.ZipFile(file) as photos:
        names = {sample_files[0].name, f"trip/{sample_files[1].name}"}
        assert names < set(photos.namelist())


def test_the_slider_shows_more_of_the_protected_photo(protected: Browser) -> None:
    show = "return getComputedStyle(document.querySelector('#pairs .after')).clipPath"
    before = protected.driver.execute_script(show)
    slider = protected.see("#pairs input[type=range]")
    slider.send_keys("\ue014" * 20)  # arrow to the right
    assert protected.driver.execute_script(show) != before


def test_the_magnifier_is_had_by_keyboard(protected: Browser) -> None:
    pair = protected.see("#pairs .pair")
    pair.send_keys("\ue015")  # arrow down, which the focus comes with
    loupes = protected.driver.find_elements("css selector", "#pairs figure:first-child .loupe")
    assert len(loupes) == 2 and all(loupe.is_displayed() for loupe in loupes)
    # one pixel of the photo on one of the screen
    wide = protected.driver.find_element("css selector", "#pairs img").get_attribute("width")
    size = protected.driver.execute_script("return arguments[0].style.backgroundSize", loupes[0])
    assert size.startswith(f"{wide}px ")


def test_edits_are_tried_by_keyboard_alone(protected: Browser) -> None:
    tab = protected.driver.find_element("id", "tab-protect")
    tab.send_keys("\ue014")
    assert protected.driver.switch_to.active_element.get_attribute("id") == "tab-try"
    protected.see("#try-prompt").send_keys("\ue007")  # enter
    protected.see("#try-result .grid img")
    pictures = protected.driver.find_elements("css selector", "#try-result .grid img")
    assert len(pictures) == 4 and all(p.get_attribute("alt") for p in pictures)
    protected.see("#left table")
    assert len(protected.driver.find_elements("css selector", "#left tbody tr")) == 2
    protected.driver.find_element("id", "tab-try").send_keys("\ue012")
    assert protected.see("#results")


def test_nothing_is_asked_of_anybody_else(protected: Browser) -> None:
    """Whatever was done before: every request is counted."""
    asked = protected.requests()
    assert len(asked) > 10
    own = (f"{protected.address}/", f"blob:{protected.address}/", "data:")
    assert [url for url in asked if not url.startswith(own)] == []
    # nor did the policy have to forbid anything, or a script fail
    assert [e for e in protected.driver.get_log("browser") if e["level"] == "SEVERE"] == []


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_nothing_is_wider_than_the_screen(protected: Browser, size: tuple[int, int]) -> None:
    protected.resize(size)
    wide = "return document.documentElement.scrollWidth"
    for tab in ("tab-try", "tab-protect"):
        protected.driver.find_element("id", tab).click()
        assert protected.driver.execute_script(wide) <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(protected: Browser, scheme: str) -> None:
    protected.prefer(scheme)
    found = protected.driver.execute_script(
        """
        const number = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const bright = (colour) => {
          const [r, g, b] = number(colour).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const behind = (element) => {
          for (let e = element; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (number(colour)[3] !== 0) return colour;
          }
          return "rgb(255, 255, 255)";
        };
        return [...document.querySelectorAll("h1, h2, p, b, i, a, button, label, summary, legend")]
          .filter((e) => e.textContent.trim() && !e.classList.contains("remove"))
          .map((e) => {
            const [a, b] = [getComputedStyle(e).color, behind(e)].map(bright);
            return [e.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
          });
        """
    )
    assert len(found) > 20
    assert [(text, round(c, 1)) for text, c in found if c < CONTRAST] == []
    back = "return getComputedStyle(document.body).backgroundColor"
    colour = protected.driver.execute_script(back)
    assert (max(map(int, colour[4:-1].split(","))) < 80) == (scheme == "dark")


def test_all_that_can_be_used_has_a_name(protected: Browser) -> None:
    """As a screen reader is told it, on both tabs."""
    roles = ("button", "link", "radio", "checkbox", "textbox", "slider", "tab", "tabpanel")
    seen = set()
    for tab in ("tab-try", "tab-protect"):
        protected.driver.find_element("id", tab).click()
        tree = protected.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        for node in tree:
            role = node.get("role", {}).get("value")
            if role in roles and not node["ignored"]:
                seen.add(role)
                assert node["name"]["value"].strip(), node
    assert {"button", "link", "radio", "textbox", "slider", "tab", "tabpanel"} <= seen


def test_what_is_no_photo_is_said_beside_the_zone(protected: Browser, tmp_path: Path) -> None:
    """And starting over deletes everything."""
    protected.resize(DESK)
    protected.see("#anew").click()
    protected.see("#drop")
    assert waited(lambda: not protected.driver.find_elements("css selector", "#photos li"))
    (tmp_path / "notes.png").write_text("no photo")
    protected.drop([tmp_path / "notes.png"])
    protected.see("#not-taken")
    assert "notes.png is not a photo in a known format" in protected.text("#not-taken")


def waited(condition: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.1)
    return condition()
