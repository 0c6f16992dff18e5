"""The slider and the widget in a real browser, without a network.

Needs Chromium or Chrome (on Debian: apt-get install chromium) and the package playwright.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_files import FOLDER
from diffad_lib.course.explorers import Explorer, Parameter, View
from diffad_lib.course.lab import copy_notebooks
from diffad_lib.course.pages import write_notebook_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 120_000  # for JupyterLab on a busy machine
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as tools:
        own = tools.chromium.executable_path
        found = [path for path in map(shutil.which, NAMES) if path] + [own] * Path(own).exists()
        if not found:
            pytest.skip(f"no browser: install one of {', '.join(NAMES)}")
        running = tools.chromium.launch(executable_path=found[0])
        yield running
        running.close()


@pytest.fixture
def page(browser) -> Iterator:
    context = browser.new_context(offline=True, viewport={"width": 1100, "height": 700})
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


def render(red: int, blue: str) -> View:
    colour = (40 * red, 0, {"no": 0, "yes": 200}[blue])
    return View({"colour": np.full((16, 16, 3), colour, np.uint8)}, f"red {red}, blue {blue}")


def toy(title: str = "Toy") -> Explorer:
    red = Parameter("red", "amount of red", (0, 1, 2, 3, 4), start=1)
    return Explorer(title, render, (red, Parameter("blue", "blue", ("no", "yes"), choice=True)))


def drawn(picture) -> list[int]:
    """RGB in the middle of what an <img> shows now."""
    return picture.evaluate("""async (img) => {
        await img.decode();
        const canvas = document.createElement("canvas").getContext("2d");
        canvas.drawImage(img, 0, 0);
        return [...canvas.getImageData(8, 8, 1, 1).data.slice(0, 3)];
    }""")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_browser_runs_no_script_of_a_notebook_that_was_not_executed_now(page, tmp_path, trusted):
    notebook, target = tmp_path / "a.ipynb", tmp_path / "a.html"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), notebook)
    write_notebook_page(notebook, target, trusted=trusted)
    smuggled = "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">"
    text = target.read_text(encoding="utf-8").replace("</main>", smuggled + "</main>")
    assert smuggled in text
    target.write_text(text, encoding="utf-8")
    page.goto(target.as_uri())
    assert (page.title() == "run") == trusted


def expect_view(explorer, red: int, blue: str) -> None:
    expect(explorer.get_by_role("status")).to_have_text(f"red {red}, blue {blue}")
    assert drawn(explorer.get_by_role("img")) == [40 * red, 0, 200 * (blue == "yes")]


def explorers_on(page, *pages: str):
    page.set_content("".join(pages))
    return page.locator(".explorer")  # a <details> is a group too


def test_the_slider_moves_by_keyboard_and_the_picture_and_caption_follow(page):
    explorer = explorers_on(page, toy().html())
    expect_view(explorer, 1, "no")
    page.keyboard.press("Tab")
    slider = explorer.get_by_role("slider", name="amount of red")
    expect(slider).to_be_focused()
    assert slider.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    assert slider.evaluate("e => getComputedStyle(e).outlineWidth") == "3px"
    for key, red in (("ArrowRight", 2), ("End", 4), ("ArrowLeft", 3), ("Home", 0)):
        page.keyboard.press(key)
        expect_view(explorer, red, "no")
        expect(slider).to_have_js_property("ariaValueText", str(red))
        expect(explorer.locator(".value")).to_have_text(str(red))


def test_a_choice_combines_with_the_slider(page):
    explorer = explorers_on(page, toy().html())
    explorer.get_by_label("blue").select_option("yes")
    expect_view(explorer, 1, "yes")
    explorer.get_by_label("amount of red").press("ArrowRight")
    expect_view(explorer, 2, "yes")


def test_play_advances_to_the_end_stops_and_starts_again(page):
    page.clock.install()
    explorer = explorers_on(page, toy().html())
    play = explorer.get_by_role("button")
    expect(play).to_have_text("Play")
    play.press("Enter")
    expect(play).to_have_text("Pause")
    for red in (2, 3, 4):
        page.clock.run_for(600)
        expect_view(explorer, red, "no")
    page.clock.run_for(600)
    expect(play).to_have_text("Play")
    expect_view(explorer, 4, "no")
    play.click()
    expect_view(explorer, 0, "no")
    page.clock.run_for(600)
    expect_view(explorer, 1, "no")


def test_play_pauses_by_its_button_and_by_the_slider(page):
    page.clock.install()
    explorer = explorers_on(page, toy().html())
    play, slider = explorer.get_by_role("button"), explorer.get_by_role("slider")
    play.click()
    page.clock.run_for(600)
    play.click()
    page.clock.run_for(2000)
    expect_view(explorer, 2, "no")
    play.click()
    slider.press("Home")
    expect(play).to_have_text("Play")
    page.clock.run_for(2000)
    expect_view(explorer, 0, "no")


def test_screen_readers_hear_the_caption_but_not_while_it_plays(page):
    explorer = explorers_on(page, toy().html())
    caption, play = explorer.get_by_role("status"), explorer.get_by_role("button")
    assert caption.evaluate("e => e.ariaLive") != "off"
    play.click()
    assert caption.evaluate("e => e.ariaLive") == "off"
    play.click()
    assert caption.evaluate("e => e.ariaLive") == "polite"


def test_several_explorers_on_one_page_stay_apart(page):
    explorers = explorers_on(page, toy("first").html(), toy("second").html(), toy("third").html())
    expect(explorers).to_have_count(3)
    second = page.get_by_role("group", name="second")
    second.get_by_label("amount of red").press("End")
    expect_view(second, 4, "no")
    for name in ("first", "third"):
        expect_view(page.get_by_role("group", name=name), 1, "no")


def test_a_page_without_scripts_says_what_to_do(browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.set_content(toy().html())
    expect(page.get_by_text("A slider belongs here.")).to_be_visible()
    expect(page.get_by_role("slider")).to_have_count(0)
    context.close()


def test_with_scripts_the_note_is_hidden(page):
    explorers_on(page, toy().html())
    expect(page.get_by_text("A slider belongs here.")).to_be_hidden()


def test_it_asks_for_nothing_outside_the_page(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    explorer = explorers_on(page, toy().html())
    explorer.get_by_role("slider").press("End")
    expect_view(explorer, 4, "no")
    assert all(url.startswith("data:image/webp") for url in asked)


def test_it_works_in_the_html_that_nbconvert_writes(page, tmp_path):
    def shown(title: str) -> nbformat.NotebookNode:
        data = {"text/html": toy(title).html(), "text/plain": "<HTML>"}
        output = new_output("display_data", data=data)
        return new_code_cell("toy", execution_count=1, outputs=[output])

    notebook = new_notebook(cells=[shown("first"), shown("second")])
    (tmp_path / "notebook.html").write_text(HTMLExporter().from_notebook_node(notebook)[0])
    page.goto((tmp_path / "notebook.html").as_uri(), wait_until="commit")
    second = page.get_by_role("group", name="second")
    second.get_by_label("amount of red").press("End")
    expect_view(second, 4, "no")
    expect_view(page.get_by_role("group", name="first"), 1, "no")


def test_the_contact_sheet_is_folded_where_scripts_run_and_shows_on_paper(page, tmp_path):
    slider = new_output("display_data", data={"text/html": toy().html(), "text/plain": "<HTML>"})
    sheet = new_output("display_data", data={"image/jpeg": "AAAA", "text/plain": "<Image>"})
    figure = new_output("display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"})
    cells = [
        new_code_cell("toy()", execution_count=1, outputs=[slider, sheet]),
        new_code_cell("plot()", execution_count=2, outputs=[figure]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebook.ipynb")
    write_notebook_page(tmp_path / "notebook.ipynb", tmp_path / "notebook.html", trusted=True)
    page.goto((tmp_path / "notebook.html").as_uri(), wait_until="commit")
    sheet, figure = page.locator("img[src*=jpeg]"), page.locator("img[src*=png]")
    expect_view(page.get_by_role("group", name="Toy"), 1, "no")
    expect(sheet).to_be_hidden()
    expect(figure).to_be_visible()
    page.emulate_media(media="print")
    expect(sheet).to_be_visible()
    page.emulate_media(media="screen")
    page.get_by_text("A few settings").click()
    expect(sheet).to_be_visible()
    page.get_by_text("A few settings").click()
    expect(sheet).to_be_hidden()


def test_on_paper_answers_are_open_and_no_line_is_cut(page, tmp_path):
    answer = new_markdown_cell("<details><summary>Answer</summary>\n\n42\n\n</details>")
    nbformat.write(
        new_notebook(cells=[answer, new_code_cell("x = " + "1 + " * 40 + "1")]),
        tmp_path / "notebook.ipynb",
    )
    write_notebook_page(tmp_path / "notebook.ipynb", tmp_path / "notebook.html", trusted=True)
    page.goto((tmp_path / "notebook.html").as_uri(), wait_until="commit")
    expect(page.get_by_text("42")).to_be_hidden()
    page.set_viewport_size({"width": 700, "height": 1000})
    page.emulate_media(media="print")
    cut = "[...document.querySelectorAll('pre')].some((e) => e.scrollWidth > e.clientWidth + 1)"
    assert not page.evaluate(cut)
    page.pdf()  # as a person prints it
    expect(page.get_by_text("42")).to_be_visible()


NOTEBOOK = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_explorers_browser import toy
"""


