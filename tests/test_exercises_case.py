"""The case that failed, and the time limit of an answer."""

import signal
import threading
import time

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from diffad_lib.course import exercises
from diffad_lib.course.exercises import all_exercises, check, grading, last_case
from diffad_lib.course.exercises.grading import Outcome, grade
from diffad_lib.course.exercises.limit import called, from_now
from diffad_lib.errors import DiffadError
from test_exercises import DOUBLE, changing, failing_late

EXERCISES = all_exercises()


def test_the_case_that_failed_can_be_fetched(capsys):
    check("02.2", lambda x_s, s, t, noise, alphas_cumprod: x_s if len(x_s) < 3 else noise)
    case = last_case()
    assert list(case.arguments) == ["x_s", "s", "t", "noise", "alphas_cumprod"]
    solution = next(exercise.solution for exercise in EXERCISES if exercise.id == "02.2")
    torch.testing.assert_close(solution(**case.arguments), case.expected)
    torch.testing.assert_close(case.returned, case.arguments["x_s"])  # the first that failed
    assert "last_case() of diffad_lib.course.exercises gives this case." in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: 2 * x if x.ndim == 1 else x**2,  # right in the first case
        lambda x: (2 * x).double() if x.ndim > 1 else 2 * x,
        lambda x: (2 * x).tolist() if x.ndim > 1 else 2 * x,
        lambda x: 2 * x if x.ndim == 1 else x[:1],
    ],
    ids=["numbers", "dtype", "type", "shape"],
)
def test_the_case_is_the_one_that_failed(answer):
    case = grade(DOUBLE, answer).case
    assert case.arguments["x"].shape == (3, 4)
    torch.testing.assert_close(case.expected, 2 * case.arguments["x"])
    wanted = answer(case.arguments["x"])
    assert type(case.returned) is type(wanted) and str(case.returned) == str(wanted)


def test_a_hint_comes_with_its_case_and_a_failure_with_the_exception():
    assert grade(DOUBLE, lambda x: x**2).case.returned.tolist() == [1.0, 4.0]
    case = grade(DOUBLE, failing_late).case
    assert isinstance(case.returned, ValueError) and case.arguments["x"].shape == (3, 4)
    spoiled = grade(DOUBLE, changing).case
    assert spoiled.arguments["x"].tolist() == [1.0, 2.0]  # as it was before the call


@pytest.mark.parametrize("answer", ["a text", lambda a: 1 - a / torch.cat([a[:1] ** 0, a[:-1]])])
def test_where_no_case_failed_there_is_none_to_fetch(answer, monkeypatch, capsys):
    monkeypatch.setattr(exercises, "_last", None)
    for _ in range(2):
        with pytest.raises(DiffadError, match="last_case: the last check failed no case; run a"):
            last_case()
        check("02.1", torch.zeros_like)
        assert last_case().returned.tolist() == [0.0, 0.0, 0.0]
        check("02.1", answer)
        assert "last_case" not in capsys.readouterr().out.split("02.1 ")[-1]


def endless(x):
    while True:
        time.sleep(0.01)


def stubborn(x):
    while True:
        try:
            endless(x)
        except Exception:
            continue


def catching_all_once(x):
    try:
        endless(x)
    except BaseException:
        endless(x)


LOOPS = (endless, stubborn, catching_all_once)


@pytest.mark.parametrize("answer", [*LOOPS, lambda x: time.sleep(1) or 2 * x])
def test_an_answer_that_takes_too_long_is_stopped(answer, monkeypatch):
    """The last one is slow in two cases together."""
    most = 0.25 if answer in LOOPS else 1.75
    monkeypatch.setattr(grading, "MOST_SECONDS", most)
    before, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    started = time.monotonic()
    given = grade(DOUBLE, answer)
    assert time.monotonic() - started < 5
    assert given.outcome == Outcome.NOT_YET
    assert f"your function was stopped after {most} s; is there a loop without" in given.message
    assert (given.case.arguments["x"].ndim == 2) == (answer not in LOOPS)
    assert signal.getsignal(signal.SIGALRM) is before
    after = signal.getitimer(signal.ITIMER_REAL)  # pytest's own
    assert after[1] == timer[1] and timer[0] - 5 < after[0] <= timer[0]
    assert grade(DOUBLE, lambda x: x + x).outcome == Outcome.PASSED


def test_a_timer_of_others_goes_on_after_a_check():
    rang = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append(time.monotonic()))
    timer = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        grade(DOUBLE, lambda x: 2 * x)
        time.sleep(0.5)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
    assert len(rang) == 1


def test_no_alarm_is_left_behind():
    """It would end the kernel."""
    rang = []
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    handler = signal.signal(signal.SIGALRM, lambda *_: rang.append(1))
    try:
        called(lambda: None, (), from_now(0.2))
        time.sleep(0.4)
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
    assert rang == []


def test_in_another_thread_an_answer_is_judged_without_a_limit(monkeypatch):
    monkeypatch.setattr(grading, "MOST_SECONDS", 0.05)
    given = []
    slow = threading.Thread(
        target=lambda: given.append(grade(DOUBLE, lambda x: time.sleep(0.1) or 2 * x))
    )
    slow.start()
    slow.join()
    assert given[0].outcome == Outcome.PASSED


@pytest.mark.slow
def test_in_jupyter_the_kernel_and_the_state_outlive_a_loop_without_end():
    cells = [
        "from diffad_lib.course.exercises import check, grading",
        "grading.MOST_SECONDS, kept = 1, 42",
        "def endless(a):\n    while True:\n        pass\n\n\ncheck('02.1', endless)",
        "print(kept, callable(endless))",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    stopped, alive = (cell.outputs[0].text for cell in notebook.cells[2:])
    assert stopped.startswith("02.1 not yet: your function was stopped after 1 s;")
    assert alive == "42 True\n"
