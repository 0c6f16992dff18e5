"""Executed notebooks as web pages: formulas without a network, links, pictures, failures."""

import base64
import html
import re

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_files import every_notebook, read
from diffad_lib.course import pages
from diffad_lib.course.pages import (
    caption,
    failure,
    first_picture,
    with_mathml,
    write_notebook_page,
    write_page,
)
from diffad_lib.course.summary import JobResult, write_summary
from diffad_lib.errors import DiffadError
from diffad_lib.metrics import tabled
from diffad_lib.runs.record import Record

WIDGET = "application/vnd.jupyter.widget-view+json"
PIXEL = base64.b64encode(b"not a picture, but nothing looks at it").decode()


def code_cell(output: nbformat.NotebookNode, source: str = "1 / 0") -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=3, outputs=[output])


def saved(path, *cells):
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def test_formulas_become_mathml_and_code_does_not():
    text = with_mathml("a $x_t$ b\n\n$$\n\\sqrt{a}\n\n= b\n$$\n\n`$HOME` and\n```\n$y$ $z$\n```\n")
    assert text.count("<math") == 2
    assert 'display="inline"><mrow><msub><mi>x</mi><mi>t</mi></msub>' in text
    block = text[text.index('display="block"') :]
    assert "<msqrt>" in block.split("</math>")[0] and "\n" not in block.split("</math>")[0]
    assert "`$HOME`" in text and "\n$y$ $z$\n" in text


def test_a_dollar_that_stands_alone_is_no_formula():
    assert with_mathml("5 $ a part\nand 6 $ more") == "5 $ a part\nand 6 $ more"


@every_notebook
def test_every_formula_of_the_notebooks_is_understood(path):
    """What the converter does not know it leaves as a backslash or an ampersand."""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for formula in re.findall(r"<math.*?</math>", with_mathml(cell.source), re.DOTALL):
                assert "\\" not in formula, cell.source
                assert not re.search(r"&(?!#?\w+;)", formula), cell.source


def test_a_page_holds_the_notebook_and_asks_no_server(tmp_path):
    notebook = saved(
        tmp_path / "a.ipynb",
        new_markdown_cell("# Title\n\n[next](b.ipynb) [other](c.ipynb) $x_0$"),
        code_cell(new_output("display_data", {"image/png": PIXEL})),
        code_cell(new_output("display_data", {WIDGET: {"model_id": "x"}, "text/plain": "VBox()"})),
    )
    write_notebook_page(notebook, tmp_path / "a.html", ["b"], trusted=True)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Title" in page and "<msub>" in page and PIXEL in page
    assert 'href="b.html"' in page and 'href="c.ipynb"' in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=[\"']?(https?:)?//", page)
    assert "<script src" not in page
    assert "live in JupyterLab only" in page and "VBox()" not in page and "model_id" not in page


@every_notebook
def test_every_picture_of_the_notebooks_is_described_below(path):
    cells = read(path).cells
    for cell, below in zip(cells, [*cells[1:], None], strict=True):
        pictures = [
            o for o in cell.get("outputs", ()) if {"image/png", "image/jpeg"} & {*o.get("data", ())}
        ]
        assert not pictures or len(caption(below)) > 20, cell.source


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_the_caption_below_a_picture_is_its_alternative_text(tmp_path, kind):
    below = '*Left: **x** at $t_s$ > 0.5<!-- at:.1f -->,\nas "seen".* Not *this*.'
    cells = [code_cell(new_output("display_data", {kind: PIXEL})), new_markdown_cell(below)]
    write_notebook_page(saved(tmp_path / "a.ipynb", *cells), tmp_path / "a.html", trusted=True)
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    (picture,) = re.findall("<img .*?/>", page)
    assert 'Left: x at t_s > 0.5, as "seen".' in re.findall("alt='(.*?)'", html.unescape(picture))
    assert f'src="data:{kind};base64,{PIXEL}"' in picture


@pytest.mark.parametrize("source", ["**bold** text", "* a list\n* of *two*", "plain *text*"])
def test_what_is_not_in_italics_is_no_caption(source):
    assert caption(new_markdown_cell(source)) == "" == caption(new_code_cell("*a*"))


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg"])
def test_the_first_picture_is_found(tmp_path, kind):
    cells = [
        new_markdown_cell("text"),
        code_cell(new_output("stream", text="words")),
        code_cell(new_output("display_data", {kind: "AAAA\nBBBB\n"})),
        code_cell(new_output("display_data", {"image/png": "CCCC"})),
    ]
    assert first_picture(saved(tmp_path / "a.ipynb", *cells)) == f"data:{kind};base64,AAAABBBB"
    assert first_picture(saved(tmp_path / "b.ipynb", *cells[:2])) is None


def test_a_failure_names_the_cell_and_has_the_traceback_without_colours(tmp_path):
    error = new_output("error", ename="E", evalue="v", traceback=["\x1b[0;31mfirst\x1b[0m", "last"])
    notebook = saved(tmp_path / "a.ipynb", new_markdown_cell("text"), code_cell(error))
    assert failure(notebook) == "cell [3]\n1 / 0\n\nfirst\nlast"
    assert failure(saved(tmp_path / "b.ipynb", new_markdown_cell("text"))) == ""


def test_a_page_is_whole_on_paper(tmp_path):
    write_notebook_page(saved(tmp_path / "a.ipynb"), tmp_path / "a.html", trusted=True)
    head = (tmp_path / "a.html").read_text(encoding="utf-8").split("</head>")[0]
    assert "white-space: pre-wrap" in head and "beforeprint" in head