KINDS_OF_FOLDERS = ("CONFIG", "DATA", "RUNTIME")


@contextmanager
def served(root: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a folder in a JupyterLab of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    folders = {f"JUPYTER_{n}_DIR": str(tmp_path / "jupyter" / n) for n in KINDS_OF_FOLDERS}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={address.rsplit(':')[-1]}", "--IdentityProvider.token="]
    command += ["--LabApp.news_url=None", "--expose-app-in-browser"]
    command += [f"--ServerApp.root_dir={root}"]
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | folders, stdout=log, stderr=log)
    try:
        _wait_for(f"{address}/api", server, tmp_path / "lab.log")
        yield f"{address}/lab/tree"
    finally:
        server.terminate()
        server.wait(timeout=60)


@contextmanager
def jupyterlab(tmp_path: Path, *sources: str) -> Iterator[str]:
    """The address of a notebook with these cells in a JupyterLab of its own."""
    cells = [new_code_cell(source) for source in sources]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "work").mkdir()
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "work" / "toy.ipynb")
    with served(tmp_path / "work", tmp_path) as address:
        yield f"{address}/toy.ipynb"


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(180):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    pytest.fail(f"JupyterLab does not answer: {log.read_text()}")


CHAPTER = "02_forward_diffusion.ipynb"


