"""`diffad results`: what is gathered, what is told, and the table."""

import re
import shutil
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.methods import method_names
from diffad_lib.metrics import METRICS
from diffad_lib.runs.gather import MINI, gather
from diffad_lib.runs.published import MEAN, published
from diffad_lib.runs.results import results_frame, seeds_of_cells, swap_rows
from diffad_lib.runs.results_figures import (
    cost_and_result,
    heat_map,
    roc_curves,
    seed_spread,
    write_figures,
)
from diffad_lib.runs.results_tables import csv, markdown, sheets
from record_factory import made_record, put, three_seeds


def frame_of(*folders):
    return results_frame(gather(folders).runs)


def row(frame, metric="image_auroc", **where):
    chosen = frame[frame["metric"] == metric]
    for key, value in where.items():
        chosen = chosen[chosen[key] == value]
    (only,) = chosen.to_dict("records")
    return only


def test_a_cell_is_the_mean_of_its_seeds_with_both_intervals(tmp_path):
    three_seeds(tmp_path, 0.90, 0.02)  # 0.90, 0.92, 0.94
    cell = row(frame_of(tmp_path), category="bottle")
    assert cell["value"] == pytest.approx(0.92) and cell["seeds"] == 3
    width = 4.3027 * 0.02 / 3**0.5
    assert (cell["seeds_low"], cell["seeds_high"]) == pytest.approx(
        (0.92 - width, 0.92 + width), 1e-4
    )
    assert (cell["images_low"], cell["images_high"]) == pytest.approx((0.87, 0.97))
    assert cell["train_seconds"] == 101 and cell["images_per_second"] == 20


def test_official_categories_without_a_run_are_empty_and_counted(tmp_path):
    three_seeds(tmp_path)
    three_seeds(tmp_path, category="cable")
    frame = frame_of(tmp_path)
    seeds = seeds_of_cells(frame)
    assert len(seeds) == len(CATALOG["mvtec"].categories) == 15 and sum(seeds == 0) == 13
    assert np.isnan(row(frame, category="zipper")["value"])
    (sheet,) = sheets(frame, "image_auroc")
    lines = {line[0]: line for line in sheet.rows}
    assert lines["zipper"][-1] == "–" and lines["bottle"][-1].startswith("0.910")


def test_means_are_over_the_categories_that_all_methods_have(tmp_path):
    three_seeds(tmp_path, 0.8)
    three_seeds(tmp_path, 0.9, category="cable")
    three_seeds(tmp_path, 0.6, method="diffusionad")
    frame = frame_of(tmp_path)
    assert not [name for name in frame["category"] if name.startswith("mean of 1 ")]
    three_seeds(tmp_path, 0.7, method="diffusionad", category="cable")
    frame = frame_of(tmp_path)
    ours = [row(frame, category="mean of 2 of 15", method=m) for m in ("diffusionad", "draem")]
    assert [mean["value"] for mean in ours] == pytest.approx([0.66, 0.86])
    assert ours[1]["published"] == ((pytest.approx((0.992 + 0.918) / 2), "draem-paper"),)
    half = (0.05**2 + 0.05**2) ** 0.5 / 2
    assert ours[1]["images_low"] == pytest.approx(0.86 - half)
    assert dict(ours[1]["by_seed"]) == pytest.approx({0: 0.85, 1: 0.86, 2: 0.87})
    whole = row(frame, category="mean of all 15", method="draem")
    assert np.isnan(whole["value"])
    assert (0.98, "draem-paper") in whole["published"] and whole["reruns"] == ((0.9872, "dpa"),)


def test_the_mini_data_are_no_official_category(tmp_path):
    three_seeds(tmp_path, data_root=None)
    frame = frame_of(tmp_path)
    assert {*frame["collection"]} == {MINI} and seeds_of_cells(frame).tolist() == [3]
    assert not any(frame["published"])


def test_settings_of_one_method_are_columns_of_their_own(tmp_path):
    three_seeds(tmp_path, 0.9)
    three_seeds(tmp_path, 0.8, variants=["code-lr"], budget="paper")
    (sheet,) = sheets(frame_of(tmp_path), "pixel_ap")
    assert sheet.headings[-2:] == ("draem, ours (laptop)", "draem, ours (paper+code-lr)")


def test_damaged_records_are_named_and_the_others_are_shown(tmp_path, diffad):
    cell = three_seeds(tmp_path)
    (cell / "seed1" / "record.json").write_text("{")
    code, out, err = diffad("results", tmp_path)
    assert code == 1 and f"{cell}/seed1/record.json: cannot be read" in err
    assert err.count("\n") == 1 and "with 2 seeds: 1" in out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test": "other"}, "other test images than"),
        ({"steps": 7}, r"other settings \(steps 7, not 1500\) than"),
    ],
)
def test_runs_that_cannot_be_compared_are_left_out_and_told(tmp_path, change, words):
    cell = three_seeds(tmp_path)
    put(tmp_path, made_record(3, 0.1, **change))
    gathered = gather([tmp_path])
    assert [run.record.config.seed for run in gathered.runs] == [0, 1, 2]
    (told,) = gathered.left_out
    assert re.search(f"{cell}/seed3/record.json: {words} {cell}/seed0", told)


