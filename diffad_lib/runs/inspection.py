"""`diffad predict`: scores of new pictures, a threshold from good ones, heat maps on them."""

import csv
import io
import tempfile
from dataclasses import dataclass
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
from diffad_lib.runs.predict import (
    Pictures,
    Trained,
    check_apart,
    load_trained,
    predict,
    read_pictures,
)
from diffad_lib.scores import false_alarm_rates, images_above, threshold_for
from diffad_lib.weights import read_saved

_RECORD, _SCORES, _GOOD, _MAPS = "prediction.json", "scores.csv", "good.csv", "maps"
_LONGEST = 1024  # pixels, of the longer side of a picture with its map
_OUTLINE = (86, 180, 233)  # a blue, which the colours of heat lack
_MOST_OPAQUE = 0.8
_NAMED = 5  # good pictures above the threshold, for a person


@dataclass(frozen=True)
class Inspection:
    """Pictures and good ones, and what a detector gave for them."""

    trained: Trained
    pictures: Pictures
    found: SetPrediction
    good: tuple[Pictures, SetPrediction] | None
    rate: float  # of the good pictures that may lie above the threshold
    notes: list[str]

    @property
    def threshold(self) -> float | None:
        """From the good pictures."""
        if self.good is None:
            return None
        return threshold_for(torch.from_numpy(self.good[1].image_scores), self.rate)

    @property
    def map_end(self) -> float:
        """The value of a map that is brightest: twice the threshold, the same the next time too;
        without a threshold the highest of all maps."""
        return 2 * (self.threshold or 0) or float(self.found.anomaly_maps.max()) or 1.0

    def lines(self) -> list[str]:
        """What a person is told."""
        scores, threshold = self.found.image_scores, self.threshold
        told = [f"note: {note}" for note in self.notes]
        told.append(
            f"{len(scores)} pictures, {self.found.images_per_second:.3g} images/s, scores "
            f"{scores.min():.6g} to {scores.max():.6g}"
        )
        if self.good is not None and threshold is not None:
            told += _good_lines(*self.good, threshold, self.rate)
            told.append(f"above it: {(scores > threshold).sum()} of {len(scores)} pictures")
        return told


def _good_lines(good: Pictures, found: SetPrediction, threshold: float, rate: float) -> list[str]:
    above, count = np.flatnonzero(found.image_scores > threshold), len(found.image_scores)
    expected, low, high = false_alarm_rates(count, len(above))
    names = [name for row, name in enumerate(good.digests) if row in above[:_NAMED]]
    told = [
        f"threshold {threshold:.6g}: above it {len(above)} of {count} good pictures"
        + (f" ({', '.join(names)}{', …' * (len(above) > _NAMED)})" if names else ""),
        f"of further good pictures {low:.1%} to {high:.1%} will be above it (95 %; {expected:.1%} "
        "expected), if they vary as these do",
    ]
    if not images_above(count, rate):
        least = f"{count} good pictures cannot tell a rate below {1 / count:.3g}"
        told.append(f"note: {least}; the threshold is their highest score")
    return told


def inspect(run: Path, folder: Path, good: Path | None, rate: float) -> Inspection:
    """Scores of the pictures in a folder by the detector of a run, and a threshold for them.

    good: folder of good pictures, of which at most the share `rate` lies above the threshold.
    DiffadError for input that cannot be used, before anything is predicted.
    """
    if not 0 <= rate < 1:
        raise DiffadError(f"--rate {rate:g}: is no share; give one from 0 to below 1, such as 0.02")
    trained = load_trained(run)
    pictures, known = read_pictures(trained, folder), None
    notes = trained.notes + pictures.notes
    if good is not None:
        kept = read_pictures(trained, good)
        notes = notes + kept.notes + check_apart(trained, kept, pictures)
        known = kept, predict(trained, kept)
    return Inspection(trained, pictures, predict(trained, pictures), known, rate, notes)


