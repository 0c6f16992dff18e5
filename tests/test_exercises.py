"""`check`: what passes, what draws a hint, and that nothing else passes, in every exercise.

The answers of learners are checked in test_exercises_answers.py.
"""

import re
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from diffad_lib.course.exercises import all_exercises, check, verdict
from diffad_lib.course.exercises.grading import (
    SEED,
    Exercise,
    Function,
    Mistake,
    Outcome,
    Value,
    grade,
)
from diffad_lib.errors import DiffadError

EXERCISES = all_exercises()
MISTAKES = [(exercise, mistake) for exercise in EXERCISES for mistake in exercise.mistakes]
every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)

SPOILERS: dict[str, Callable[[Value], object]] = {
    "one more": lambda value: value + 1,
    "0.1 % more": lambda value: value * 1.001,
    "no return": lambda value: None,
    "text": str,
    "in a list": lambda value: [value],
    "an axis more": lambda value: torch.as_tensor(value)[None],
    "as NumPy": lambda value: np.asarray(value),
    "half precision": lambda value: torch.as_tensor(value).half(),
    "not a number": lambda value: value * float("nan"),
}

DOUBLE = Exercise(
    "99.1",
    lambda x: 2 * x,
    lambda generator: [
        (torch.tensor([1.0, 2.0]),),
        (torch.rand(3, 4, generator=generator),),
    ],
    (Mistake("a square stands where twice belongs.", lambda x: x**2),),
)
MEAN = Exercise(
    "99.3",
    lambda x: x.mean().item(),
    lambda generator: [
        (torch.tensor([1.0, 3.0]),),
        (torch.rand(3, 4, generator=generator) + 2,),
        (torch.zeros(2),),
    ],
)
COUNT = Exercise("99.2", lambda n: n + 1, lambda generator: [(3,), (8,)])


def changing(x):
    return x.mul_(2)


def counting(x, calls=[]):  # noqa: B006
    calls.append(x)
    return len(calls) * x


def failing(x):
    raise ValueError("first line\nsecond line")


def failing_late(x):
    return 2 * x if x.ndim == 1 else failing(x)


@pytest.mark.parametrize(
    ("exercise", "answer", "outcome", "message"),
    [
        (DOUBLE, lambda x: x + x, "passed", "right in all 2 trials."),
        (DOUBLE, lambda x: x * x, "hint", "a square stands where twice belongs."),
        (DOUBLE, lambda x: x, "not yet", "for x = [1, 2]: yours gives [1, 2], expected [2, 4]."),
        (DOUBLE, lambda x: 2 * x + (x.ndim > 1), "not yet", "for x = a tensor [3, 4]: yours gives"),
        (
            DOUBLE,
            lambda x: (2 * x).double(),
            "not yet",
            "the numbers are right, but your result is torch.float64, expected torch.float32.",
        ),
        (DOUBLE, lambda x: x.double(), "not yet", "for x = [1, 2]: yours gives [1, 2], expected"),
        (DOUBLE, lambda x: (x * x).double(), "hint", "a square stands where twice belongs."),
        (DOUBLE, lambda x: (2 * x)[None], "not yet", "has shape [1, 2], expected [2]."),
        (DOUBLE, lambda x: (2 * x).tolist(), "not yet", "returns list, expected torch.Tensor."),
        (DOUBLE, lambda x: None, "not yet", "returns None (is there a `return`?)"),
        (DOUBLE, lambda x: 2 * x + torch.rand(()), "not yet", "another result at every call"),
        (DOUBLE, counting, "not yet", "another result at every call; use its arguments alone."),
        (DOUBLE, changing, "not yet", "changes its argument x in place"),
        (DOUBLE, failing, "not yet", "your function raised ValueError in line"),
        (DOUBLE, lambda x: sys.exit(3), "not yet", "your function raised SystemExit in line"),
        (DOUBLE, failing_late, "not yet", "for x = a tensor [3, 4]: your function raised Value"),
        (DOUBLE, lambda x: 2 * x[:1], "not yet", "your result has shape [1], expected [2]."),
        (DOUBLE, lambda x: 2 * x[:2], "not yet", "for x = a tensor [3, 4]: your result has shape"),
        (DOUBLE, lambda x: x.max(dim=0), "not yet", "returns a tuple of 2, expected torch.Tensor."),
        (DOUBLE, lambda x: 2.00024 * x, "not yet", "gives [2.0002, 4.0005], expected [2, 4]."),
        (DOUBLE, lambda: 0, "not yet", "raised TypeError"),
        (DOUBLE, torch.ones(2), "not yet", 'check("99.1", your_function)'),
        (MEAN, lambda x: x.numpy().mean(), "passed", "3 trials"),
        (MEAN, lambda x: x.mean().item() if x.any() else 0, "passed", "3 trials"),
        (MEAN, lambda x: int(x.mean()), "not yet", "yours gives 2, expected 2."),
        (MEAN, lambda x: x.mean().item() if x.any() else None, "not yet", "x = [0, 0]: your func"),
        (MEAN, lambda x: x.any().item(), "not yet", "returns bool, expected float."),
        (COUNT, lambda n: n + 1, "passed", "2 trials"),
        (COUNT, lambda n: np.int64(n + 1), "passed", "2 trials"),
        (COUNT, lambda n: n, "not yet", "for n = 3: yours gives 3, expected 4."),
        (COUNT, lambda n: 4, "not yet", "for n = 8: yours gives 4, expected 9."),
        (COUNT, lambda n: n + 1.0, "not yet", "returns float, expected int."),
        (COUNT, lambda n: n == 3, "not yet", "returns bool, expected int."),
    ],
)
def test_what_a_learner_is_told(exercise, answer, outcome, message):
    verdict = grade(exercise, answer)
    assert verdict.outcome == outcome
    assert message in verdict.message
    assert "\n" not in str(verdict) and "second line" not in str(verdict)