def test_given_weights_are_a_cell_of_their_own(tmp_path):
    cell = three_seeds(tmp_path)
    record = made_record(0, 0.99, weights="/weights/official")
    record["weights"] = {"sha256": "1" * 64}
    put(tmp_path, record, "seed0 of official weights")
    gathered = gather([tmp_path])
    assert [run.setting for run in gathered.runs] == [*["laptop"] * 3, "laptop+weights=official"]
    record["weights"]["sha256"] = "2" * 64
    record["config"]["seed"] = 1
    put(tmp_path, record, "seed1 of other official weights")
    assert "other settings (weights 2222" in gather([tmp_path]).left_out[0]
    assert not gathered.left_out and cell.is_dir()


def test_runs_with_textures_of_another_folder_are_left_out(tmp_path):
    three_seeds(tmp_path)
    record = made_record(3)
    record["data"]["textures"] = {"images": 5640, "fingerprint": "dtd"}
    put(tmp_path, record)
    assert "other settings (textures dtd, not None)" in gather([tmp_path]).left_out[0]


def test_a_setting_without_a_value_and_where_masks_lay_make_no_difference(tmp_path):
    three_seeds(tmp_path)
    record = made_record(3)
    record["config"]["training"]["of_a_newer_version"] = None
    record["config"]["synthesis"]["foreground_folder"] = "/home/another/masks"
    put(tmp_path, record)
    assert len(gather([tmp_path]).runs) == 4


def test_a_seed_counts_once_and_runs_put_aside_do_not_count(tmp_path):
    cell = three_seeds(tmp_path)
    put(tmp_path, made_record(1, 0.5), "seed1 on another machine")
    put(tmp_path, made_record(0, 0.4), "seed0.before-1")
    gathered = gather([tmp_path, cell])
    assert len(gathered.runs) == 3
    (told,) = gathered.left_out
    assert "seed 1 again, as in" in told and "before" not in told


def test_a_setting_without_effect_does_not_matter(tmp_path):
    three_seeds(tmp_path)
    put(tmp_path, made_record(3, device="cuda", runs_dir="elsewhere"))
    assert gather([tmp_path]).left_out == ()


def test_what_is_hard_to_compare_is_noted(tmp_path):
    three_seeds(tmp_path)
    three_seeds(tmp_path, method="diffusionad", image_size=256, select_on_test_epochs=50)
    put(tmp_path, made_record(0, method="autoencoder", fpr_limit=0.05))
    notes = "\n".join(gather([tmp_path]).notes)
    assert "image_size are others" in notes and "fpr_limit are others" in notes
    assert "diffusionad laptop: its weights were chosen on the test set" in notes
    assert "draem laptop: its weights" not in notes


def written(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes_wherever_they_lie(tmp_path, diffad):
    three_seeds(tmp_path / "one")
    three_seeds(tmp_path / "one", 0.8, method="diffusionad")
    three_seeds(tmp_path / "one", data_root=None, category="plate")
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "deeper")
    (tmp_path / "two" / "b").mkdir()
    (tmp_path / "two" / "deeper" / "mvtec" / "plate").rename(tmp_path / "two" / "b" / "plate")
    folders = [tmp_path / "two" / "deeper", tmp_path / "two" / "b"]
    first = diffad("results", tmp_path / "one", "--to", tmp_path / "out")
    second = diffad("results", *folders, "--to", tmp_path / "out2")
    assert first[1].replace("out\n", "") == second[1].replace("out2\n", "")
    assert written(tmp_path / "out") == written(tmp_path / "out2")
    assert {"results.csv", "results.md", "heat_map_aupro.png"} <= {*written(tmp_path / "out")}


def test_every_number_is_in_the_csv_and_nothing_stands_for_a_missing_one(tmp_path):
    three_seeds(tmp_path)
    lines = csv(frame_of(tmp_path)).splitlines()
    bottle = next(line for line in lines if "bottle" in line and "image_auroc" in line)
    assert "0: 0.900000; 1: 0.910000; 2: 0.920000" in bottle and "0.992000 draem-paper" in bottle
    empty = next(line for line in lines if "zipper" in line and "image_auroc" in line)
    assert ",zipper,mvtec,,0,,,,,,1.000000 draem-paper,,," in empty
    assert "nan" not in "".join(lines)


def test_names_from_records_are_no_markup(tmp_path, diffad):
    three_seeds(tmp_path, category="[red]x|<b>y\x1b[31m", data_root=None)
    (sheet,) = sheets(frame_of(tmp_path), "image_auroc")
    text = markdown(sheet)
    assert "x\\|&lt;b>y" in text and "\x1b" not in text
    out = diffad("results", tmp_path)[1]
    assert "[red]x" in out and "\x1b" not in out


