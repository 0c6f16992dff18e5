"""The notebooks as they lie in the checkout: frame, card, stored outputs, quoted numbers."""

import ast
import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import get_kernel_dict
from nbformat import NotebookNode

from course_files import (
    CARDED,
    COURSE,
    FOLDER,
    NOT_COMPARED,
    NOTEBOOKS,
    ROOT,
    carded_notebook,
    code_cells,
    course_notebook,
    every_notebook,
    parameters,
    printed,
    prose,
    read,
    tags,
)

CLAIMS = "## What the source note claims and what we measured"
FRAME = (
    r"^# \d\d · ",
    r"^<!-- nav -->",
    r"^## What you will learn$",
    r"^\*\*Prerequisites\*\*: ",
    r"^\*\*Time and hardware\*\*: ",
    r"^## Setup$",
    r"^## Parameters$",
    r"^## In one picture$",
    r"^## 1\. ",
    r"^## Exercises$",
    r"^## Summary$",
    rf"^{CLAIMS}$",
    r"^## Next$",
    r"^<!-- nav -->",
    r"^## References$",
)
QUOTE = re.compile(r"(\S*?)\*{0,2}<!-- (\w+):(\S+) -->")


def figure_cells(notebook: NotebookNode) -> list[int]:
    """Positions of the cells with a picture among their outputs."""
    return [
        number
        for number, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        and any("image/png" in output.get("data", ()) for output in cell.outputs)
    ]


def section(notebook: NotebookNode, heading: str) -> str:
    """The prose from a heading of second level to the next one."""
    return prose(notebook).split(f"\n{heading}\n", 1)[1].split("\n## ", 1)[0]


def printed_values(notebook: NotebookNode) -> dict[str, int | float]:
    """Variables that a cell prints as f"{name = }", with or without a format."""
    values = {}
    for cell in code_cells(notebook):
        for name in re.findall(r"\{(\w+) = [:}]", cell.source):
            found = re.findall(rf"\b{name} = (-?\d[\d.]*(?:e[-+]?\d+)?)", printed(cell))
            assert len(found) == 1 and name not in values, f"{name} has to be printed once"
            text = found[0].rstrip(".")
            values[name] = int(text) if text.isdigit() else float(text)
    return values


def wrong_quotes(notebook: NotebookNode) -> list[str]:
    """Numbers in the prose that are not what their variable is, as `text<!-- name:format -->`."""
    values = printed_values(notebook)
    return [
        f"{text} is not {name}:{form} = {values.get(name)}"
        for text, name, form in QUOTE.findall(prose(notebook))
        if name not in values or text.lstrip("(*") != format(values[name], form)
    ]


def test_no_notebook_is_left_out_for_want_of_a_card():
    assert NOTEBOOKS == CARDED


@every_notebook
def test_jupyterlab_would_save_it_as_it_is(path):
    """Or it is marked modified when it is opened, and a first look changes files of git."""
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    kernel = get_kernel_dict()
    assert notebook.metadata.kernelspec == {
        "name": "python3",
        "display_name": kernel["display_name"],
        "language": kernel["language"],
    }
    assert notebook.metadata.language_info.name == "python"
    assert not [cell for cell in notebook.cells if "trusted" in cell.metadata]
    nbformat.validate(json.loads(text))  # as stored: `reads` would add ids that are missing
    assert nbformat.writes(notebook) + "\n" == text


@every_notebook
def test_outputs_are_of_one_run_in_order(path):
    cells = code_cells(read(path))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]


@every_notebook
def test_cells_are_short(path):
    def lines(cell):
        return [x for x in cell.source.splitlines() if x.strip() and not x.strip().startswith("#")]

    assert statistics.median(len(lines(cell)) for cell in code_cells(read(path))) < 8


@every_notebook
def test_no_figure_is_made_and_not_shown(path):
    for cell in code_cells(read(path)):
        for statement in ast.parse(cell.source).body[:-1]:  # only the last one is shown
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                name = ast.unparse(statement.value.func)
                assert name != "grid" and not name.startswith("plots."), f"{cell.id}: {name}"


@every_notebook
def test_file_is_small(path):
    assert path.stat().st_size < 1_500_000


