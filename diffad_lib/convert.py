"""Between the official repositories' checkpoint files and our own format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffad_lib.errors import DiffadError
from diffad_lib.files import sha256_of
from diffad_lib.methods.method import OfficialFiles, find_method, method_of
from diffad_lib.weights import load_detector, save_detector


def import_files(
    method: str, files: Sequence[Path], folder: Path, changes: Mapping[str, Any] | None = None
) -> None:
    """Write the detector in official files into a folder that `load_detector` reads.

    changes: settings that the files do not tell. DiffadError for files that the method has not.
    """
    official = _official(method, files)
    detector = official.load(files, changes or {})
    save_detector(detector, folder, {file.name: sha256_of(file) for file in files})


def export_files(folder: Path, files: Sequence[Path]) -> None:
    """Write the detector in a folder as official files; DiffadError if there are none for it."""
    detector = load_detector(folder)
    _official(method_of(detector), files).export(detector, files)


def _official(method: str, files: Sequence[Path]) -> OfficialFiles:
    official = find_method(method).official
    if official is None:
        raise DiffadError(f"method {method}: there is no official code, so no files of it")
    if len({*files}) != len(files):
        raise DiffadError(f"{files[0]}: is named twice; give one path for each file")
    if len(files) != len(official.names):
        raise DiffadError(
            f"method {method}: its official code has {' and '.join(official.names)}, in this "
            f"order; {len(files)} given"
        )
    return official
