"""The strict configuration: presets, variants, overrides, and errors that name the key."""

import math
from pathlib import Path

import pytest

from diffad_lib.errors import DiffadError
from diffad_lib.methods.method import find_method, method_names
from diffad_lib.plans import Budget
from diffad_lib.runs.config import RunConfig, build_config, parse_overrides

BUDGETS = [(m, name) for m in method_names() for name in find_method(m).budgets]
VARIANTS = [(m, name) for m in method_names() for name in find_method(m).variants]


@pytest.mark.parametrize(("method", "budget"), BUDGETS)
def test_every_budget_is_a_valid_configuration(method: str, budget: str) -> None:
    config = build_config("mvtec", "bottle", method, budget)
    assert (config.training.steps is None) != (config.training.epochs is None)
    size = config.detector.image_size
    assert size == {"paper": 256}.get(budget, size)


def test_paper_budget_has_the_published_numbers() -> None:
    draem = build_config("mvtec", "bottle", "draem", "paper")
    plan, sizes, synthesis = draem.training, draem.detector, draem.synthesis
    assert (plan.epochs, plan.batch_size, plan.learning_rate) == (700, 8, 1e-4)
    assert (sizes.base_width, sizes.segmentation_width, sizes.score_window) == (128, 64, 21)
    assert (synthesis.beta_min, synthesis.beta_max, synthesis.rotation_degrees) == (0.0, 0.9, 45)
    diffusionad = build_config("mvtec", "bottle", "diffusionad", "paper")
    plan, times = diffusionad.training, diffusionad.detector
    assert (plan.epochs, plan.batch_size) == (3000, 16)
    assert plan.rate("denoising") == (1e-4, "constant")
    assert plan.rate("segmentation") == (1e-5, "cosine-10")
    assert (diffusionad.synthesis.beta_min, times.less_t_range) == (0.2, 300)
    assert (times.test_normal_t, times.test_noisier_t) == (200, 400)


@pytest.mark.parametrize(("method", "name"), VARIANTS)
def test_every_variant_changes_a_valid_setting(method: str, name: str) -> None:
    plain = build_config("mvtec", "bottle", method, "paper")
    varied = build_config("mvtec", "bottle", method, "paper", variants=[name])
    assert plain.model_dump(exclude={"variants"}) != varied.model_dump(exclude={"variants"})


@pytest.mark.parametrize("method", method_names())
def test_no_key_stands_in_two_sections_and_every_setting_has_a_sentence(method: str) -> None:
    config = build_config("mvtec", "bottle", method)
    who = set(RunConfig.model_fields) - set(Budget.model_fields)
    sections = [type(getattr(config, name)).model_fields for name in Budget.model_fields]
    keys = [key for section in (who, *sections) for key in section]
    assert len(keys) == len(set(keys))
    fields = [field for section in sections for field in section.values()]
    assert [field for field in fields if not field.description] == []


@pytest.mark.parametrize("method", method_names())
def test_a_configuration_comes_back_from_json(method: str) -> None:
    config = build_config("mvtec", "bottle", method, overrides={"steps": 3}, data_root=Path("d"))
    assert RunConfig(**config.model_dump(mode="json")) == config


def test_official_code_turns_all_of_a_methods_official_departures_on() -> None:
    config = build_config("mvtec", "bottle", "draem", "paper", variants=["official-code"])
    synthesis = config.synthesis
    assert (synthesis.rotation_degrees, synthesis.rotation_probability) == (90, 0.3)
    assert (synthesis.beta_min, synthesis.beta_max) == (0.0, 0.8)
    assert config.training.lr_schedule == "code-steps"
    assert (config.evaluation.image_rule, config.evaluation.mask_rule) == ("linear", "whole")
    selecting = build_config("mvtec", "bottle", "diffusionad", variants=["official-code"])
    assert selecting.training.select_on_test_epochs == 50
    assert (selecting.evaluation.image_rule, selecting.evaluation.mask_rule) == ("linear", "whole")
    assert selecting.detector.noisier_t_range is None  # its code does not read its own 600
    with pytest.raises(DiffadError, match="no official code of Autoencoder"):
        build_config("mvtec", "bottle", "autoencoder", variants=["official-code"])


@pytest.mark.parametrize("method", ["draem", "diffusionad"])
def test_code_resize_changes_the_image_rule_alone_and_names_the_folder(method: str) -> None:
    plain, varied = (
        build_config("mvtec", "bottle", method, "paper", variants)
        for variants in ((), ("code-resize",))
    )
    assert (plain.evaluation.image_rule, plain.detector.image_size) == ("area", 256)
    linear = plain.evaluation.but(image_rule="linear")
    assert varied == plain.but(evaluation=linear, variants=("code-resize",))
    assert varied.run_folder.parent.name == "paper+code-resize"


def test_overrides_win_over_variants_and_presets() -> None:
    config = build_config(
        "mvtec",
        "bottle",
        "draem",
        "paper",
        variants=["code-rotation"],
        overrides={"rotation_degrees": 10},
    )
    synthesis = config.synthesis
    assert (synthesis.rotation_degrees, synthesis.rotation_probability) == (10, 0.3)


