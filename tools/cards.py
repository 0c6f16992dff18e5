"""Links between the notebooks, and the README's table, from the notebooks' cards.

A card is the entry "diffad" of a notebook's metadata. This writes

- into every notebook with a card, between <!-- nav --> and <!-- /nav -->: links to the previous
  and the next notebook with a card; and every "claim 4" becomes a link to it in the source note;
- into each README, between <!-- course --> and <!-- /course -->: the table of the notebooks.

`python tools/cards.py` writes, `python tools/cards.py --check` only names what is not up to date.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from diffad_lib.course.chapters import Card, label, read_cards
from diffad_lib.errors import DiffadError
from diffad_lib.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
HEADERS = {  # of the table, by README
    "README.md": ("notebook", "what you will learn", "time", "exercises"),
    "README.ko.md": ("노트북", "배우는 내용", "시간", "연습 문제"),
}
NOTE = "../docs/source_note.md"  # from a notebook
OBJECTIVES = {"README.md": "objectives", "README.ko.md": "objectives_ko"}  # keys of a card
MINUTES = {"README.md": "min", "README.ko.md": "분"}


def navigation(path: Path, cards: dict[Path, Card]) -> str:
    """Links to the notebooks before and after `path`."""
    order = list(cards)
    place = order.index(path)
    links = []
    if place > 0:
        before = order[place - 1]
        links.append(f"← [{label(before, cards[before])}]({before.name})")
    if place + 1 < len(order):
        after = order[place + 1]
        links.append(f"[{label(after, cards[after])}]({after.name}) →")
    return " | ".join(links)


def table(readme: str, cards: dict[Path, Card]) -> str:
    """The rows of all notebooks, with the header of a README."""
    rows = [HEADERS[readme], ("---",) * 4]
    for path, card in cards.items():
        link = f"[{label(path, card)}](notebooks/{path.name})"
        time = f"{card.minutes} {MINUTES[readme]}"
        objectives = "; ".join(getattr(card, OBJECTIVES[readme]))
        rows.append((link, objectives, time, ", ".join(card.exercises) or "–"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def between_marks(text: str, mark: str, content: str, where: str) -> str:
    """`text` with `content` between every pair of marks; ValueError where there is none."""
    marked = re.compile(f"<!-- {mark} -->.*?<!-- /{mark} -->", re.DOTALL)
    block = "\n".join(part for part in (f"<!-- {mark} -->", content, f"<!-- /{mark} -->") if part)
    text, count = marked.subn(lambda _: block, text)
    if not count:
        raise ValueError(f"{where}: add the lines <!-- {mark} --> and <!-- /{mark} -->")
    return text


def with_claims_linked(text: str) -> str:
    """The text with every "claim 1a" as a link; "claims 2 and 4" become two of them."""
    text = re.sub(r"\bclaims (\d+[ab]?) and (\d+[ab]?)", r"claim \1 and claim \2", text)
    return re.sub(r"(?<!\[)\b([Cc]laim (\d+)[ab]?)\b(?!\])", rf"[\1]({NOTE}#claim-\2)", text)


def updated_notebook(path: Path, cards: dict[Path, Card]) -> str:
    """The notebook file with its links; everything else stays as it is."""
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    marked = [
        cell
        for cell in notebook["cells"]
        if cell["cell_type"] == "markdown" and "<!-- nav -->" in "".join(cell["source"])
    ]
    if len(marked) != 2:
        raise ValueError(f"{path.name}: <!-- nav --> belongs into two cells, below title and Next")
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = with_claims_linked("".join(cell["source"]))
            if cell in marked:
                source = between_marks(source, "nav", navigation(path, cards), path.name)
            cell["source"] = source.splitlines(keepends=True)
    if notebook == json.loads(text):
        return text
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"


def updated_files(root: Path) -> dict[Path, str]:
    """New contents of the files that are not up to date."""
    cards = read_cards(root)
    contents = {path: updated_notebook(path, cards) for path in cards}
    for name in HEADERS:
        text = (root / name).read_text(encoding="utf-8")
        contents[root / name] = between_marks(text, "course", table(name, cards), name)
    return {
        path: text for path, text in contents.items() if text != path.read_text(encoding="utf-8")
    }


def save(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args().check
    try:
        stale = updated_files(ROOT)
    except (DiffadError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)}: {'stale; run tools/cards.py' if check else 'updated'}")
        if not check:
            save(path, text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
