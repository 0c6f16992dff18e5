"""The recipes of the papers and of their official codes, beside ours."""

import runpy

import pytest

from course_files import ROOT
from diffad_lib.methods import method_names
from diffad_lib.methods.method import OFFICIAL_CODE, UNKNOWN, find_method
from diffad_lib.plans import PLACES, Budget

PUBLISHED = [name for name in method_names() if find_method(name).published]
# Settings that change no number of a recipe: where, how fast and how safely it computes.
OF_THE_MACHINE = PLACES | {
    "accumulate", "steps", "max_train_seconds", "device", "channels_last", "checkpoint_seconds",
    "recompute_levels", "eval_batch_size", "bootstrap_samples", "accept_masks", "kind",
    "foreground_folder",
}  # fmt: skip
# Off in every paper budget, or decided by others that the table has.
OURS_ALONE = {"ema_decay", "warmup_fraction", "norm_groups"}

every_recipe = pytest.mark.parametrize("name", PUBLISHED)


def values(budget: Budget) -> dict[str, object]:
    keys = budget.setting_keys().items()
    return {key: getattr(getattr(budget, section), key) for key, section in keys}


def test_the_page_is_up_to_date() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "hyperparameters.py"))
    assert tool["PAGE"].read_text(encoding="utf-8") == tool["page"]()


def test_both_methods_with_official_code_are_on_the_page() -> None:
    assert [name for name in method_names() if find_method(name).official] == PUBLISHED


@every_recipe
def test_every_setting_that_decides_a_number_is_traced(name: str) -> None:
    method = find_method(name)
    left_out = set(method.setting_keys()) - method.published.keys() - OF_THE_MACHINE - OURS_ALONE
    optional = {"segmentation_learning_rate", "segmentation_lr_schedule", "fpr_limit"}
    assert left_out <= optional, "tell in published.py what paper and code have"
    assert all(one.where for one in method.published.values())


@every_recipe
def test_the_paper_budget_is_the_papers_and_where_it_is_silent_the_codes(name: str) -> None:
    method = find_method(name)
    ours = values(method.budget("paper"))
    for key, one in method.published.items():
        if key not in ours:
            assert one.ours, f"{key}: tell what ours is"
        elif one.paper != UNKNOWN:
            assert ours[key] == one.paper, key
        elif one.code != UNKNOWN and key not in departures(name):
            assert ours[key] == one.code, key


@every_recipe
def test_official_code_gives_every_value_of_the_official_code(name: str) -> None:
    method = find_method(name)
    varied = values(method.budget("paper").with_settings(method.departures(OFFICIAL_CODE)))
    for key, one in method.published.items():
        if key in varied and one.code != UNKNOWN:
            assert varied[key] == one.code, key


def departures(name: str) -> set[str]:
    """Settings in which the paper's budget is not the code's."""
    return set(find_method(name).departures(OFFICIAL_CODE))


def test_each_departure_of_the_official_codes_is_a_variant_of_its_own() -> None:
    draem, diffusionad = (find_method(name).variants for name in ("draem", "diffusionad"))
    assert {name for name, one in draem.items() if one.official} == {
        "code-lr", "code-rotation", "code-beta", "code-resize", "official-masks",
    }  # fmt: skip
    assert {name for name, one in diffusionad.items() if one.official} == {
        "select-on-test", "code-resize", "official-masks",
    }  # fmt: skip
    assert {"signed-range", "t-max-600"} <= diffusionad.keys()
    assert all(one.sentence and one.source for one in (*draem.values(), *diffusionad.values()))
