"""The page in a real Chromium: what reacts, what a phone shows, and that nothing is asked for."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from report_runs import copy_of, trained, unfinished_copy

from npmlp.predictions import Predictions
from npmlp.report.compare import compare, render_comparison
from npmlp.report.metrics import class_metrics
from npmlp.report.page import render_page
from npmlp.report.page_read import read_run
from npmlp.report.page_run import Results

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium is installed (on Debian: apt install chromium)"
)

PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        yield found
        found.close()


@pytest.fixture(scope="module")
def results(finished: Path) -> Results:
    found = read_run(finished).results()
    assert found is not None
    return found


def of_many_classes(results: Results) -> Results:
    """The same network with answers as if to wide images of 26 classes with long names."""
    rng = np.random.default_rng(0)
    p = Predictions(
        images=rng.integers(0, 256, (300, 9, 90), np.uint8),
        labels=rng.integers(0, 26, 300),
        probabilities=rng.dirichlet(np.ones(26), 300).astype(np.float32),
        classes=tuple(f"the letter that is called {chr(97 + i)}, in long words" for i in range(26)),
        indices=np.arange(300),
        loss=3.0,
        checkpoint="last.safetensors",
        epoch=3,
    )
    return Results(p, results.network, class_metrics(p))


@pytest.fixture(scope="module")
def pages(
    finished: Path, results: Results, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A finished run's page, one with other data, one of a run just begun, and a comparison."""
    place = tmp_path_factory.mktemp("pages")
    begun = unfinished_copy(finished, place / "begun", epochs=0)
    (begun / "checkpoints" / "last.safetensors").unlink()
    other = trained(place / "another", seed=4)
    runs, _ = compare([finished, begun, other])
    written = {
        "run": render_page(read_run(finished), results),
        "letters": render_page(read_run(finished), of_many_classes(results)),
        "begun": render_page(read_run(begun), None),
        "comparison": render_comparison(runs, place / "comparison.html"),
    }
    for name, content in written.items():
        (place / f"{name}.html").write_text(content, encoding="utf-8")
    return {name: place / f"{name}.html" for name in written}


