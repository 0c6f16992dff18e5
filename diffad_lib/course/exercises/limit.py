"""Calls of code that a learner wrote: errors become one line, and there is a time limit."""

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

_AGAIN = 0.5  # seconds; Python drops what is raised in a destructor, and code may catch all


class OutOfTime(BaseException):
    """The limit is over. No Exception, so that `except Exception` in a loop does not go on."""


class CallFailed(Exception):
    """A call that raised something or was stopped, with what the learner is told."""

    def __init__(self, told: str, error: BaseException) -> None:
        super().__init__(told)
        self.error = error.with_traceback(None)


class Limit(NamedTuple):
    """Seconds for all calls together, and when they are over, in `time.monotonic`."""

    seconds: float
    end: float


def from_now(seconds: float) -> Limit:
    return Limit(seconds, time.monotonic() + seconds)


def called(answer: Callable[..., Any], arguments: Sequence[Any], limit: Limit) -> Any:
    """What a learner's function returns; raises CallFailed."""
    try:
        with stopped_at(limit.end):
            return answer(*arguments)
    except OutOfTime as error:
        told = f"was stopped after {limit.seconds:g} s; is there a loop without end?"
        raise CallFailed(f"your function {told}", error) from None
    except (Exception, SystemExit) as error:  # whatever it raises is for the learner to read
        reason = next(iter(str(error).splitlines()), "no message")
        told = f"raised {type(error).__name__}{_line_in(answer, error)}: {reason}"
        raise CallFailed(f"your function {told}", error) from None


def _line_in(answer: Callable[..., Any], error: BaseException) -> str:
    """Where it happened, as " in line 3", for a function of a notebook cell or a file."""
    code = getattr(answer, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if code and frame.filename == code.co_filename]
    return f" in line {lines[-1]}" if lines else ""


def can_stop() -> bool:
    """Whether a limit works here: only in the main thread, and not on Windows."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and hasattr(signal, "setitimer")


@contextmanager
def stopped_at(deadline: float) -> Iterator[None]:
    """Raises OutOfTime in the block at a time of `time.monotonic`, where `can_stop()`.

    A library call that is under way ends first. A timer that ran before goes on afterwards.
    """
    if not can_stop():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, stop)
    first = max(deadline - started, 1e-3)
    left, again = signal.setitimer(signal.ITIMER_REAL, first, _AGAIN)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm just before the first would skip it
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(
                signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), again
            )
