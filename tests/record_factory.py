"""Folders of made records: what a real run leaves, without the run."""

import json
from pathlib import Path

import numpy as np

CELL = {"dataset": "mvtec", "category": "bottle", "method": "draem", "budget": "laptop"}


def made_record(seed: int = 0, level: float = 0.9, **changes) -> dict:
    """Metrics near `level`, 12 scores; changes are keys of the config or of a section."""
    rng = np.random.default_rng([seed, round(1000 * level)])
    labels = [0] * 4 + [1] * 8
    scores = [round(float(rng.normal() + 3 * level * label), 4) for label in labels]
    value = {"value": level, "low": level - 0.05, "high": min(level + 0.05, 1)}
    names = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro")
    sections = {
        "detector": {"image_size": 128},
        "training": {"steps": 1500, "device": "cpu", "select_on_test_epochs": None},
        "evaluation": {"fpr_limit": 0.3},
        "synthesis": {},
    }
    config = {**CELL, "seed": seed, "data_root": "/data", "runs_dir": "runs", **sections}
    data = {"train": "a", "test": "b"} | {
        k: changes.pop(k) for k in ("train", "test") & changes.keys()
    }
    for key, change in changes.items():
        section = next((part for part in sections.values() if key in part), config)
        section[key] = change
    return {
        "schema": 2,
        "finished": f"2026-11-0{1 + seed % 9}T00:00:00+00:00",
        "config": config,
        "data": {name: {"images": 12, "fingerprint": text} for name, text in data.items()},
        "seconds": {"train": 100.0 + seed, "total": 130.0},
        "images_per_second": 20.0,
        "metrics": dict.fromkeys(names, value),
        "swaps": {"its own": {"image_auroc": level, "pixel_ap": level}},
        "images": [
            {
                "file": f"{n:03}.png",
                "defect": "crack" if label else "good",
                "label": label,
                "score": s,
            }
            for n, (label, s) in enumerate(zip(labels, scores, strict=True))
        ],
    }


def put(root: Path, record: dict, name: str = "") -> Path:
    """Where a run would leave it, or in a folder with another name."""
    config = record["config"]
    parts = [config[key] for key in ("dataset", "category", "method", "budget")]
    path = root.joinpath(*parts, name or f"seed{config['seed']}", "record.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def three_seeds(root: Path, level: float = 0.9, step: float = 0.01, **changes) -> Path:
    """Seeds 0, 1 and 2 of a cell; returns its folder."""
    for seed in range(3):
        path = put(root, made_record(seed, level + step * seed, **changes))
    return path.parents[1]