def check_place(to: Path, run: Path, *folders: Path) -> None:
    """DiffadError unless `to` is absent, empty or an earlier result of the run on the same folder.

    Also if it lies among the pictures, where its maps would be read the next time.
    """
    if any(to.resolve().is_relative_to(folder.resolve()) for folder in folders):
        raise DiffadError(f"{to}: lies among the pictures; name another folder with --to")
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    names = {path.name for path in to.iterdir()} if to.is_dir() else set()
    if _RECORD not in names or names - {_RECORD, _SCORES, _GOOD, _MAPS}:
        raise DiffadError(f"{to}: is there already; move it away or name another folder with --to")
    held = json_object(to / _RECORD, "move the folder away")
    for key, value in _identity(run, folders[0]).items():
        if held.get(key) != value:
            told = f"holds the scores of another prediction, with {key} {held.get(key)}"
            raise DiffadError(f"{to}: {told}; name another folder with --to")


def _identity(run: Path, pictures: Path) -> dict[str, str]:
    return {"run": str(run.resolve()), "pictures": str(pictures.resolve())}


def write_inspection(found: Inspection, to: Path, with_maps: bool) -> None:
    """Write the folder as a whole, in the place of an earlier one; DiffadError if it cannot be.

    scores.csv has a row for each picture, good.csv for each good one, maps/ a picture each.
    """
    to = to.resolve()
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}-") as scratch:
            built = Path(scratch, "new")
            write_text(built / _SCORES, _csv(found.pictures, found.found, found.threshold))
            if found.good:
                write_text(built / _GOOD, _csv(*found.good, found.threshold))
            write_json(built / _RECORD, _told(found))
            if with_maps:
                _write_maps(found, built / _MAPS)
            if to.exists():
                to.rename(Path(scratch, "earlier"))
            built.rename(to)
    except OSError as error:
        raise unwritable(to, error) from error


def _csv(pictures: Pictures, found: SetPrediction, threshold: float | None) -> str:
    """A row a picture: file, score; with a threshold also that and the verdict."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "score", "threshold", "verdict")[: 2 if threshold is None else 4])
    for name, score in zip(pictures.digests, found.image_scores.tolist(), strict=True):
        if threshold is None:
            table.writerow((name, score))
        else:
            table.writerow((name, score, threshold, "defect" if score > threshold else "good"))
    return text.getvalue()


def _told(found: Inspection) -> dict[str, object]:
    """For prediction.json: what gave the scores."""
    trained, good = found.trained, found.good
    return {
        **_identity(trained.folder, found.pictures.folder),
        "weights": read_saved(trained.folder).sha256,
        "fingerprint": found.pictures.stack.fingerprint,
        "good": str(good[0].folder.absolute()) if good else None,
        "rate": found.rate if good else None,
        "threshold": found.threshold,
        "maps_to": found.map_end,
        "lines": found.lines(),
        "device": facts.device_facts(trained.fabric.device),
        "versions": facts.package_versions(),
        "git": facts.git_state(),
    }


def _write_maps(found: Inspection, folder: Path) -> None:
    """A PNG for each picture, called FILE.png."""
    threshold, end, maps = found.threshold, found.map_end, found.found.anomaly_maps

    def write(row: int, name: str) -> None:
        picture = decode_image(found.pictures.folder / name)
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = overlay(picture, maps[row], end, threshold)
        path.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())

    with reading_threads() as threads:
        list(threads.map(write, range(len(maps)), found.pictures.digests))


def overlay(
    picture: NDArray[np.uint8], anomaly_map: NDArray, end: float, level: float | None = None
) -> NDArray[np.uint8]:
    """A picture [H,W,3], of at most 1024 pixels a side, under the heat of its map [h,w].

    Where the map is 0 the picture is as it was; `end` and more is brightest. What is above `level`
    is outlined.
    """
    shrink = min(1.0, _LONGEST / max(picture.shape[:2]))
    size = [max(1, round(shrink * side)) for side in picture.shape[1::-1]]  # width, height
    under = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    values = cv2.resize(anomaly_map, size, interpolation=cv2.INTER_LINEAR)
    colours = heat(torch.from_numpy(values)[None, None], end)[0].permute(1, 2, 0).numpy()
    opaque = _MOST_OPAQUE * np.clip(values / end, 0, 1)[..., None]
    drawn = np.round((1 - opaque) * under + opaque * 255 * colours).astype(np.uint8)
    if level is not None:
        marked = (values > level).astype(np.uint8)
        outlines, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, _OUTLINE, 1 + max(size) // 512)
    return drawn
