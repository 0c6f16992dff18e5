"""The folder of a run: which settings it belongs to, while it runs and afterwards."""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from diffad_lib.errors import DiffadError
from diffad_lib.files import write_json
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.record import RECORD_NAME, Data, in_sections, read_json, read_record

CONFIG_NAME = "config.json"  # beside the checkpoint of a run that is not finished
NOT_SETTINGS = ("data", "under")  # what stands there beside the settings, see claim_folder


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Every effective setting, as JSON; folders are absolute, as they tell one run's from
    another's wherever it is started."""
    folders = {
        name: str(path.absolute()) if (path := getattr(config, name)) is not None else None
        for name in ("data_root", "textures", "runs_dir")
    }
    settings = config.model_dump(mode="json") | folders
    if masks := settings["synthesis"].get("foreground_folder"):
        settings["synthesis"]["foreground_folder"] = str(Path(masks).absolute())
    return settings


def claim_folder(config: RunConfig, data: Data, under: Mapping[str, Any]) -> str:
    """Write settings and data into the run folder; DiffadError if it holds a run with others.

    under: threads, versions and what else may change the last digits. Returns what of it is
    another than when the run began, for a person; empty if nothing is.
    """
    check_same_settings(config)
    path, text = config.run_folder / CONFIG_NAME, ""
    held = read_json(path) if path.exists() else {}
    if "data" in held:
        if changed := Data.model_validate(held["data"]).difference(data):
            raise DiffadError(
                f"{config.run_folder}: an interrupted run began with other data: {changed}; "
                "restore them, or begin anew with --again"
            )
        before = held.get("under", {})
        text = ", ".join(
            f"{key} {before.get(key)}, now {value}"
            for key, value in under.items()
            if before.get(key) != value
        )
    content = settings_of(config) | {"data": data.model_dump(mode="json"), "under": dict(under)}
    write_json(path, content)
    return text


def put_aside(config: RunConfig) -> None:
    """Move what a run folder holds to a folder beside it, so that the run begins anew."""
    folder = config.run_folder
    if folder.exists():
        places = (folder.with_name(f"{folder.name}.before-{number}") for number in count(1))
        folder.rename(next(place for place in places if not place.exists()))


def check_same_settings(config: RunConfig) -> None:
    """Raise DiffadError that names the key if the run folder holds a run with other settings.

    The folder's name tells most settings, but not where the data lie or the budget's numbers.
    """
    folder = config.run_folder
    if (folder / RECORD_NAME).exists():
        held = read_record(folder / RECORD_NAME).config.model_dump()
    elif (folder / CONFIG_NAME).exists():
        held = in_sections(read_json(folder / CONFIG_NAME))
        held = {key: value for key, value in held.items() if key not in NOT_SETTINGS}
    else:
        return
    known = dict(_flat(held))
    for key, value in _flat(settings_of(config)):
        if key != "runs_dir" and known.get(key) != value:
            raise DiffadError(
                f"{folder}: holds a run with another {key} ({known.get(key)!r}, now {value!r}); "
                "move it away or choose another --runs-dir"
            )


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Key and value of all that can be set; no key stands in two sections."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        else:
            yield key, value
