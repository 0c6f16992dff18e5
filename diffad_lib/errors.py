"""The one exception that means "the user can mend this", and the hint for a mistyped name."""

import difflib
import reprlib
from collections.abc import Iterable


class DiffadError(Exception):
    """A problem with input, configuration or the machine, told in one line.

    The message names the file or key, says what is wrong and what to do.
    The command line prints it without a traceback and exits with code 1.
    """


def one_line(error: object) -> str:
    """The text of an error or another thing in one line that is not long, whoever wrote it."""
    words = " ".join(str(error).split())
    return words if len(words) <= 300 else f"{words[:300]}…"


def shown(value: object) -> str:
    """A value from a file or the command line, cut where it is long or deep."""
    cut = reprlib.Repr()
    cut.maxstring = cut.maxother = cut.maxlong = 100
    return cut.repr(value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint such as `did you mean "epochs"?`, or the list of valid names."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"valid: {', '.join(sorted(valid))}"