@pytest.mark.timeout(600)
def test_in_jupyterlab_a_copied_chapter_is_alive_before_it_runs_and_not_modified(
    browser, tmp_path, monkeypatch
):
    for name in KINDS_OF_FOLDERS:  # where the copies are trusted
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / "jupyter" / name))
    (tmp_path / "course").mkdir()
    shutil.copy(FOLDER / CHAPTER, tmp_path / "course")
    copy_notebooks(tmp_path / "course", tmp_path / "work")
    before = (tmp_path / "work" / CHAPTER).read_bytes()
    with served(tmp_path, tmp_path) as address:
        context = browser.new_context(viewport={"width": 1300, "height": 1000})
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{address}/work/{CHAPTER}")
        expect(page.get_by_role("button", name="| Idle")).to_be_visible(timeout=WAIT_MS)
        page.wait_for_timeout(2000)  # JupyterLab stores what it learns from the kernel
        document = "jupyterapp.shell.currentWidget.context"
        assert page.evaluate(f"{document}.isReady && !{document}.model.dirty")
        explorer = page.get_by_role("group", name="Timesteps")
        explorer.get_by_role("slider").press("End")
        expect(explorer.get_by_role("status")).to_contain_text("t = 999")
        expect(page.locator(".jp-RenderedImage img[src*=jpeg]")).to_be_hidden()
        explorer.get_by_text("A few settings").click()
        expect(page.locator(".jp-RenderedImage img[src*=jpeg]")).to_be_visible()
        page.evaluate(f"{document}.save()")
        page.wait_for_timeout(2000)
        assert (tmp_path / "work" / CHAPTER).read_bytes() == before
        context.close()


def run_all_cells(browser, address: str):
    """A page with the notebook at the address, in which all cells are run."""
    page = browser.new_context(viewport={"width": 1300, "height": 1000}).new_page()
    page.set_default_timeout(WAIT_MS)
    local = re.compile(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:")
    page.route(lambda url: not local.match(url), lambda route: route.abort())
    page.goto(address)
    # JupyterLab drops "Run All Cells" while the kernel is still connecting.
    expect(page.get_by_role("button", name="| Idle")).to_be_visible(timeout=WAIT_MS)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    return page


@pytest.mark.timeout(600)
def test_in_jupyterlab_the_slider_and_the_widget_respond(browser, tmp_path):
    with jupyterlab(tmp_path, NOTEBOOK.strip(), "toy()", "toy().live()") as address:
        check_explorer_and_widget(run_all_cells(browser, address), tmp_path)


def check_explorer_and_widget(page, tmp_path: Path) -> None:
    explorer = page.get_by_role("group", name="Toy")
    expect(explorer.get_by_role("slider")).to_be_visible(timeout=WAIT_MS)
    live = page.locator(".jupyter-widgets.widget-vbox")
    expect(live.get_by_role("status")).to_have_text("red 1, blue no", timeout=WAIT_MS)

    # The arrow keys are JupyterLab's own in a notebook; the slider has to keep them.
    cell = page.locator(".jp-Cell.jp-mod-active")
    explorer.get_by_role("slider").focus()
    active = cell.evaluate("e => [...e.parentElement.children].indexOf(e)")
    for key, red in (("ArrowRight", 2), ("ArrowUp", 3), ("ArrowDown", 2)):
        page.keyboard.press(key)
        expect_view(explorer, red, "no")
    assert cell.evaluate("e => [...e.parentElement.children].indexOf(e)") == active

    live.locator(".noUi-handle").press("ArrowRight")
    expect(live.get_by_role("status")).to_have_text("red 2, blue no", timeout=WAIT_MS)
    assert drawn(live.get_by_role("img")) == [80, 0, 0]
    live.locator("select").select_option("yes")
    expect(live.get_by_role("status")).to_have_text("red 2, blue yes", timeout=WAIT_MS)
    assert drawn(live.get_by_role("img")) == [80, 0, 200]
    live.locator("button").first.click()  # Play
    expect(live.get_by_role("status")).to_have_text("red 4, blue yes", timeout=WAIT_MS)
    page.screenshot(path=tmp_path / "lab.png")
    page.context.close()
