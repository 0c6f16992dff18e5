"""`diffad data download`: from a catalog entry to unpacked folders below --data-root."""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tqdm import tqdm

from diffad_lib.datasets.dataset import ARCHIVE_FOLDER, Archive, Dataset
from diffad_lib.datasets.layouts import list_categories
from diffad_lib.datasets.unpack import UNPACKED_SHARE, require_space, unpack
from diffad_lib.errors import DiffadError
from diffad_lib.files import exclusive, sha256_of, unwritable, write_text

_TIMEOUT = (10, 60)  # seconds to connect, and to wait for the next bytes
_ATTEMPTS = 3  # in a row without a new byte, before an address is given up
MOST_BYTES = 20 * 10**9  # of an archive of unknown size; the largest here, MVTec AD's, has 5 GB
Say = Callable[[str], None]  # tells a person one line
_NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


class _WrongAnswer(Exception):
    """What an address sends is not the archive; told as it is."""


def download(info: Dataset, data_root: Path, report: Say = print) -> Path:
    """Fetches and unpacks a dataset; returns its folder. Does nothing if all categories are there.

    An archive in `<data_root>/archives` or in the dataset's folder is used instead of a download.
    An interrupted download goes on if the server can do that. Archives are kept. The sha256 of one
    whose checksum is not known is noted beside it, and it is told when it differs the next time.

    Raises DiffadError if no address works, a checksum differs, an archive is damaged or unsafe, the
    disk is too small or read-only, a link lies where a file is written, and if another process
    downloads the same dataset.
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
        os.close(_open_no_link(lock, os.O_CREAT))
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
    if archive.sha256 is None:
        _note_sha256(path, report)


def _note_sha256(path: Path, report: Say) -> None:
    """Writes the sha256 of an archive beside it, as `sha256sum` does, or tells that it differs."""
    note = path.with_name(f"{path.name}.sha256")
    found = sha256_of(path)
    report(f"{path}: its sha256 is {found}; no official one is known")
    if not note.exists():
        write_text(note, f"{found}  {path.name}\n")
    elif found not in note.read_text(encoding="utf-8", errors="replace"):
        report(f"{path} is not the archive of last time, whose sha256 is in {note}")


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
    found = sha256_of(path)
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
            was_resumed = _size(part) > 0
            try:
                _retrieve(url, archive, path, part)
            except _WrongAnswer:
                if not was_resumed or part.exists():
                    raise
                _retrieve(url, archive, path, part)  # the old part may have been the wrong one
            return
        except _WrongAnswer as error:
            failures.append(f"{url}: {error}")
        except _NETWORK_ERRORS as error:
            status = _status(error)
            failures.append(f"{url}: {f'HTTP {status}' if status else type(error).__name__}")
    because = f"could not be downloaded ({'; '.join(failures)})" if failures else "has no link"
    raise DiffadError(
        f"{archive.filename} {because}: {archive.manual}, put it at {path} and run the command "
        "again"
    )


def _retrieve(url: str, archive: Archive, path: Path, part: Path) -> None:
    """Raises what _complete does, and _WrongAnswer if the checksum differs; the bytes are gone."""
    _complete(url, archive, part)
    if archive.sha256 not in (None, sha256_of(part)):
        part.unlink()
        raise _WrongAnswer("wrong checksum")
    part.replace(path)


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

    Raises one of _NETWORK_ERRORS, _WrongAnswer if the length, the part or a redirect is
    wrong, and DiffadError before the first byte if the disk is too small.
    """
    have = _size(part)
    with requests.get(
        url,
        headers={"Range": f"bytes={have}-"} if have else {},
        stream=True,
        timeout=_TIMEOUT,
        hooks={"response": _require_safe_redirect},  # called before a redirect is followed
    ) as response:
        content_range = response.headers.get("Content-Range", "")
        is_partial = response.status_code == requests.codes.partial_content
        if have and response.status_code == requests.codes.range_not_satisfiable:
            if content_range == f"bytes */{have}":
                return  # nothing was missing
            part.unlink()  # longer than the file, so not a part of it
            raise _WrongAnswer("is shorter than its part here")
        if is_partial and not content_range.startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)  # so that no part is asked for next time
            raise _WrongAnswer("sends another part than it was asked for")
        response.raise_for_status()
        start = have if is_partial else 0
        total = _told_length(response, start, archive)
        if total is not None:
            needed = total - start + UNPACKED_SHARE * total
            require_space(part.parent, needed, f"download and unpack {archive.filename}")
        _write(response, part, start, total)


def _write(response: requests.Response, part: Path, start: int, total: int | None) -> None:
    """Writes an answer into `part` from byte `start` on; _WrongAnswer if it is too long."""
    most = total or MOST_BYTES
    with (
        open(part, "ab" if start else "wb", opener=_open_no_link) as file,
        tqdm.wrapattr(file, "write", total, initial=start, desc=part.stem) as counted,
    ):
        # Not iter_content: it undoes the compression where a server declares .gz an encoding.
        for chunk in response.raw.stream(1 << 20, decode_content=False):
            start += len(chunk)
            if start > most:
                part.unlink()
                raise _WrongAnswer(f"sends more than {most} bytes")
            require_space(part.parent, 0, f"download {part.stem}")
            counted.write(chunk)


def _told_length(response: requests.Response, start: int, archive: Archive) -> int | None:
    """The whole length that an answer announces; _WrongAnswer if it cannot be the archive's."""
    told = response.headers.get("Content-Length")
    if told is None:
        return archive.bytes
    if not (told.isascii() and told.isdecimal()):
        raise _WrongAnswer(f"its length is {told!r}, not a number")
    total = start + int(told)
    if total > MOST_BYTES or archive.bytes not in (None, total):
        expected = archive.bytes or f"at most {MOST_BYTES}"
        raise _WrongAnswer(f"has {total} bytes, not {expected}")
    return total


def _require_safe_redirect(response: requests.Response, **_: object) -> None:
    """Raises _WrongAnswer if an answer sends on to where a reader could be deceived."""
    if response.is_redirect:
        target = urljoin(response.url, response.headers["Location"])
        allowed = ("https",) if urlsplit(response.url).scheme == "https" else ("http", "https")
        if urlsplit(target).scheme not in allowed:
            raise _WrongAnswer(f"redirects to {target!r}, which is not https")


def _open_no_link(path: str | Path, flags: int) -> int:
    """`os.open` that refuses a link, which would lead the bytes to another file."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DiffadError(
                f"{path} is a link, and nothing is written there; delete it"
            ) from error
        raise


def _status(error: Exception) -> int | None:
    """The HTTP status of an answer that is an error, such as 404."""
    answer = error.response if isinstance(error, requests.HTTPError) else None
    return None if answer is None else answer.status_code


def _size(path: Path) -> int:
    return path.lstat().st_size if os.path.lexists(path) else 0
