"""The one exception that means "the user can mend this", and the hint for a mistyped name."""

import difflib
from collections.abc import Iterable


class DiffadError(Exception):
    """A problem with input, configuration or the machine, told in one line.

    The message names the file or key, says what is wrong and what to do.
    The command line prints it without a traceback and exits with code 1.
    """


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint such as `did you mean "epochs"?`, or the list of valid names."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else f"valid: {', '.join(sorted(valid))}"
