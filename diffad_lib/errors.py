"""The one exception that means "the user can mend this", and texts for a person."""

import difflib
import re
import reprlib
from collections.abc import Iterable

# What a terminal obeys instead of showing it: C0 and C1, ends of lines, marks of direction.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
OUT_OF_MEMORY = (
    "the device's memory ran out; in training, `diffad plan` with --device-gb names settings that "
    "fit, such as a smaller --set batch_size"
)


class DiffadError(Exception):
    """A problem with input, configuration or the machine, told in one line.

    The message names the file or key, says what is wrong and what to do.
    The command line prints it without a traceback and exits with code 1.
    """


class InUse(DiffadError):
    """Another process works in a folder; it can be tried again."""


def one_line(error: object) -> str:
    """The text of an error or another thing in one line that is not long, whoever wrote it."""
    words = " ".join(str(error).split())
    return words if len(words) <= 300 else f"{words[:300]}…"


def short_repr(value: object) -> str:
    """A value from a file or the command line, cut where it is long or deep."""
    cut = reprlib.Repr()
    cut.maxstring = cut.maxother = cut.maxlong = 100
    return cut.repr(value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint such as `did you mean "epochs"?`, or the list of valid names."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"valid: {', '.join(sorted(valid))}"


def lacks(what: str, package: str, extra: str) -> DiffadError:
    """The error that tells how to install an extra."""
    told = f"{what} needs {package}; in the checkout of the project: "
    return DiffadError(f"{told}.venv/bin/python -m pip install -e '.[{extra}]'")


def shown(text: object) -> str:
    """A text on one line for a terminal: control characters, as names may hold, as escapes."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def shown_lines(text: str) -> str:
    """The same for a text whose line breaks are meant, such as a traceback."""
    return "\n".join(map(shown, text.split("\n")))
