"""`check` on the answers of learners: right ones, known mistakes, other wrong ones.

The answers to the exercises of chapter NN are in answers_NN.py: RIGHT and OTHER as (exercise,
answer), HINTED as (exercise, answer, words of the hint).
"""

from importlib import import_module
from pathlib import Path

import pytest

from diffad_lib.course.exercises import all_exercises, verdict
from diffad_lib.course.exercises.grading import Outcome

MODULES = [import_module(path.stem) for path in sorted(Path(__file__).parent.glob("answers_*.py"))]
RIGHT, HINTED, OTHER = (
    [given for module in MODULES for given in getattr(module, kind)]
    for kind in ("RIGHT", "HINTED", "OTHER")
)


def name(part):
    """In the name of a test: the exercise, the answer's function, or the words of the hint."""
    return getattr(part, "__name__", str(part)[:30])


@pytest.mark.parametrize(("exercise", "answer"), RIGHT, ids=name)
def test_right_answers_pass(exercise, answer):
    given = verdict(exercise, answer)
    assert given.outcome == Outcome.PASSED, given


@pytest.mark.parametrize(("exercise", "answer", "words"), HINTED, ids=name)
def test_known_mistakes_draw_their_hint(exercise, answer, words):
    given = verdict(exercise, answer)
    assert given.outcome == Outcome.HINT, given
    assert words in given.message


@pytest.mark.parametrize(("exercise", "answer"), OTHER, ids=name)
def test_other_wrong_answers_get_a_plain_not_yet(exercise, answer):
    given = verdict(exercise, answer)
    assert given.outcome == Outcome.NOT_YET, given


@pytest.mark.parametrize("kind", ["RIGHT", "HINTED", "OTHER"])
def test_every_exercise_has_answers_of_every_kind_in_the_file_of_its_chapter(kind):
    ids = {exercise.id for exercise in all_exercises()}
    assert {given[0] for given in globals()[kind]} == ids
    for module in MODULES:
        chapters = {given[0].partition(".")[0] for given in getattr(module, kind)}
        assert chapters == {module.__name__.removeprefix("answers_")}


@pytest.mark.slow
def test_every_hint_is_drawn_by_an_answer():
    drawn = {(exercise, verdict(exercise, answer).message) for exercise, answer, _ in HINTED}
    hints = {(exercise.id, m.hint) for exercise in all_exercises() for m in exercise.mistakes}
    assert hints == drawn