@pytest.fixture
def own_trust(tmp_path, monkeypatch):
    """No notebook is trusted yet."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "jupyter"))


def test_the_page_of_a_chapter_is_that_of_the_course(own_trust, tmp_path, diffad, monkeypatch):
    notebook = saved(tmp_path / "notebooks" / "a.ipynb", new_markdown_cell("[next](b.ipynb) $x$"))
    saved(tmp_path / "notebooks" / "b.ipynb")
    write_notebook_page(notebook, tmp_path / "course.html", ["a", "b"], trusted=True)
    monkeypatch.setattr(pages, "project_root", lambda: tmp_path)
    monkeypatch.chdir(tmp_path / "notebooks")
    for options, page in (([], "a.html"), (["--to", "new/page.html"], "new/page.html")):
        assert diffad("page", "a.ipynb", *options)[:2] == (0, f"page: {page}\n")
        text = (tmp_path / "notebooks" / page).read_text(encoding="utf-8")
        assert without_title(text) == without_title((tmp_path / "course.html").read_text("utf-8"))


def test_a_page_has_the_scripts_of_a_notebook_that_jupyter_trusts(own_trust, tmp_path, diffad):
    notebook, page = foreign(tmp_path / "a.ipynb"), tmp_path / "a.html"
    code, told, _ = diffad("page", notebook)
    assert code == 0
    assert "does not trust" in told and f"jupyter trust {notebook}" in told
    assert "<script>alert" not in page.read_text(encoding="utf-8")
    with NotebookNotary() as notary:
        notary.sign(nbformat.read(notebook, as_version=4))
    assert diffad("page", notebook)[:2] == (0, f"page: {page}\n")
    assert "<script>alert" in page.read_text(encoding="utf-8")


def without_title(page: str) -> str:
    return re.sub(r"<title>.*?</title>", "", page)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"nbformat": 4}', None])
def test_what_is_no_notebook_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "a.ipynb").write_text(content)
    with pytest.raises(DiffadError, match=r"a\.ipynb: no notebook \(.+\); give an \.ipynb file$"):
        write_page(tmp_path / "a.ipynb", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def foreign(path):
    """A notebook with scripts wherever one may hold some."""
    cells = [
        new_markdown_cell(
            f"# Title\n\n<!-- nav -->`a < b`\n\n{SCRIPT} $\\\\text{{<script>2</script>}}$"
        ),
        nbformat.v4.new_raw_cell(SCRIPT),
        code_cell(new_output("display_data", {"text/html": SCRIPT})),
        code_cell(new_output("display_data", {"text/html": SCRIPT, "text/plain": "a table"})),
        code_cell(new_output("display_data", {"application/javascript": "alert(1)"})),
        code_cell(new_output("display_data", {"image/svg+xml": f"<svg>{SCRIPT}</svg>"})),
        code_cell(new_output("display_data", {"text/markdown": SCRIPT})),
        code_cell(new_output("display_data", {"image/png": PIXEL})),
        code_cell(new_output("stream", text=SCRIPT)),
    ]
    return saved(path, *cells)


def test_the_page_of_a_foreign_notebook_has_text_and_pictures_only(tmp_path):
    page = tmp_path / "a.html"
    write_notebook_page(foreign(tmp_path / "a.ipynb"), page, trusted=False)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "<script>2" not in text and "<img src=x" not in text
    assert "\nalert(1)" not in text and "<svg" not in text
    assert text.count("Left out, because this notebook was not executed now") == 4
    assert "a table" in text and PIXEL in text and "<h1" in text and "a &lt; b" in text
    assert "<!-- nav" not in text and "&lt;!--" not in text
    assert "default-src 'none'" in text.split("<title>")[0]


def test_the_page_of_a_notebook_that_was_executed_keeps_its_scripts(tmp_path):
    page = tmp_path / "a.html"
    write_notebook_page(foreign(tmp_path / "a.ipynb"), page, trusted=True)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" in text and "default-src" not in text


@pytest.mark.parametrize("data", ['AAAA"><script>', "AA'onerror='x", "", "data:x"])
def test_a_picture_that_is_no_base64_is_not_shown(tmp_path, data):
    notebook = saved(
        tmp_path / "a.ipynb", code_cell(new_output("display_data", {"image/png": data}))
    )
    assert first_picture(notebook) is None


def outcome(page, **parts):
    values = {
        "title": "a",
        "picture": None,
        "seconds": 1.0,
        "record": None,
        "error": "",
        "details": "",
    }
    return JobResult(page=page, **(values | parts))


def test_a_name_cannot_leave_its_place_on_the_summary(tmp_path):
    page = tmp_path / "08_a'onmouseover='alert(1)' 100% #1?.html"
    page.touch()
    evil = outcome(page, title="<b>", picture="x' onerror='alert(1)", error="")
    write_summary(tmp_path / "index.html", [evil])
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<a href='08_a%27onmouseover%3D%27alert%281%29%27%20100%25%20%231%3F.html'>" in text
    assert "&lt;b&gt;" in text and "<b>" not in text and "' onerror" not in text


@pytest.mark.parametrize("value", [None, 0.5])
def test_a_metric_without_a_value_or_limits_is_shown(tmp_path, value):
    record = Record.model_validate(
        {
            "config": {"dataset": "custom", "category": "a", "method": "draem"},
            "metrics": {name: {"value": value} for name in tabled()},
            "seconds": {"train": 1.0, "total": 2.0},
        }
    )
    write_summary(tmp_path / "index.html", [outcome(tmp_path / "a.html", record=record)])
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert ("undefined" if value is None else "0.500") in text
