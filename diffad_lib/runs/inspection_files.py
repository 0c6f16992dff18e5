"""The folder of an inspection: scores, what gave them, heat maps on the pictures."""

import csv
import datetime
import io
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from diffad_lib.datasets.decode import decode_image
from diffad_lib.datasets.images import reading_threads
from diffad_lib.errors import DiffadError
from diffad_lib.evaluation import SetPrediction
from diffad_lib.files import json_object, unwritable, write_json, write_text
from diffad_lib.plots import heat
from diffad_lib.runs import facts
from diffad_lib.runs.inspection import Inspection
from diffad_lib.runs.predict import Pictures
from diffad_lib.weights import read_saved

PREDICTION_NAME, MAPS_NAME = "prediction.json", "maps"
_OURS = {PREDICTION_NAME, MAPS_NAME, "scores.csv", "good.csv"}
_LONGEST = 1024  # pixels, of the longer side of a picture with its map
_OUTLINE = (86, 180, 233)  # the blue of Okabe and Ito, which the colours of heat lack
_MOST_OPAQUE = 0.8


def check_place(to: Path, run: Path, *folders: Path) -> None:
    """DiffadError unless a folder is absent, empty or an earlier result of the run on the same.

    Also if it lies among the pictures, where its maps would be read the next time.
    """
    if any(to.resolve().is_relative_to(folder.resolve()) for folder in folders):
        raise DiffadError(f"{to}: lies among the pictures; name another folder with --to")
    taken = f"{to}: is there already; move it away or name another folder with --to"
    if not to.is_dir():
        if os.path.lexists(to):
            raise DiffadError(taken)
        return
    names = {path.name for path in to.iterdir()}
    if names and (PREDICTION_NAME not in names or names - _OURS):
        raise DiffadError(taken)
    if names:
        held = json_object(to / PREDICTION_NAME, "move the folder away")
        if _identity(run, folders[0]).items() - held.items():
            told = f"holds scores of {held.get('pictures')} by {held.get('run')}"
            raise DiffadError(f"{to}: {told}; name another folder with --to")


def _identity(run: Path, pictures: Path) -> dict[str, str]:
    return {"run": str(run.absolute()), "pictures": str(pictures.absolute())}


def write_inspection(found: Inspection, to: Path, with_maps: bool) -> float | None:
    """Write the folder, whole or not at all, in the place of an earlier one.

    Returns the value at which the colours of the maps end, None without maps.
    """
    to = to.resolve()
    good = found.good
    threshold = good.threshold if good else None
    high = None
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
            built = Path(scratch, "new")
            if with_maps:
                high = _scale(found.found.anomaly_maps, threshold)
                _write_maps(found, built / MAPS_NAME, high, threshold)
            write_text(built / "scores.csv", _csv(found.pictures, found.found, threshold))
            if good:
                write_text(built / "good.csv", _csv(good.pictures, good.found, threshold))
            write_json(built / PREDICTION_NAME, _told(found, high))
            if to.exists():
                to.rename(Path(scratch, "earlier"))
            built.rename(to)
    except OSError as error:
        raise unwritable(to, error) from error
    return high


def _csv(pictures: Pictures, found: SetPrediction, threshold: float | None) -> str:
    """A row a picture: file, score; with a threshold also that and the verdict."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    scores = zip(pictures.names, found.image_scores.tolist(), strict=True)
    if threshold is None:
        table.writerows([("file", "score"), *scores])
    else:
        table.writerow(("file", "score", "threshold", "verdict"))
        for name, score in scores:
            verdict = "defect" if score > threshold else "good"
            table.writerow((name, score, threshold, verdict))
    return text.getvalue()


def _told(found: Inspection, high: float | None) -> dict[str, object]:
    """What gave the scores, for prediction.json."""
    trained, good = found.trained, found.good
    told: dict[str, object] = {
        **_identity(trained.folder, found.pictures.folder),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "weights": read_saved(trained.folder).sha256,
        "fingerprint": found.pictures.stack.fingerprint,
        "seconds": found.found.seconds,
        "device": facts.device_facts(trained.fabric.device),
        "versions": facts.package_versions(),
        "git": facts.git_state(),
        "lines": found.lines(),
    }
    if high is not None:
        told["maps_to"] = high
    if good is not None:
        told["good"] = {
            "folder": str(good.pictures.folder.absolute()),
            "fingerprint": good.pictures.stack.fingerprint,
            "rate": good.rate,
            "threshold": good.threshold,
        }
    return told


def _scale(maps: NDArray, threshold: float | None) -> float:
    """The value at the bright end: twice the threshold, so that colours mean the same the next
    time; without one the highest of all maps."""
    return 2 * threshold if threshold else float(maps.max()) or 1.0


def _write_maps(found: Inspection, folder: Path, high: float, threshold: float | None) -> None:
    def write(row: int) -> None:
        picture = decode_image(found.pictures.stack.samples[row].image)
        drawn = overlay(picture, found.found.anomaly_maps[row], high, threshold)
        path = folder / f"{found.pictures.names[row]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())

    with reading_threads() as threads:
        list(threads.map(write, range(len(found.pictures.names))))


def overlay(
    picture: NDArray[np.uint8], anomaly_map: NDArray, high: float, level: float | None = None
) -> NDArray[np.uint8]:
    """A picture [H,W,3], of at most 1024 pixels a side, under the heat of its map [h,w].

    Where the map is 0 the picture is as it was; `high` and more is the brightest. What is above
    `level` is outlined.
    """
    shrink = min(1.0, _LONGEST / max(picture.shape[:2]))
    size = [max(1, round(shrink * side)) for side in picture.shape[1::-1]]  # width, height
    if shrink < 1:
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    values = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_LINEAR)
    colours = heat(torch.from_numpy(values)[None, None], high)[0].permute(1, 2, 0).numpy()
    opaque = _MOST_OPAQUE * np.clip(values / high, 0, 1)[..., None]
    drawn = np.round((1 - opaque) * picture + opaque * 255 * colours).astype(np.uint8)
    if level is not None:
        marked = (values > level).astype(np.uint8)
        outlines, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, _OUTLINE, 1 + max(size) // 512)
    return drawn
