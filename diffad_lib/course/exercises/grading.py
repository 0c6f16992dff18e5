"""Compares a learner's function with the right one, and with functions that err in known ways."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from diffad_lib.course.exercises.limit import CallFailed, called, from_now

Value = Tensor | int | float
Function = Callable[..., Value]
Arguments = tuple[Any, ...]

SEED = 20240
MOST_SECONDS = 20  # for all calls of an answer
_RTOL, _ATOL = 1e-4, 1e-6  # wide enough for float32 in any order of operations
_FEW = 6  # values that a message shows in full


@dataclass(frozen=True)
class Mistake:
    """A likely wrong answer: a function that makes it, and the hint that names it.

    hint: what stands where what belongs, one line, without giving the solution away.
    """

    hint: str
    function: Function


@dataclass(frozen=True)
class Exercise:
    """A function to be written, its likely mistakes, and the calls it is judged by.

    solution: the right function; it returns one Tensor, int or float.
    cases: the arguments of every call, drawn from a generator, so that constants do not pass. The
        first case is small and round: a message can show it. Tensors are on the CPU.
    mistakes: each differs from the solution and from the others in at least one case.
    """

    id: str
    solution: Function
    cases: Callable[[torch.Generator], list[Arguments]]
    mistakes: tuple[Mistake, ...] = ()


class Outcome(StrEnum):
    PASSED = "passed"
    HINT = "hint"
    NOT_YET = "not yet"


@dataclass(frozen=True)
class Case:
    """A call that an answer failed.

    arguments: by name, as they were before the call. returned: what the answer gave, or the
    exception that it raised. expected: what the solution gives.
    """

    arguments: dict[str, Any]
    returned: object
    expected: Value


@dataclass(frozen=True)
class Verdict:
    """What `check` prints, in one line, and the case that failed, if there is one."""

    outcome: Outcome
    message: str
    case: Case | None = None

    def __str__(self) -> str:
        return f"{self.outcome}: {' '.join(self.message.split())}"


class _Wrong(Exception):
    """Values that cannot be compared: what the learner is told, in which case, what came out."""

    def __init__(self, message: str, number: int | None = None, returned: object = None) -> None:
        super().__init__(message)
        self.number, self.returned = number, returned


def grade(exercise: Exercise, answer: Function) -> Verdict:
    """Judge a learner's function. An error in it is a verdict, never an exception.

    Passed: in every case its value has the type, dtype, shape and numbers of the solution's, and
    its arguments are as they were. Hint: its values are those of a mistake in every case. An
    answer that takes longer than MOST_SECONDS is stopped, where `limit.can_stop()`.
    """
    try:
        return _judged(exercise, answer, _values_of(answer, exercise))
    except _Wrong as wrong:
        known = wrong.number is not None
        case = _case(exercise, wrong.number or 0, wrong.returned) if known else None
        return Verdict(Outcome.NOT_YET, str(wrong), case)


def _judged(exercise: Exercise, answer: Function, values: list[Value]) -> Verdict:
    expected = _values(exercise, exercise.solution)
    pairs = list(zip(values, expected, strict=True))
    apart = next((number for number, pair in enumerate(pairs) if not _close(*pair)), None)
    if apart is not None:
        case = _case(exercise, apart, values[apart])
        for mistake in exercise.mistakes:
            if _agrees(values, _values(exercise, mistake.function)):
                return Verdict(Outcome.HINT, mistake.hint, case)
        told = _difference(case, values[apart], expected[apart], apart)
        if not _agrees(values, _values_of(answer, exercise)):
            told = "your function gives another result at every call; use its arguments alone."
        return Verdict(Outcome.NOT_YET, told, case)
    for number, (value, right) in enumerate(pairs):
        if isinstance(value, Tensor) and isinstance(right, Tensor) and value.dtype != right.dtype:
            told = f"your result is {value.dtype}, expected {right.dtype}."
            raise _Wrong(f"the numbers are right, but {told}", number, value)
    return Verdict(Outcome.PASSED, f"right in all {len(values)} trials.")


def _case(exercise: Exercise, number: int, returned: object) -> Case:
    arguments, again = _cases(exercise)[number], _cases(exercise)[number]
    return Case(_named(exercise, arguments), returned, exercise.solution(*again))


def _named(exercise: Exercise, arguments: Arguments) -> dict[str, Any]:
    names = inspect.signature(exercise.solution).parameters
    return dict(zip(names, arguments, strict=True))


def _cases(exercise: Exercise) -> list[Arguments]:
    """Fresh arguments, the same at every call, so that no function can spoil another's."""
    return exercise.cases(torch.Generator().manual_seed(SEED))