def test_the_value_that_is_shown_is_one_that_is_wrong():
    wanted = torch.tensor([10_000.0, 1, 1, 1, 1, 1, 1])
    exercise = Exercise("99.4", lambda x: x, lambda generator: [(wanted.clone(),)])
    slip = torch.tensor([0.5, 0.1, 0, 0, 0, 0, 0])  # the first is within the tolerance
    assert "yours gives 1.1 at [1], expected 1." in grade(exercise, lambda x: x + slip).message


def test_check_prints_lines_short_enough_for_a_notebook(capsys):
    check("02.1", torch.zeros_like)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 92
    told = f"02.1 {verdict('02.1', torch.zeros_like)} "
    told += "last_case() of diffad_lib.course.exercises gives this case."
    assert " ".join(lines) == told


def test_an_unknown_exercise_is_an_error_that_names_the_nearest():
    with pytest.raises(DiffadError, match=r'"02.9"; did you mean "02\.'):
        check("02.9", torch.zeros_like)


def test_ids_are_unique_and_in_order():
    ids = [exercise.id for exercise in EXERCISES]
    assert ids == sorted(set(ids))
    assert all(re.fullmatch(r"\d\d\.\d", name) for name in ids)


@every_exercise
def test_the_solution_passes(exercise):
    assert verdict(exercise.id, exercise.solution).outcome == Outcome.PASSED


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=lambda x: getattr(x, "id", None) or x.hint[:40]
)
def test_every_hint_is_drawn_by_its_mistake(exercise, mistake):
    given = verdict(exercise.id, mistake.function)
    assert (given.outcome, given.message) == (Outcome.HINT, mistake.hint)
    assert len(mistake.hint) <= 100 and "\n" not in mistake.hint


@every_exercise
@pytest.mark.parametrize("name", SPOILERS)
def test_a_spoiled_solution_never_passes(exercise, name):
    def answer(*arguments):
        return SPOILERS[name](exercise.solution(*arguments))

    assert verdict(exercise.id, answer).outcome != Outcome.PASSED


@every_exercise
def test_a_constant_never_passes(exercise):
    cases = exercise.cases(torch.Generator().manual_seed(SEED))
    for arguments in cases:
        constant = exercise.solution(*arguments)
        assert verdict(exercise.id, lambda *_, value=constant: value).outcome != Outcome.PASSED


@every_exercise
def test_right_values_do_not_pass_if_an_argument_was_changed(exercise):
    for place, argument in enumerate(exercise.cases(torch.Generator())[0]):
        if isinstance(argument, torch.Tensor):
            answer = changing_argument(exercise.solution, place)
            given = verdict(exercise.id, answer)
            assert given.outcome == Outcome.NOT_YET
            assert "in place" in given.message


def changing_argument(solution: Function, place: int) -> Function:
    def answer(*arguments):
        value = solution(*arguments)
        changed = arguments[place]
        changed.logical_not_() if changed.dtype == torch.bool else changed.add_(1)
        return value

    return answer
