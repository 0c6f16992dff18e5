"""The strict configuration: presets, variants, overrides, and errors that name the key."""

import math
from pathlib import Path

import pytest

from diffad_lib.errors import DiffadError
from diffad_lib.runs.config import build_config, parse_overrides
from diffad_lib.runs.presets import PRESETS, VARIANTS

METHODS = ("autoencoder", "draem", "diffusionad")


@pytest.mark.parametrize("budget", PRESETS)
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_is_a_valid_configuration(budget: str, method: str) -> None:
    config = build_config("mvtec", "bottle", method, budget)
    assert (config.steps is None) != (config.epochs is None)
    assert config.image_size == {"paper": 256}.get(budget, config.image_size)


def test_paper_budget_has_the_published_numbers() -> None:
    draem = build_config("mvtec", "bottle", "draem", "paper")
    assert (draem.epochs, draem.batch_size, draem.learning_rate) == (700, 8, 1e-4)
    assert (draem.base_width, draem.segmentation_width) == (128, 64)
    assert (draem.beta_min, draem.beta_max, draem.rotation_degrees) == (0.0, 0.8, 45)
    diffusionad = build_config("mvtec", "bottle", "diffusionad", "paper")
    assert (diffusionad.epochs, diffusionad.batch_size) == (3000, 16)
    assert (diffusionad.learning_rate, diffusionad.segmentation_learning_rate) == (1e-4, 1e-5)
    assert (diffusionad.beta_min, diffusionad.less_t_range) == (0.2, 300)
    assert (diffusionad.test_normal_t, diffusionad.test_noisier_t) == (200, 400)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_changes_a_valid_setting(name: str) -> None:
    for method in VARIANTS[name].settings:
        plain = build_config("mvtec", "bottle", method, "paper")
        varied = build_config("mvtec", "bottle", method, "paper", variants=[name])
        assert plain.model_dump(exclude={"variants"}) != varied.model_dump(exclude={"variants"})


def test_official_code_turns_all_of_a_methods_official_departures_on() -> None:
    config = build_config("mvtec", "bottle", "draem", "paper", variants=["official-code"])
    assert (config.rotation_degrees, config.rotation_probability) == (90, 0.3)
    assert config.lr_schedule == "code-steps"


def test_overrides_win_over_variants_and_presets() -> None:
    config = build_config(
        "mvtec",
        "bottle",
        "draem",
        "paper",
        variants=["code-rotation"],
        overrides={"rotation_degrees": 10},
    )
    assert (config.rotation_degrees, config.rotation_probability) == (10, 0.3)


def test_a_length_in_steps_replaces_the_presets_epochs_and_back() -> None:
    by_steps = build_config("mvtec", "bottle", "draem", "paper", overrides={"steps": 5})
    assert (by_steps.steps, by_steps.epochs) == (5, None)
    by_epochs = build_config("mvtec", "bottle", "draem", "mini", overrides={"epochs": 5})
    assert (by_epochs.steps, by_epochs.epochs) == (None, 5)


def test_run_folder_tells_dataset_category_method_budget_variant_override_and_seed() -> None:
    config = build_config(
        "mvtec",
        "bottle",
        "draem",
        "laptop",
        variants=["code-lr"],
        overrides={"foreground_folder": "a/b", "steps": 5},
        seed=3,
        runs_dir=Path("r"),
    )
    assert config.run_folder == Path(
        "r/mvtec/bottle/draem/laptop+code-lr+foreground_folder=a_b+steps=5/seed3"
    )


def test_a_long_run_folder_is_cut_to_what_a_file_system_takes_and_stays_its_own() -> None:
    names = [
        build_config(
            "mvtec", "bottle", "draem", overrides={"foreground_folder": "가" * 100 + end}
        ).run_folder.parent.name
        for end in ("a", "b", "a")
    ]
    assert names[0] != names[1] and names[0] == names[2]
    assert max(len(name.encode()) for name in names) <= 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "drem"}, 'did you mean "draem"?'),
        ({"budget": "labtop"}, 'did you mean "laptop"?'),
        ({"dataset": "mvtek"}, 'did you mean "mvtec"?'),
        ({"overrides": {"epoch": 3}}, 'did you mean "epochs"?'),
        ({"overrides": {"steps": "many"}}, "steps: "),
        ({"overrides": {"steps": 0}}, "steps: "),
        ({"overrides": {"seed": 1}}, "use --seed"),
        ({"overrides": {"bottleneck": 8}}, "no effect on method draem"),
        ({"overrides": {"beta_min": 0.9}}, "beta_min must not exceed beta_max"),
        ({"overrides": {"steps": 3, "epochs": 3}}, "exactly one of steps and epochs"),
        ({"variants": ["oficial-code"]}, 'did you mean "official-code"?'),
        ({"variants": ["signed-range"]}, "does not concern method draem"),
        ({"seed": -1}, "seed: "),
        ({"max_train_seconds": 0}, "max_train_seconds: "),
        ({"max_train_seconds": math.inf}, "max_train_seconds: "),
        ({"overrides": {"learning_rate": math.inf}}, "learning_rate: "),
        ({"overrides": {"steps": True}}, "steps: "),
        ({"overrides": {"image_size": 10**6}}, "image_size: "),
        ({"seed": 2**64}, "seed: "),
        ({"variants": ["code-lr", "code-lr"]}, '"code-lr" is given twice'),
        ({"category": "\udcb0"}, "category: "),
        ({"runs_dir": Path("\udcb0")}, "runs_dir: "),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(arguments: dict, message: str) -> None:
    values = {"dataset": "mvtec", "category": "bottle", "method": "draem"} | arguments
    with pytest.raises(DiffadError) as error:
        build_config(**values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_are_read_as_json_and_text_is_kept() -> None:
    pairs = ["steps=5", "channels_last=true", "precision=32", "foreground=auto", "beta_min=1e-3"]
    assert parse_overrides([*pairs, "channel_multipliers=[1, 2]", "epochs=null"]) == {
        "steps": 5,
        "channels_last": True,
        "precision": "32",
        "foreground": "auto",
        "beta_min": 1e-3,
        "channel_multipliers": [1, 2],
        "epochs": None,
    }


def test_recorded_overrides_parse_back_to_the_same_configuration() -> None:
    overrides = {"channel_multipliers": [1, 2], "precision": "bf16-mixed", "signed_range": True}
    config = build_config("mvtec", "bottle", "diffusionad", overrides=overrides)
    assert parse_overrides(config.overrides) == overrides


@pytest.mark.parametrize("pairs", [["steps"], ["=3"], ["steps=1", "steps=2"]])
def test_a_malformed_override_is_an_error(pairs: list[str]) -> None:
    with pytest.raises(DiffadError, match="--set"):
        parse_overrides(pairs)