def _values(exercise: Exercise, function: Function) -> list[Value]:
    return [function(*arguments) for arguments in _cases(exercise)]


def _values_of(answer: Function, exercise: Exercise) -> list[Value]:
    """What the learner's function returns in each case; raises _Wrong if it cannot be compared."""
    if not callable(answer):
        raise _Wrong(f'give the function itself: check("{exercise.id}", your_function).')
    wanted = _kind(exercise.solution(*_cases(exercise)[0]))
    limit = from_now(MOST_SECONDS)
    values = []
    trials = zip(_cases(exercise), _cases(exercise), strict=True)
    for number, (given, untouched) in enumerate(trials):
        named = _named(exercise, untouched)
        case = _after_the_first(number, _described(named))
        try:
            value = called(answer, given, limit)
        except CallFailed as failed:
            raise _Wrong(f"{case}{failed}", number, failed.error) from None
        for (name, before), after in zip(named.items(), given, strict=True):
            if isinstance(before, Tensor) and not _same(after, before):
                told = f"your function changes its argument {name} in place; work on a copy."
                raise _Wrong(told, number, value)
        returned = _kind(value)
        if (returned, wanted) == ("int", "float"):  # 0 is as good as 0.0
            value, returned = float(value), wanted
        if returned != wanted:
            told = f"your function returns {returned}, expected {wanted}."
            raise _Wrong(f"{case}{told}", number, value)
        values.append(value.detach().cpu().clone() if isinstance(value, Tensor) else value)
    return values


def _same(first: Tensor, second: Tensor) -> bool:
    same_form = first.shape == second.shape and first.dtype == second.dtype
    return same_form and torch.equal(first, second)


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return "torch.Tensor"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Real):  # NumPy's numbers are among them
        return "int" if isinstance(value, Integral) else "float"
    if isinstance(value, tuple):  # also what `max(dim=1)` of a tensor gives
        return f"a tuple of {len(value)}"
    return "None (is there a `return`?)" if value is None else type(value).__name__


def _agrees(values: list[Value], others: list[Value]) -> bool:
    return all(_close(value, other) for value, other in zip(values, others, strict=True))


def _close(value: Value, other: Value) -> bool:
    """The same shape and numbers, whatever the dtype; integers exactly."""
    if isinstance(value, Integral):
        return value == other
    first, second = (torch.as_tensor(number, dtype=torch.float64) for number in (value, other))
    same_shape = first.shape == second.shape
    return same_shape and torch.allclose(first, second, _RTOL, _ATOL, equal_nan=True)


def _difference(case: Case, value: Value, expected: Value, number: int) -> str:
    """What the learner is told of a case where shapes or numbers differ."""
    place = ""
    if isinstance(value, Tensor) and isinstance(expected, Tensor):
        if value.shape != expected.shape:
            told = f"your result has shape {list(value.shape)}, expected {list(expected.shape)}."
            return _after_the_first(number, _described(case.arguments)) + told
        if expected.numel() > _FEW:
            gap = (value.double() - expected.double()).abs() - _RTOL * expected.double().abs()
            farthest = gap.nan_to_num(torch.inf).argmax()
            where = tuple(int(index) for index in torch.unravel_index(farthest, gap.shape))
            value, expected, place = value[where], expected[where], f" at {list(where)}"
    yours, right = _shown_apart(value, expected)
    return f"for {_described(case.arguments)}: yours gives {yours}{place}, expected {right}."


def _described(arguments: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} = {_shown(argument)}"
        for name, argument in arguments.items()
        if isinstance(argument, Tensor | Real)
    )


def _after_the_first(number: int, case: str) -> str:
    """Names a case if the first one went well: what fails there may fail there only."""
    return f"for {case}: " if number else ""


def _shown_apart(value: Value, expected: Value) -> tuple[str, str]:
    """Both, with so many digits that they differ."""
    shown = ((_shown(value, digits), _shown(expected, digits)) for digits in (4, 5, 6))
    return next((pair for pair in shown if pair[0] != pair[1]), (str(value), str(expected)))


def _shown(value: Value | Real, digits: int = 4) -> str:
    """A number, the values of a small tensor, or the shape of a larger one."""
    if isinstance(value, Tensor):
        if value.ndim and value.numel() <= _FEW:
            return f"[{', '.join(_shown(part, digits) for part in value)}]"
        if value.ndim:
            return f"a tensor {list(value.shape)}"
        value = value.item()
    return str(value) if isinstance(value, Integral) else f"{value:.{digits}g}"