@course_notebook
def test_most_printed_outputs_are_compared(path):
    with_text = [cell for cell in code_cells(read(path)) if printed(cell).strip()]
    compared = [cell for cell in with_text if not tags(cell) & NOT_COMPARED]
    assert len(with_text) >= 5
    assert len(compared) >= 0.6 * len(with_text)


@course_notebook
def test_frame(path):
    text, position = prose(read(path)), 0
    for mark in FRAME:
        found = re.compile(mark, re.MULTILINE).search(text, position)
        assert found, f"{mark} is missing or out of order"
        position = found.end()
    numbers = re.findall(r"^## (\d+)\. ", text, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]


@course_notebook
def test_frame_cells(path):
    """Versions under Setup, the tagged cell under Parameters, a figure under In one picture."""
    found, heading = {}, ""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            heading = [heading, *re.findall(r"^## (.+)$", cell.source, re.MULTILINE)][-1]
        else:
            found.setdefault(heading, []).append(cell)
    assert "torch " in "".join(printed(cell) for cell in found["Setup"])
    assert [tags(cell) for cell in found["Parameters"]] == [{"parameters"}]
    assert any(
        "image/png" in output.get("data", ())
        for cell in found["In one picture"]
        for output in cell.outputs
    )


@course_notebook
def test_every_figure_has_a_reading_below_it(path):
    notebook = read(path)
    assert figure_cells(notebook)
    for number in figure_cells(notebook):
        below = notebook.cells[number + 1]
        assert below.cell_type == "markdown" and re.match(r"\*[^*]", below.source), number


@carded_notebook
def test_card_is_what_the_notebook_does(path):
    notebook, card = read(path), read(path).metadata.diffad
    assert prose(notebook).startswith(f"# {path.name[:2]} · {card.title}\n")
    learn = section(notebook, "## What you will learn")
    assert re.findall(r"^- (.+)$", learn, re.MULTILINE) == card.objectives
    unit = "minute" if card.minutes == 1 else "minutes"
    assert re.search(rf"\*\*Time and hardware\*\*: .*\b{card.minutes} {unit}\b", prose(notebook))
    assert checked_exercises(notebook) == card.exercises
    assert 2 <= len(card.exercises) <= 4 if path in COURSE else card.exercises == []


def checked_exercises(notebook: NotebookNode) -> list[str]:
    sources = "\n".join(cell.source for cell in code_cells(notebook))
    return re.findall(r'^check\("([\d.]+)", \w+\)$', sources, re.MULTILINE)


@course_notebook
def test_exercises_are_open_in_the_notebook_and_solved_in_its_solutions(path):
    solutions = FOLDER / "solutions" / path.name
    ids = read(path).metadata.diffad.exercises
    assert checked_exercises(read(solutions)) == ids
    for notebook, passed in ((path, False), (solutions, True)):
        text = "".join(printed(cell) for cell in code_cells(read(notebook)))
        for exercise in ids:
            assert (f"{exercise} passed" in text) == passed
            assert f"{exercise} " in text


@course_notebook
def test_a_question_is_asked_and_folded_out(path):
    text = prose(read(path))
    assert "**Predict before you run**" in text
    assert text.count("<details><summary>") == text.count("</details>") >= 1


@course_notebook
def test_numbers_in_prose_equal_their_variables(path):
    notebook = read(path)
    assert len(QUOTE.findall(prose(notebook))) >= 3
    assert prose(notebook).count(" -->") - 4 == len(QUOTE.findall(prose(notebook)))  # 4: nav
    assert wrong_quotes(notebook) == []


@course_notebook
def test_the_text_says_which_numbers_differ_on_another_machine(path):
    """Those that the text quotes and nbval does not compare: of trainings, and times."""
    notebook = read(path)
    quoted = {name for _, name, _ in QUOTE.findall(prose(notebook))}
    for number, cell in enumerate(notebook.cells):
        printed_here = set(re.findall(r"\{(\w+) = [:}]", cell.source))
        if "nbval-ignore-output" in tags(cell) and printed_here & quoted:
            assert re.search("[Yy]ours will differ", text_around(notebook, number)), cell.source


