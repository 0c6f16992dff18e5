"""When a long computation tells how far it is."""


def next_line(seconds: float) -> float:
    """The time of the next line after one at `seconds`: 15 s later, or 2 % where that is more."""
    return seconds + max(15.0, 0.02 * seconds)
