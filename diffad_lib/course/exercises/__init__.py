"""Exercises of the course: `check("02.1", function)` says whether it is right, or what to mend.

After a check that failed, `last_case()` gives the call that failed.

Chapter NN has a module `chapter_NN` with a tuple EXERCISES. No other file has to name it.
"""

import importlib
import pkgutil
import textwrap

from diffad_lib.course.exercises.grading import Case, Exercise, Function, Verdict, grade
from diffad_lib.errors import DiffadError, nearest

_CHAPTER = "chapter_"


_last: Case | None = None  # of the last check


def check(exercise_id: str, answer: Function) -> None:
    """Print the verdict on a learner's function; raises DiffadError only for an unknown id."""
    global _last
    given = verdict(exercise_id, answer)
    _last = given.case
    # JupyterLab would break a long line inside a word.
    text = f"{exercise_id} {given}"
    print(textwrap.fill(text, 92, break_long_words=False, break_on_hyphens=False))
    if given.case:
        print("last_case() gives this case.")


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


def all_exercises() -> list[Exercise]:
    """The exercises of all chapters, in their order."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    chapters = [
        importlib.import_module(f"{__name__}.{name}") for name in names if name.startswith(_CHAPTER)
    ]
    return [exercise for chapter in chapters for exercise in chapter.EXERCISES]
