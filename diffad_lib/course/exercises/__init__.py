"""Exercises of the course: `check("02.1", function)` says whether it is right, or what to mend.

After a check that failed, `last_case()` gives the call that failed. `experiment("02", function)`
measures what a function reaches in the open experiment of a chapter.

Chapter NN has a module `chapter_NN` with a tuple EXERCISES and a module `experiment_NN` with an
EXPERIMENT. No other file has to name them.
"""

import importlib
import pkgutil
import textwrap
from types import ModuleType

from diffad_lib.course.exercises.grading import Case, Exercise, Function, Verdict, grade
from diffad_lib.course.exercises.measuring import Call, Experiment, measured
from diffad_lib.errors import DiffadError, nearest

_last: Case | None = None  # of the last check


def check(exercise_id: str, answer: Function) -> None:
    """Print the verdict on a learner's function; raises DiffadError only for an unknown id.

    A function that takes too long is stopped, but only in the main thread of Linux and macOS, as
    in a notebook. Elsewhere there is no limit: interrupt it by hand.
    """
    global _last
    given = verdict(exercise_id, answer)
    _last = given.case
    _say(f"{exercise_id} {given}")
    if given.case:
        print("last_case() of diffad_lib.course.exercises gives this case.")


def last_case() -> Case:
    """The call that the answer of the last `check` failed: what went in, came out, was expected.

    Raises DiffadError if there is none.
    """
    if _last is None:
        raise DiffadError("last_case: the last check failed no case; run a check that fails first")
    return _last


def verdict(exercise_id: str, answer: Function) -> Verdict:
    """Passed, a hint that names the mistake, or not yet."""
    exercises = {exercise.id: exercise for exercise in all_exercises()}
    if exercise_id not in exercises:
        raise DiffadError(f'no exercise "{exercise_id}"; {nearest(str(exercise_id), exercises)}')
    return grade(exercises[exercise_id], answer)


def experiment(chapter: str, answer: Call) -> None:
    """Print what a learner's function reaches in the open experiment of a chapter, such as "02".

    Raises DiffadError only for a chapter that has none.
    """
    experiments = {found.chapter: found for found in all_experiments()}
    if chapter not in experiments:
        raise DiffadError(f'no experiment "{chapter}"; {nearest(str(chapter), experiments)}')
    result = measured(experiments[chapter], answer)
    _say(f"{chapter} {'goal reached' if result.reached else 'not yet'}: {result.message}")


def all_exercises() -> list[Exercise]:
    """The exercises of all chapters, in their order."""
    return [exercise for module in _modules("chapter_") for exercise in module.EXERCISES]


def all_experiments() -> list[Experiment]:
    """The open experiments of all chapters, in their order."""
    return [module.EXPERIMENT for module in _modules("experiment_")]


def _modules(prefix: str) -> list[ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{n}") for n in names if n.startswith(prefix)]


def _say(text: str) -> None:
    """In lines that JupyterLab does not break inside a word."""
    print(textwrap.fill(text, 92, break_long_words=False, break_on_hyphens=False))
