"""The open experiments: what reaches a goal, what does not, and what a learner is told."""

import re

import pytest
import torch

from course_files import FOLDER, code_cells, course_notebook, printed, prose, read
from diffad_lib.course.exercises import all_exercises, all_experiments, experiment
from diffad_lib.course.exercises import measuring as measuring_module
from diffad_lib.course.exercises.measuring import Experiment, Goal, measured, tensor_like
from diffad_lib.errors import DiffadError
from experiments import NOT_REACHED, REACHED, disks, median_of_scenes, one_step

EXPERIMENTS = {found.chapter: found for found in all_experiments()}
SUM = Experiment(
    "99",
    lambda answer: {"sum": tensor_like(answer(), torch.zeros(2), "numbers").sum().item()},
    (Goal("sum", below=3), Goal("sum", above=1)),
)


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "answer"), REACHED)
def test_a_goal_can_be_reached(chapter, answer):
    result = measured(EXPERIMENTS[chapter], answer)
    assert result.reached, result.message


@pytest.mark.slow
@pytest.mark.parametrize(("chapter", "answer"), NOT_REACHED)
def test_what_the_chapter_does_by_default_does_not_reach_it(chapter, answer):
    result = measured(EXPERIMENTS[chapter], answer)
    assert result.values and not result.reached, result.message


@pytest.mark.slow
def test_the_order_of_the_maps_does_not_give_the_defects_away():
    in_order = measured(EXPERIMENTS["00"], lambda maps, good_maps: torch.arange(len(maps)))
    assert 0.25 < in_order.values["AUROC"] < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("chapter", ["03", "04", "05"])
def test_a_repair_without_the_network_it_is_given_is_told(chapter):
    result = measured(EXPERIMENTS[chapter], median_of_scenes)
    assert not result.reached and "never calls the network" in result.message


@pytest.mark.slow
def test_a_repair_cannot_put_pictures_together_by_their_order():
    def with_a_call(images, network, *rest):
        network(images, torch.zeros(len(images), dtype=torch.int64))
        return median_of_scenes(images)

    assert not measured(EXPERIMENTS["03"], with_a_call).reached


@pytest.mark.slow
def test_a_defect_that_is_turned_round_is_no_repair():
    def turned(images, network, schedule, generator):
        change = one_step(50)(images, network, schedule, generator) - images
        return torch.where(change.abs() > 0.1, images + 3 * change, images)

    values = measured(EXPERIMENTS["05"], turned).values
    assert values["defect kept"] > 0.41


@pytest.mark.slow
def test_pictures_in_one_large_image_count_as_calls():
    def tiled(images, network, schedule, generator):
        return network(images.repeat(1, 1, 2, 2), torch.zeros(10).long())[..., :64, :64]

    assert measured(EXPERIMENTS["04"], tiled).values["network calls"] == 4


@pytest.mark.slow
def test_the_same_function_reaches_the_same_twice():
    repair = next(answer for chapter, answer in REACHED if chapter == "03")
    assert measured(EXPERIMENTS["03"], repair) == measured(EXPERIMENTS["03"], repair)


def test_every_chapter_has_an_experiment_with_answers_of_both_kinds():
    chapters = sorted({exercise.id[:2] for exercise in all_exercises()})
    assert list(EXPERIMENTS) == chapters
    for answers in (REACHED, NOT_REACHED):
        assert sorted({chapter for chapter, _ in answers}) == chapters


@pytest.mark.parametrize(
    ("answer", "reached", "message"),
    [
        (lambda: torch.ones(2), True, "sum 2 (below 3: yes), sum 2 (above 1: yes)"),
        (lambda: 2 * torch.ones(2), False, "sum 4 (below 3: no), sum 4 (above 1: yes)"),
        (lambda: torch.tensor([1, 2]), False, "sum 3 (below 3: no), sum 3 (above 1: yes)"),
        (lambda: torch.zeros(2), False, "sum 0 (below 3: yes), sum 0 (above 1: no)"),
        (lambda: [1, 1], False, "your function returns list, expected numbers, [2]."),
        (lambda: torch.ones(3), False, "returns numbers of shape [3], expected [2]."),
        (lambda: torch.tensor([1, torch.nan]), False, "returns numbers with NaN or infinite"),
        (lambda x: x, False, "your function raised TypeError"),
        (3, False, 'give the function itself: experiment("99", your_function).'),
    ],
)
def test_what_a_learner_is_told(answer, reached, message):
    result = measured(SUM, answer)
    assert result.reached == reached
    assert message in result.message and "\n" not in result.message


def test_an_experiment_without_end_is_stopped(monkeypatch):
    monkeypatch.setattr(measuring_module, "MOST_SECONDS", 0.2)

    def endless():
        while True:
            pass

    assert "your function was stopped after 0.2 s" in measured(SUM, endless).message


def test_an_unknown_experiment_is_an_error_that_names_the_nearest():
    with pytest.raises(DiffadError, match=r'no experiment "12"; did you mean "1\d"'):
        experiment("12", torch.zeros_like)


@pytest.mark.parametrize("answer", [lambda *_: 0.5, lambda *_: True, lambda *_: 1000])
def test_a_t_that_is_none_is_not_measured(answer):
    assert "expected t, a whole number from 0 to 999" in measured(EXPERIMENTS["02"], answer).message


def test_masks_are_zero_or_one_and_not_all_empty():
    mask = torch.zeros(400, 1, 64, 64)
    assert "empty masks only" in measured(EXPERIMENTS["06"], lambda *_: mask).message
    assert "other than 0 and 1" in measured(EXPERIMENTS["06"], lambda *_: mask + 0.5).message
    assert "other than 0 and 1" in measured(EXPERIMENTS["06"], lambda *_: mask - 1).message
    found = measured(EXPERIMENTS["06"], lambda *_: mask.index_fill(0, torch.tensor([0]), 1))
    assert "of shape [400, 1, 64, 64], expected [7, 1, 32, 32]" in found.message


@pytest.mark.slow
def test_masks_are_drawn_with_the_generator_that_is_given():
    def the_same(count, size, generator):
        return disks(count, size, torch.Generator().manual_seed(0))

    def another(count, size, generator):
        return disks(count, size, torch.default_generator)

    assert "the same masks again" in measured(EXPERIMENTS["06"], the_same).message
    assert "another generator" in measured(EXPERIMENTS["06"], another).message


@course_notebook
def test_the_experiment_is_open_in_the_notebook_and_solved_in_its_solutions(path):
    chapter = path.name[:2]
    for notebook, reached in ((path, False), (FOLDER / "solutions" / path.name, True)):
        cells = code_cells(read(notebook))
        (cell,) = [cell for cell in cells if re.search(r"(?m)^experiment\(", cell.source)]
        lines = re.findall(r"(?m)^\d\d (?:goal reached|not yet): .*", printed(cell))
        assert len(lines) == len(re.findall(rf'(?m)^experiment\("{chapter}", \w+\)$', cell.source))
        assert lines
        assert all(line.startswith(f"{chapter} goal reached") == reached for line in lines)


@course_notebook
def test_a_chapter_has_two_questions_to_discuss_with_minutes(path):
    text = prose(read(path)).split("\n### To discuss\n", 1)[1].split("\n## ", 1)[0]
    assert len(re.findall(r"(?m)^\d\. .+ \(\d+ minutes\)$", text)) == 2
