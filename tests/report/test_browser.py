"""The reports in a real browser: nothing missing, nothing complained of, nothing wider than the window."""

import base64
import contextlib
import io
import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from aepretrain.report.colours import LIGHT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CLASS_COLOURS = [[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in LIGHT.series]
DRIVER = shutil.which("chromedriver")
webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install aepretrain[dev]")
pytestmark = [
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="no chromium with chromedriver on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def reports(run, comparison):
    return {"fit": run / "report.html", "compare": comparison / "report.html"}


@pytest.fixture(scope="module")
def browser():
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    with contextlib.suppress(OSError):
        driver.quit()


def look(browser, path, *, width, scheme="light"):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get(path.as_uri())
    return browser.execute_script


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_everything_is_there_and_nothing_overflows(reports, browser, verb, scheme, width):
    ask = look(browser, reports[verb], width=width, scheme=scheme)
    assert ask("return innerWidth") == width
    assert ask("return document.documentElement.scrollWidth") <= width
    images = ask("return [...document.images].map(image => [image.complete, image.naturalWidth, image.width])")
    assert len(images) >= 3
    assert all(complete and natural > 0 and 0 < shown <= width for complete, natural, shown in images)
    charts = ask("return [...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().toJSON())")
    assert len(charts) >= 8
    assert all(chart["width"] > 100 and chart["height"] > 50 and chart["right"] <= width for chart in charts)
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_what_is_wider_than_the_window_scrolls_by_itself(reports, browser, verb):
    ask = look(browser, reports[verb], width=400)
    wide = """return [...document.querySelectorAll('section *')]
        .filter(e => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll, pre, svg'))
        .map(e => e.outerHTML.slice(0, 80))"""
    assert ask(wide) == []


@pytest.mark.parametrize("verb", ["fit", "compare"])
def test_no_two_elements_share_an_id(reports, browser, verb):
    ids = look(browser, reports[verb], width=1400)("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids)) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_follow_the_theme_and_text_can_be_read(reports, browser, scheme):
    ask = look(browser, reports["fit"], width=1400, scheme=scheme)
    brightness = """const parse = c => c.match(/[\\d.]+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3;
        const style = e => getComputedStyle(document.querySelector(e));
        return [parse(style('body').backgroundColor), parse(style('body').color), parse(style('svg text').fill)]"""
    ground, words, chart = ask(brightness)
    assert abs(ground - words) > 150
    assert abs(ground - chart) > 80
    assert (ground > 128) == (scheme == "light")


def test_every_dot_of_an_embedding_is_painted(reports, browser):
    ask = look(browser, reports["fit"], width=1400)
    place = ask("""const chart = document.querySelector('svg[aria-label^="PCA of raw"]').getBoundingClientRect();
        return {x: chart.x, y: chart.y + scrollY, width: chart.width, height: chart.height, scale: 1}""")
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": place})
    with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int).reshape(-1, 3)
    painted = {tuple(colour): int((np.abs(pixels - colour).max(axis=1) < 40).sum()) for colour in CLASS_COLOURS}
    assert min(painted.values()) > 100, painted


def test_on_paper_the_ground_is_white_and_all_seeds_are_open(reports, browser):
    ask = look(browser, reports["compare"], width=1400, scheme="dark")
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert ask("return [...document.querySelectorAll('details')].every(d => d.open)")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    colours = ask("return [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert colours[0] == "rgb(255, 255, 255)", json.dumps(colours)