@pytest.mark.slow
def test_a_name_with_dollars_is_no_formula_in_figures(tmp_path):
    three_seeds(tmp_path / "runs", category="cost_$5_$x^", data_root=None)
    runs = gather([tmp_path / "runs"]).runs
    write_figures(tmp_path / "figures", results_frame(runs), runs)
    assert len(written(tmp_path / "figures")) > 4
    labels = heat_map(results_frame(runs), "image_auroc").axes[0].get_yticklabels()
    assert [text._preprocess_math(text.get_text()) for text in labels] == [("cost_$5_$x^", False)]


@pytest.mark.slow
def test_figures_have_every_cell(tmp_path):
    three_seeds(tmp_path, 0.9)
    three_seeds(tmp_path, 0.8, method="diffusionad")
    runs = gather([tmp_path]).runs
    frame = results_frame(runs)
    heat = heat_map(frame, "image_auroc").axes[0]
    columns = [text.get_text() for text in heat.get_xticklabels()]
    assert columns == [
        "diffusionad published",
        "diffusionad laptop",
        "draem published",
        "draem laptop",
    ]
    assert {"0.910", "0.810", "0.992"} <= {text.get_text() for text in heat.texts}
    dots = [
        line for line in seed_spread(frame, "pixel_ap").axes[0].lines if len(line.get_xdata()) == 3
    ]
    assert sorted(map(len, (line.get_xdata() for line in dots))) == [3, 3]
    lines = [line for line in roc_curves(runs, frame).axes[0].lines if line.get_alpha()]
    assert len(lines) == 6
    cost = cost_and_result(frame, "image_auroc").axes[0]
    assert [line.get_ydata().tolist() for line in cost.lines] == [
        pytest.approx([0.81]),
        pytest.approx([0.91]),
    ]
    assert not plt.get_fignums()  # or a notebook shows them twice


def test_without_seaborn_it_is_told_what_to_install_and_nothing_is_written(
    tmp_path, monkeypatch, diffad
):
    three_seeds(tmp_path / "runs")
    monkeypatch.setitem(sys.modules, "seaborn", None)
    code, _, told = diffad("results", tmp_path / "runs", "--to", tmp_path / "to")
    assert code and "pip install" in told
    assert not (tmp_path / "to").exists()


def test_swaps_are_means_over_seeds(tmp_path):
    three_seeds(tmp_path)
    (only,) = swap_rows(gather([tmp_path]).runs).to_dict("records")
    assert only["reconstruction"] == "its own" and only["pixel_ap"] == pytest.approx(0.91)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere: is no folder"),
        (["."], r"no record.json below it"),
        ([".", "--metric", "image_aurok"], 'did you mean "image_auroc"'),
    ],
)
def test_what_is_no_folder_of_runs_is_one_line(arguments, words, tmp_path, monkeypatch, diffad):
    monkeypatch.chdir(tmp_path)
    code, _, err = diffad("results", *arguments)
    assert code == 1 and re.search(words, err) and err.count("\n") == 1


# What is published


def test_published_figures_name_known_methods_datasets_and_categories():
    told = published()
    assert {source.method for source in told.sources.values()} <= {*method_names()}
    for figure in told.figures:
        assert figure.source in told.sources and {*figure.percent} <= {*METRICS}
        for name in figure.dataset.split(", "):
            known = CATALOG[name].categories if name in CATALOG else {}
            assert figure.category == MEAN or figure.category in known
    used = {figure.source for figure in told.figures}
    assert used == {*told.sources}


@pytest.mark.parametrize("source", ["draem-paper", "destseg"])
@pytest.mark.parametrize("metric", ["image_auroc", "pixel_auroc", "pixel_ap"])
def test_the_printed_mean_is_that_of_the_printed_categories(source, metric):
    """A slip of the hand in one of 75 numbers would show."""
    rows = [
        f for f in published().figures if (f.source, f.dataset, f.variant) == (source, "mvtec", "")
    ]
    by_category = {f.category: f.percent[metric] for f in rows if metric in f.percent}
    if by_category:
        mean = by_category.pop(MEAN)
        assert {*by_category} == {*CATALOG["mvtec"].categories}
        assert np.mean(list(by_category.values())) == pytest.approx(mean, abs=0.1)  # both rounded


def test_a_departure_is_not_taken_for_the_method():
    departures = [figure for figure in published().figures if figure.variant]
    assert len(departures) > 5
    told = published().shares("published", "draem", "mvtec", MEAN, "image_auroc")
    assert told == [(0.98, "draem-paper"), (0.981, "draem-readme")]


def test_what_nobody_told_is_empty():
    assert published().shares("published", "diffusionad", "mvtec", "bottle", "image_auroc") == []
    assert published().shares("published", "draem", "mvtec", "bottle", "aupro") == []