def text_around(notebook: NotebookNode, number: int) -> str:
    """The nearest markdown cells above and below a cell."""
    is_text = [cell.cell_type == "markdown" for cell in notebook.cells]
    above = number - is_text[number::-1].index(True)
    below = number + is_text[number:].index(True)
    return f"{notebook.cells[above].source}\n{notebook.cells[below].source}"


@course_notebook
def test_every_claim_is_answered_with_a_measured_number(path):
    table = section(read(path), CLAIMS)
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert rows
    assert [row for row in rows if not QUOTE.search(row.split("|")[-2])] == []


def cited_claims(path: Path) -> list[str]:
    """Numbers of the claims that a chapter's table answers, such as "1a"."""
    groups = re.findall(r"\bclaims? ((?:\d+[ab]?(?: and )?)+)", section(read(path), CLAIMS))
    return [number for group in groups for number in group.split(" and ")]


def test_the_source_note_has_every_claim_with_the_chapters_that_answer_it():
    text = (ROOT / "docs" / "source_note.md").read_text(encoding="utf-8")
    claims = dict(re.findall(r"^### Claim (\d+)\n(.+?)(?=^##)", text, re.MULTILINE | re.DOTALL))
    assert list(claims) == [str(number) for number in range(1, 11)]
    cited = {path.name: cited_claims(path) for path in COURSE}
    for number, claim in claims.items():
        answering = [name for name, found in cited.items() if number in map(whole, found)]
        assert re.findall(r"\]\(\.\./notebooks/([^)]+)\)", claim) == answering, number
        assert re.search(r"^> .*[가-힣A-Z]", claim, re.MULTILINE)  # in the words of the note
    parts = {number for found in cited.values() for number in found if number != whole(number)}
    assert parts and all(f"**{number}.** " in claims[whole(number)] for number in parts)


def whole(number: str) -> str:
    """The claim that a part belongs to: 1 of 1a."""
    return number.rstrip("ab")


@course_notebook
def test_the_claims_lead_to_the_source_note(path):
    links = re.findall(r"\]\(\.\./docs/source_note\.md#([\w-]+)\)", section(read(path), CLAIMS))
    text = (ROOT / "docs" / "source_note.md").read_text(encoding="utf-8")
    anchors = [
        head.lower().replace(" ", "-") for head in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    ]
    assert links and set(links) <= set(anchors)


def test_a_wrong_quote_is_found():
    cell = nbformat.v4.new_code_cell('print(f"{loss = :.3f}, {steps = }")')
    cell.outputs = [nbformat.v4.new_output("stream", text="loss = 0.126, steps = 40\n")]
    right = (
        "A loss of **0.13**<!-- loss:.2f --> after 40<!-- steps:d --> (4e+01<!-- steps:.0e -->)."
    )
    notebook = nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell(right)])
    assert len(QUOTE.findall(right)) == 3
    assert wrong_quotes(notebook) == []
    for wrong in ("0.12<!-- loss:.2f -->", "41<!-- steps:d -->", "1<!-- unknown:d -->"):
        notebook.cells[1].source = wrong
        assert len(wrong_quotes(notebook)) == 1


@carded_notebook
def test_parameters_are_annotated_literals_with_a_comment(path):
    comments = parameters(read(path))
    assert comments and [name for name, comment in comments.items() if not comment] == []
    assert set(read(path).metadata.diffad.other_parameters) <= set(comments)


@pytest.mark.parametrize("line", ["seed = 0  # a seed", "seed: int = f()  # a seed", "print()"])
def test_a_parameter_that_is_no_annotated_literal_is_found(line):
    cell = nbformat.v4.new_code_cell(f"steps: int = 3  # a=b\n{line}")
    cell.metadata.tags = ["parameters"]
    with pytest.raises((AssertionError, ValueError)):
        parameters(nbformat.v4.new_notebook(cells=[cell]))
    cell.source = "steps: int = 3  # a=b\nseed: int = 0"
    assert parameters(nbformat.v4.new_notebook(cells=[cell])) == {"steps": "a=b", "seed": ""}


@every_notebook
def test_links_lead_to_files_that_are_there(path):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose(read(path)))
    assert [link for link in links if not (path.parent / link).exists()] == []
