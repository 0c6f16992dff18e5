"""`diffad data download`: from a catalog entry to unpacked folders below --data-root."""

import time
from collections.abc import Callable
from pathlib import Path

import pooch
import requests
import urllib3
from tqdm import tqdm

from diffad_lib.datasets.dataset import ARCHIVE_FOLDER, Archive, Dataset
from diffad_lib.datasets.layouts import list_categories
from diffad_lib.datasets.unpack import UNPACKED_SHARE, require_space, unpack
from diffad_lib.errors import DiffadError
from diffad_lib.files import exclusive, unwritable

_TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
_ATTEMPTS = 3  # in a row without a new byte, before an address is given up
Say = Callable[[str], None]  # tells a person one line
_NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


def download(info: Dataset, data_root: Path, report: Say = print) -> Path:
    """Fetches and unpacks a dataset; returns its folder. Does nothing if all categories are there.

    An archive in `<data_root>/archives` or in the dataset's folder is used instead of a download.
    An interrupted download goes on if the server can do that. Archives are kept.

    Raises DiffadError if no address works, a checksum differs, an archive is damaged or unsafe, the
    disk is too small or read-only, and if another process downloads the same dataset.
    """
    folder = data_root / info.folder
    if not info.archives:
        raise DiffadError(f"{info.key}: there is nothing to download; put your images there")
    if not _absent(info, data_root):
        report(f"{folder} holds every category; delete one to unpack it again")
        return folder
    lock = data_root / ARCHIVE_FOLDER / f".{info.key}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        with exclusive(lock, "another process downloads this dataset; wait for its end"):
            for archive in info.archives:
                _provide(archive, info, data_root, report)
    except OSError as error:
        where = Path(error.filename or data_root)
        raise unwritable(where, error, "choose another --data-root") from error
    if absent := _absent(info, data_root):
        report(f"{folder} still lacks {', '.join(absent)}")
    return folder


def _provide(archive: Archive, info: Dataset, data_root: Path, report: Say) -> None:
    path = _placed(archive, info, data_root, report)
    if path is None:
        path = data_root / ARCHIVE_FOLDER / archive.filename
        _fetch(archive, path)
    # What has to lie in the target: the categories, or the folder that holds them.
    wanted = set(info.categories) if archive.extract_to == info.folder else {info.folder}
    target = data_root / archive.extract_to
    kept = unpack(path, target, wanted)
    if kept:
        report(f"{target}: left as it was: {', '.join(kept)}")
    report(f"{path} is unpacked; you may delete it")


def _absent(info: Dataset, data_root: Path) -> list[str]:
    """The categories that are not there."""
    try:
        present = list_categories(info.key, data_root)
    except DiffadError:  # no folder yet, or one without a known layout
        present = []
    return [category for category in info.categories if category not in present]


def _placed(archive: Archive, info: Dataset, data_root: Path, report: Say) -> Path | None:
    """An archive that is there already, its checksum verified; None if there is none."""
    places = (data_root / ARCHIVE_FOLDER, data_root / info.folder)
    paths = [place / archive.filename for place in places]
    path = next((path for path in paths if path.is_file()), None)
    if path is None or archive.sha256 is None:
        return path
    report(f"checking {path}")
    found = pooch.file_hash(str(path))
    if found != archive.sha256:
        raise DiffadError(
            f"{path} is damaged or another file: its sha256 is {found}, not {archive.sha256}; "
            "delete it and run the command again"
        )
    return path


def _fetch(archive: Archive, path: Path) -> None:
    """Downloads from the first address that works; only with its checksum it becomes `path`."""
    part = path.with_name(f"{path.name}.part")
    failures = []
    for url in archive.urls:
        try:
            was_resumed = part.exists()
            try:
                _retrieve(url, archive, path, part)
            except ValueError:  # pooch's, for a wrong checksum; the bytes are gone
                if not was_resumed:
                    raise
                _retrieve(url, archive, path, part)  # the old part may have been the wrong one
            return
        except ValueError:
            failures.append(f"{url}: wrong checksum")
        except _NETWORK_ERRORS as error:
            status = _status(error)
            failures.append(f"{url}: {f'HTTP {status}' if status else type(error).__name__}")
    because = f"could not be downloaded ({'; '.join(failures)})" if failures else "has no link"
    raise DiffadError(
        f"{archive.filename} {because}: {archive.manual}, put it at {path} and run the command "
        "again"
    )


def _retrieve(url: str, archive: Archive, path: Path, part: Path) -> None:
    """Raises ValueError if the checksum differs, and what _complete raises."""

    def downloader(url: str, output_file: str, _: object) -> None:
        _complete(url, archive, part)
        part.replace(output_file)

    known_hash = f"sha256:{archive.sha256}" if archive.sha256 else None
    pooch.retrieve(url, known_hash, path.name, path.parent, downloader=downloader)


def _complete(url: str, archive: Archive, part: Path) -> None:
    """Adds bytes to `part` until it is whole, over as many connections as that takes."""
    fruitless = 0
    while True:
        before = _size(part)
        try:
            _append(url, archive, part)
            return
        except _NETWORK_ERRORS as error:
            fruitless = 0 if _size(part) > before else fruitless + 1
            status = _status(error)
            is_refusal = status is not None and status < 500  # again, it would be the same
            if fruitless == _ATTEMPTS or is_refusal:
                raise
            time.sleep(fruitless)


def _append(url: str, archive: Archive, part: Path) -> None:
    """One connection: asks for what `part` lacks, and takes everything if the server cannot skip.

    Raises one of _NETWORK_ERRORS, and DiffadError before the first byte if the disk is too small.
    """
    have = _size(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if have and response.status_code == requests.codes.range_not_satisfiable:
            if response.headers.get("Content-Range") == f"bytes */{have}":
                return  # nothing was missing
            part.unlink()  # longer than the file, so not a part of it
            raise requests.ConnectionError("the file on the server is shorter than its part here")
        response.raise_for_status()
        start = have if response.status_code == requests.codes.partial_content else 0
        total = archive.bytes
        if "Content-Length" in response.headers:
            total = start + int(response.headers["Content-Length"])
        if total is not None:
            needed = total - start + UNPACKED_SHARE * total
            require_space(part.parent, needed, f"download and unpack {archive.filename}")
        with (
            part.open("ab" if start else "wb") as file,
            tqdm.wrapattr(file, "write", total, initial=start, desc=archive.filename) as counted,
        ):
            # Not iter_content: it undoes the compression where a server declares .gz an encoding.
            for chunk in response.raw.stream(1 << 20, decode_content=False):
                counted.write(chunk)


def _status(error: Exception) -> int | None:
    """The HTTP status of an answer that is an error, such as 404."""
    answer = error.response if isinstance(error, requests.HTTPError) else None
    return None if answer is None else answer.status_code


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