class Watched:
    """An open page, what it said on the console, and what it asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url[:80]))


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """A function that opens a page from its file; the browser has no network."""
    contexts = []

    def open_page(path: Path, size: dict[str, int] = DESK, **options: Any) -> Watched:
        context = browser.new_context(viewport=size, offline=True, **options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.goto(path.as_uri())
        return watched

    yield open_page
    for context in contexts:
        context.close()


def indices_of(page: Page) -> list[int]:
    """The test images that the panel beside the confusion matrix shows."""
    found: list[int] = page.evaluate(
        "[...document.querySelectorAll('#pair-images li')].map((li) => Number(li.dataset.index))"
    )
    return found


def those(p: Predictions, actual: int, predicted: int) -> set[int]:
    return set(p.indices[(p.labels == actual) & (p.predicted == predicted)].tolist())


def cell(page: Page, actual: int, predicted: int) -> Any:
    return page.locator(f'td[data-true="{actual}"][data-predicted="{predicted}"]')


# ------------------------------------------------------------------------- nothing from outside


@pytest.mark.parametrize("name", ["run", "letters", "begun", "comparison"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_asks_for_nothing_says_nothing_and_fits_a_phone(
    name: str, scheme: str, pages: dict[str, Path], opened: Any
) -> None:
    watched = opened(pages[name], PHONE, color_scheme=scheme, has_touch=True, is_mobile=True)
    for details in watched.page.locator("details > summary").all():
        details.click()
    width, scroll = watched.page.evaluate(
        "[document.documentElement.clientWidth, document.documentElement.scrollWidth]"
    )
    assert (width, scroll) == (360, 360)
    outside = watched.page.evaluate("""() => [...document.querySelectorAll("main *")]
        .filter((e) => !e.closest(".scroll, svg") && e.getBoundingClientRect().right > 360.5)
        .map((e) => e.tagName + "." + e.className)""")
    assert outside == []
    assert watched.said == []
    others = [url for url in watched.asked if not url.startswith("data:")]
    assert others == [pages[name].as_uri()[:80]]


def test_schemes_differ_and_text_is_readable_on_both(pages: dict[str, Path], opened: Any) -> None:
    contrast = """() => {
        const channel = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
        const light = (colours) => {  // of colours painted over each other, as the screen does
            for (const c of colours) { paint.fillStyle = c; paint.fillRect(0, 0, 1, 1); }
            const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((c) => channel(c / 255));
            return [0.2126 * r, 0.7152 * g, 0.0722 * b].reduce((sum, c) => sum + c, 0);
        };
        const below = (e) =>
            e ? [...below(e.parentElement), getComputedStyle(e).backgroundColor] : [];
        const found = [];
        for (const e of document.querySelectorAll("main *")) {
            const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
            if (!own || e.closest("svg, script, noscript, style, [aria-hidden]")) continue;
            const back = below(e), style = getComputedStyle(e);
            const [a, b] = [light(back), light([...back, style.color])].sort((x, y) => y - x);
            found.push([(a + 0.05) / (b + 0.05), e.tagName, e.textContent.slice(0, 30)]);
        }
        return found.sort((x, y) => x[0] - y[0]);
    }"""
    backgrounds = {}
    for scheme in ("light", "dark"):
        page = opened(pages["run"], color_scheme=scheme).page
        found = page.evaluate(contrast)
        assert len(found) > 300
        assert found[0][0] >= 4.5, found[:5]  # WCAG 2.2, 1.4.3, for small text
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        backgrounds[scheme] = [int(n) for n in re.findall(r"\d+", background)]
    assert min(backgrounds["light"]) > 200 and max(backgrounds["dark"]) < 50


def test_without_javascript_everything_but_the_panel_is_there(
    pages: dict[str, Path], opened: Any
) -> None:
    page = opened(pages["run"], java_script_enabled=False).page
    assert page.locator(".chart polyline:visible").count() >= 3
    assert page.locator(".matrix tbody td:visible").count() == 100
    assert page.locator("#mistakes .thumb:visible").count() == 40
    assert page.locator("#classes tbody tr:visible").count() == 10
    assert page.locator(".pairs:visible").count() == 0
    assert not page.get_by_text("Touch a cell").is_visible()


# ------------------------------------------------------------------------- confusion matrix


def test_a_cell_shows_exactly_its_test_images(
    pages: dict[str, Path], results: Results, opened: Any
) -> None:
    page, p = opened(pages["run"]).page, results.predictions
    counts = results.metrics["confusion"]
    for actual in range(10):
        for predicted in range(10):
            if actual == predicted or (actual + predicted) % 4:
                continue
            cell(page, actual, predicted).click()
            assert set(indices_of(page)) == those(p, actual, predicted)
            assert len(indices_of(page)) == counts[actual][predicted]
            title = page.locator("#pair-title").inner_text()
            assert f"of {p.classes[actual]}, taken for {p.classes[predicted]}" in title
    cell(page, 3, 3).click()
    assert set(indices_of(page)) < those(p, 3, 3) and len(indices_of(page)) >= 24
    assert "named rightly" in page.locator("#pair-title").inner_text()
    assert page.locator('.matrix [aria-selected="true"]').count() == 1


def test_the_images_of_a_cell_are_those_pixels(
    pages: dict[str, Path], results: Results, opened: Any
) -> None:
    import io

    from PIL import Image

    page, p = opened(pages["run"]).page, results.predictions
    cell(page, 6, 0).click()
    for item in page.locator("#pair-images li").all()[:3]:
        shown = Image.open(io.BytesIO(item.locator(".thumb").screenshot())).convert("L")
        index = int(item.get_attribute("data-index") or -1)
        expected = p.images[int(np.flatnonzero(p.indices == index)[0])]
        pixels = np.asarray(shown)[1::2, 1::2]  # each is shown as 2 × 2
        inner = (slice(2, -2), slice(2, -2))  # corners are round
        assert pixels.shape == (28, 28) and np.array_equal(pixels[inner], expected[inner])


def test_the_mouse_over_a_cell_shows_it_until_it_leaves(
    pages: dict[str, Path], results: Results, opened: Any
) -> None:
    page, p = opened(pages["run"]).page, results.predictions
    cell(page, 6, 4).click()
    cell(page, 6, 2).hover()
    assert set(indices_of(page)) == those(p, 6, 2)
    page.locator("h1").hover()
    assert set(indices_of(page)) == those(p, 6, 4)


def test_touch_shows_a_cell(pages: dict[str, Path], results: Results, opened: Any) -> None:
    page = opened(pages["run"], PHONE, has_touch=True, is_mobile=True).page
    cell(page, 2, 6).tap()
    assert set(indices_of(page)) == those(results.predictions, 2, 6)


def test_the_keyboard_reaches_a_cell_and_enter_shows_it(
    pages: dict[str, Path], results: Results, opened: Any
) -> None:
    page, p = opened(pages["run"]).page, results.predictions
    counts = np.array(results.metrics["confusion"])
    counts[np.diag_indices(10)] = -1
    actual, predicted = (int(i) for i in np.unravel_index(counts.argmax(), counts.shape))
    # the most frequent mistake is shown from the start, and is the way in
    assert set(indices_of(page)) == those(p, actual, predicted)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.matrix td')"):
            break
    assert page.evaluate("Number(document.activeElement.dataset.true)") == actual
    row, column = (actual + 1, "Down") if actual < 9 else (actual - 1, "Up")
    page.keyboard.press(f"Arrow{column}")
    assert set(indices_of(page)) == those(p, actual, predicted)  # not before Enter
    page.keyboard.press("Enter")
    assert set(indices_of(page)) == those(p, row, predicted) or row == predicted
    assert page.locator('.matrix td[tabindex="0"]').count() == 1
    for _ in range(12):  # to the first column, and not into the row above
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.predicted") == "0"
    assert page.evaluate("Number(document.activeElement.dataset.true)") == row


# --------------------------------------------------------------------------- charts and tables


def test_the_pointer_and_the_arrow_keys_read_the_curves(
    pages: dict[str, Path], finished: Path, opened: Any
) -> None:
    page, history = opened(pages["run"]).page, read_run(finished).history
    plot, readout = page.locator(".plot").first, page.locator(".readout").first
    at_rest = readout.inner_text()
    assert f"training {history[-1]['train_loss']:.4g}" in at_rest
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    x = 46 + 6 + (360 - 56 - 12) / 2  # of the middle one of three epochs, of 360 units
    page.mouse.move(box["x"] + box["width"] * x / 360, box["y"] + 40)
    assert readout.inner_text().startswith(f"epoch 2: training {history[1]['train_loss']:.4g}")
    page.mouse.move(5, 5)
    assert readout.inner_text() == at_rest
    plot.focus()
    page.keyboard.press("Home")
    assert readout.inner_text().startswith(f"epoch 1: training {history[0]['train_loss']:.4g}")
    page.keyboard.press("ArrowRight")
    assert plot.get_attribute("aria-valuetext").startswith("epoch 2: training")
    assert plot.get_attribute("role") == "slider" and plot.get_attribute("aria-label")


def test_tables_are_sorted_by_any_column(
    pages: dict[str, Path], results: Results, opened: Any
) -> None:
    page = opened(pages["run"]).page
    classes = results.metrics["classes"]
    table = page.locator("#classes table")

    def names() -> list[str]:
        return [row.inner_text() for row in table.locator("tbody th").all()]

    table.get_by_role("button", name="F1").click()
    falling = sorted(classes, key=lambda name: -classes[name]["f1"])
    assert names() == falling
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert names() == falling[::-1]
    table.get_by_role("button", name="class").click()
    assert names() == sorted(classes, key=str.lower)
    runs = opened(pages["comparison"]).page.locator("#runs table")
    runs.get_by_role("button", name="test accuracy").click()
    # sort by a figure that one run has not got yet: it comes last
    assert runs.locator("tbody th").last.inner_text().strip() == "begun"


def test_everything_has_a_name_for_a_screen_reader(pages: dict[str, Path], opened: Any) -> None:
    for name in pages:
        page = opened(pages[name]).page
        unnamed = page.evaluate("""() => [...document.querySelectorAll(
                "[role=img], [role=region], [role=slider], button, a, img, table.matrix td")]
            .filter((e) => !e.closest("[aria-hidden]"))
            .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") ||
                             e.alt || e.textContent.trim()) && !e.closest("thead"))
            .map((e) => e.outerHTML.slice(0, 80))""")
        assert unnamed == []
        levels = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')].map((e) => +e.tagName[1])"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_the_links_of_a_comparison_lead_to_the_runs_pages(
    finished: Path, results: Results, opened: Any, tmp_path: Path
) -> None:
    first = copy_of(finished, tmp_path / "runs" / "a #1 & 50%")
    second = copy_of(finished, tmp_path / "runs" / "another")
    (first / "report.html").write_text(render_page(read_run(first), results))
    out = tmp_path / "pages" / "comparison.html"
    out.parent.mkdir()
    out.write_text(render_comparison(compare([first, second])[0], out))
    page = opened(out).page
    links = page.locator("#runs a")
    assert links.count() == 1 and links.inner_text() == "a #1 & 50%"
    links.click()
    page.wait_for_url("**/report.html")
    assert page.locator("h1").inner_text() == "vanilla, seed 1"