def test_a_length_in_steps_replaces_the_presets_epochs_and_back() -> None:
    by_steps = build_config("mvtec", "bottle", "draem", "paper", overrides={"steps": 5})
    assert (by_steps.training.steps, by_steps.training.epochs) == (5, None)
    by_epochs = build_config("mvtec", "bottle", "draem", "mini", overrides={"epochs": 5})
    assert (by_epochs.training.steps, by_epochs.training.epochs) == (None, 5)


def test_a_length_that_is_taken_away_leaves_the_other() -> None:
    config = build_config("mvtec", "bottle", "draem", "mini", overrides={"epochs": None})
    assert config.training.steps == 400


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
            "mvtec", "bottle", "draem", overrides={"foreground_folder": "가" * 80 + end}
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
        ({"overrides": {"bottleneck": 8}}, "no setting of method draem, only of autoencoder"),
        ({"overrides": {"beta_min": 0.9}}, "beta_min must not exceed beta_max"),
        ({"overrides": {"steps": 3, "epochs": 3}}, "exactly one of steps and epochs"),
        ({"variants": ["oficial-code"]}, 'did you mean "official-code"?'),
        ({"variants": ["signed-range"]}, "does not concern method DRAEM"),
        ({"dataset": "dtd"}, "--dataset"),
        ({"overrides": {"overrides": "x"}}, "name the setting itself"),
        ({"overrides": {"foreground_folder": ""}}, "foreground_folder: "),
        ({"method": "diffusionad", "overrides": {"channel_multipliers": [True]}}, "channel_mult"),
        (
            {"method": "autoencoder", "overrides": {"beta_min": 0.5}},
            "only of diffusionad and draem",
        ),
        ({"overrides": {"image_size": 36}}, "image_size: "),
        ({"overrides": {"image_rule": "lanczos"}}, "image_rule: Input should be 'area' or"),
        ({"colour": 1}, '"colour" is not a setting'),
        ({"seed": -1}, "seed: "),
        ({"max_train_seconds": 0}, "max_train_seconds: "),
        ({"max_train_seconds": math.inf}, "max_train_seconds: "),
        ({"overrides": {"learning_rate": math.inf}}, "learning_rate: "),
        ({"overrides": {"steps": True}}, "steps: "),
        ({"overrides": {"image_size": 10**6}}, "image_size: "),
        ({"seed": 2**64}, "seed: "),
        ({"variants": ["code-lr", "code-lr"]}, '"code-lr" is given twice'),
        ({"category": "\udcb0"}, "category: "),
        ({"category": "../x"}, "category: "),
        ({"category": "/tmp"}, "category: "),
        ({"category": "a/b"}, "category: "),
        ({"category": "a\\b"}, "category: "),
        ({"category": ".."}, "category: "),
        ({"category": "."}, "category: "),
        ({"category": "a\0b"}, "category: "),
        ({"category": "a" * 256}, "category: "),
        ({"runs_dir": Path("a/" * 2000)}, "runs_dir: "),
        ({"overrides": {"foreground_folder": "[" * 50_000}}, "foreground_folder: "),
        ({"overrides": {"image_size": list(range(10**5))}}, "image_size: "),
        ({"runs_dir": Path("\udcb0")}, "runs_dir: "),
    ],
)
def test_a_wrong_setting_is_an_error_that_names_it(arguments: dict, message: str) -> None:
    values = {"dataset": "mvtec", "category": "bottle", "method": "draem"} | arguments
    with pytest.raises(DiffadError) as error:
        build_config(**values)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_overrides_are_read_as_json_and_text_is_kept() -> None:
    pairs = ["steps=5", "channels_last=true", "precision=32", "foreground=auto", "beta_min=1e-3"]
    assert parse_overrides([*pairs, "channel_multipliers=[1, 2]", "epochs=null"]) == {
        "steps": 5,
        "channels_last": True,
        "precision": 32,
        "foreground": "auto",
        "beta_min": 1e-3,
        "channel_multipliers": [1, 2],
        "epochs": None,
    }


def test_a_whole_number_is_text_where_a_setting_is_text() -> None:
    config = build_config(
        "mvtec",
        "bottle",
        "draem",
        overrides=parse_overrides(["precision=32", "foreground_folder=7"]),
    )
    assert config.training.precision == "32"
    assert config.synthesis.foreground_folder == Path("7")


def test_recorded_overrides_parse_back_to_the_same_configuration() -> None:
    overrides = {"channel_multipliers": [1, 2], "precision": "bf16-mixed", "signed_range": True}
    config = build_config("mvtec", "bottle", "diffusionad", overrides=overrides)
    assert parse_overrides(config.overrides) == overrides


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 50_000, "[" * 900 + "]" * 900, '{"a":' * 9999])
def test_an_override_that_json_cannot_hold_is_one_short_line(value: str) -> None:
    with pytest.raises(DiffadError, match="steps") as error:
        build_config("mvtec", "bottle", "draem", overrides=parse_overrides([f"steps={value}"]))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("name", ["part v2", "a..b", "..a", "부품", "a:b", "{seed}"])
def test_a_category_may_have_any_name_that_a_folder_may_have(name: str) -> None:
    assert build_config("custom", name, "draem").run_folder.parts[2] == name


@pytest.mark.parametrize("pairs", [["steps"], ["=3"], ["steps=1", "steps=2"]])
def test_a_malformed_override_is_an_error(pairs: list[str]) -> None:
    with pytest.raises(DiffadError, match="--set"):
        parse_overrides(pairs)
