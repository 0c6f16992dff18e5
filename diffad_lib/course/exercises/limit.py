"""A time limit for code that a learner wrote."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """The limit is over. No Exception, so that `except Exception` in a loop does not go on."""


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
    left, again = signal.setitimer(signal.ITIMER_REAL, max(deadline - started, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(
                signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), again
            )
