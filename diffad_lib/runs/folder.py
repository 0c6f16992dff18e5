"""The folder of a run: which settings it belongs to, while it runs and afterwards."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from diffad_lib.checkpoint import checkpoints
from diffad_lib.errors import DiffadError
from diffad_lib.files import drop_lock, take_lock, unwritable, write_json
from diffad_lib.plans import PLACES
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.facts import differences
from diffad_lib.runs.record import RECORD_NAME, Data, Facts, in_sections, read_json, read_record

CONFIG_NAME = "config.json"  # beside the checkpoint of a run that is not finished
_NOTEBOOK_LOCK, _TRAINING_LOCK = ".notebook.lock", ".training.lock"
_BUSY = "another process runs a notebook in it; wait for its end or choose another --runs-dir"
_held: dict[Path, int] = {}  # folders in which this process trains, and the handles of their locks


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every effective setting, as JSON; folders are absolute, as they tell one run's from
    another's wherever it is started."""
    folders = {
        name: str(path.absolute()) if (path := getattr(config, name)) is not None else None
        for name in ("data_root", "textures", "weights", "runs_dir")
    }
    settings = config.model_dump(mode="json") | folders
    if masks := settings["synthesis"].get("foreground_folder"):
        settings["synthesis"]["foreground_folder"] = str(Path(masks).absolute())
    return settings


class Interrupted(Facts):
    """What `config.json` holds beside the settings: what a run began with."""

    data: Data
    under: dict[str, Any]
    resumed_under: list[str] = Field(default_factory=list)


def claim_folder(config: RunConfig, data: Data, under: Mapping[str, Any]) -> list[str]:
    """Write settings and data into the run folder; DiffadError if it holds a run with others.

    under: see `facts.conditions`. Returns what of it has changed whenever the training went on,
    for a person.
    """
    check_same_settings(config)
    path, resumed_under = config.run_folder / CONFIG_NAME, []
    if checkpoints(config.run_folder):
        began = _interrupted(path)
        if changed := began.data.difference(data):
            raise DiffadError(
                f"{config.run_folder}: an interrupted run began with other data: {changed}; "
                "restore them, or begin anew with --again"
            )
        resumed_under = [*began.resumed_under, *differences(began.under, under)]
    now = Interrupted(data=data, under=dict(under), resumed_under=resumed_under)
    write_json(path, settings_of(config) | now.model_dump(mode="json"))
    return resumed_under


def resumed_under(config: RunConfig) -> list[str]:
    """What `claim_folder` returned for the training of a run that is not finished."""
    path = config.run_folder / CONFIG_NAME
    return _interrupted(path).resumed_under if path.exists() else []


def _interrupted(path: Path) -> Interrupted:
    try:
        return Interrupted.model_validate(read_json(path) if path.exists() else {})
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise DiffadError(
            f"{path}: does not tell {key} of the training whose checkpoint lies beside it; begin "
            "anew with --again"
        ) from None


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Make a folder and keep other runs out; DiffadError if it is unwritable or in use.

    The kernel that trains in it holds a lock of its own, see `hold`, and may outlive its command.
    """
    with _refusals_told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = take_lock(folder / _NOTEBOOK_LOCK, _BUSY)
        try:
            drop_lock(folder / _TRAINING_LOCK, take_lock(folder / _TRAINING_LOCK, _BUSY))
            yield
        finally:
            drop_lock(folder / _NOTEBOOK_LOCK, handle)


@contextlib.contextmanager
def _refusals_told(folder: Path) -> Iterator[None]:
    """What the file system refuses in the block becomes one line on the run folder."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error, "choose another --runs-dir") from error


def hold(folder: Path) -> int:
    """Let no other process train in a folder, until `let_go` or the end of this process.

    Returns the handle of the lock; a process that inherits it holds the folder as well.
    """
    folder = folder.resolve()
    if folder not in _held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _held[folder] = take_lock(folder / _TRAINING_LOCK, _BUSY)
        except OSError as error:
            raise unwritable(folder, error, "choose another runs_dir") from error
    return _held[folder]


def let_go(folder: Path) -> None:
    """The end of `hold`, if it was called."""
    folder = folder.resolve()
    if folder in _held:
        drop_lock(folder / _TRAINING_LOCK, _held.pop(folder))


def put_aside(config: RunConfig) -> None:
    """Move what a run folder holds to a folder beside it, so that the run begins anew."""
    folder = config.run_folder
    with _refusals_told(folder):
        if not folder.exists():
            return
        with occupied(folder):
            pass  # or a run that goes on in it would write into the new one
        places = (folder.with_name(f"{folder.name}.before-{number}") for number in count(1))
        folder.rename(next(place for place in places if not place.exists()))


def check_same_settings(config: RunConfig) -> None:
    """Raise DiffadError that names the key if the run folder holds a run with other settings.

    The folder's name tells most settings, but not where the data lie or the budget's numbers.
    """
    folder = config.run_folder
    with _refusals_told(folder):
        is_finished, has_begun = ((folder / name).exists() for name in (RECORD_NAME, CONFIG_NAME))
    if is_finished:
        held = read_record(folder / RECORD_NAME).config.model_dump()
    elif has_begun:
        held = in_sections(read_json(folder / CONFIG_NAME))
        held = {key: value for key, value in held.items() if key not in Interrupted.model_fields}
    else:
        return
    aside = {"runs_dir", "checkpoint_seconds", *PLACES}  # what changes no figure
    for key, known, value in changed_settings(held, settings_of(config), aside):
        raise DiffadError(
            f"{folder}: holds a run with another {key} ({known!r}, now {value!r}); "
            "move it away or choose another --runs-dir"
        )


def changed_settings(
    held: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Key, value held and value now of each setting that is another one, but for the free ones."""
    known = dict(_flat(held))
    for key, value in _flat(now):
        if key not in free and known.get(key) != value:
            yield key, known.get(key), value


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Key and value of all that can be set; no key stands in two sections."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield key, value
