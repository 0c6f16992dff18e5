"""The plain files in an archive of strangers, read in little memory whatever its bytes say."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, cast

from tqdm import tqdm

from diffad_lib.errors import DiffadError

CHUNK = 1 << 20  # bytes that are read at a time
# What tarfile does before 3.11.10 with a header grows with the square of its size: one of 64 kB
# can take 500 MB or 4 s. That of an ordinary file has some hundred bytes.
_MOST_HEADER = 16 << 10
_MOST_LISTING = 32 << 20  # bytes of a zip's list of members; the largest dataset needs 3 MB
_MOST_DICTIONARY = 512 << 20  # bytes to undo xz; "xz -9" asks for 65 MB, a header may for 4 GB
_MOST_CHARACTERS = 255  # of a member's name with its folders
_MOST_PADDING = 16 << 20  # bytes behind the end of a tar

DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    ValueError,  # tarfile's and zipfile's, where fields contradict each other
    EOFError,
    RuntimeError,  # zipfile's, for encryption
)


def plain_files(archive: Path, most: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of a tar or zip archive: name and content; hidden ones are left out.

    Raises DiffadError if a member is a link, a device or sparse, if its name leads outside or is
    not plain, and before the contents are longer than `most` bytes together; one of DAMAGE, or an
    OSError without a number, if the archive is damaged.
    """
    with _ShortReads(io.FileIO(archive)) as file:
        if file.peek(4).startswith(b"PK\3\4"):
            yield from _zip_files(archive, file, most)
        else:
            yield from _tar_files(archive, file, most)


def refused(archive: Path, why: str) -> DiffadError:
    """What a person is told of an archive that no author of a dataset would make."""
    return DiffadError(
        f"{archive}: {why}, so nothing was unpacked; "
        "do not use this archive, fetch it again from the authors of the dataset"
    )


def _zip_files(
    archive: Path, file: io.BufferedReader, most: int
) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as opened:
        members = opened.infolist()
        _require_short(archive, sum(member.file_size for member in members), most)
        for member in tqdm(members, f"unpacking {archive.name}", unit=" files"):
            is_plain = not stat.S_ISLNK(member.external_attr >> 16)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile undoes the others without a limit of memory.
                raise zipfile.BadZipFile(f"compression {member.compress_type}")
            if _is_wanted(archive, member.filename, is_plain) and not member.is_dir():
                yield member.filename, opened.open(member)


def _tar_files(
    archive: Path, file: io.BufferedReader, most: int
) -> Iterator[tuple[str, IO[bytes]]]:
    size = archive.stat().st_size
    with tqdm.wrapattr(file, "read", size, desc=f"unpacking {archive.name}") as counted:
        stream = _Forward(_decompressed(counted, file.peek(6)))
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as opened:
            while (member := opened.next()) is not None:
                content = member.size if member.isfile() else 0
                _require_short(archive, stream.position + content, most)
                stream.end = stream.position + content + _MOST_HEADER
                is_plain = (member.isfile() or member.isdir()) and not member.issparse()
                is_wanted = _is_wanted(archive, member.name, is_plain)
                if is_wanted and (opened_file := opened.extractfile(member)) is not None:
                    yield member.name, opened_file
                opened.members.clear()  # type: ignore[attr-defined]
                opened.pax_headers = {}
        if stream.last != bytes(tarfile.BLOCKSIZE):  # tarfile takes a damaged header for the end
            raise tarfile.ReadError("no end of the archive")
        stream.end = stream.position + _MOST_PADDING
        while stream.read(CHUNK):  # to the end, where gzip has its checksum
            pass


def _require_short(archive: Path, size: int, most: int) -> None:
    if size > most:
        raise refused(archive, f"it becomes {size / 1e9:.1f} GB, above {most / 1e9:.1f} GB")


def _is_wanted(archive: Path, name: str, is_plain: bool) -> bool:
    """False for what the tools of macOS and git add; DiffadError if the member is not safe."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    is_control = any(unicodedata.category(character) == "Cc" for character in name)
    if any(path.anchor or ".." in path.parts for path in paths):
        raise refused(archive, f"its member {name!r} leads outside its folder")
    if is_control or not 0 < len(name) <= _MOST_CHARACTERS:
        raise refused(archive, f"its member {name[:_MOST_CHARACTERS]!r} has no plain name")
    if not is_plain:
        raise refused(archive, f"its member {name!r} is a link, a device or sparse")
    return not any(part.startswith(".") or part == "__MACOSX" for part in paths[0].parts)


def _decompressed(file: IO[bytes], magic: bytes) -> IO[bytes]:
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if magic.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return io.BufferedReader(_Xz(file)) if magic.startswith(b"\xfd7zXZ\0") else file


class _ShortReads(io.BufferedReader):
    """Refuses to read at once what zipfile would take for a list of millions of members."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_LISTING:
            raise zipfile.BadZipFile("too long a list of members")
        return super().read(size)


class _Forward:
    """What tarfile needs of a file: it goes forward only, and never past `end`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.position, self.end = file, 0, _MOST_HEADER
        self.last = b""

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        while self.position < position and self.read(min(CHUNK, position - self.position)):
            pass
        if self.position != position:
            raise tarfile.ReadError("the end is missing, or a size is negative")

    def read(self, size: int) -> bytes:
        if not 0 <= size <= self.end - self.position:
            raise tarfile.ReadError("too long a header")
        self.last = self.file.read(size)
        self.position += len(self.last)
        return self.last


class _Xz(io.RawIOBase):
    """What `lzma.LZMAFile` is, with a limit of memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.stream = _new_xz_stream()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view, data = memoryview(buffer), b""
        while not data:
            if self.stream.eof:  # zeros or another stream may follow
                given = (self.stream.unused_data or self.file.read(CHUNK)).lstrip(b"\0")
                if not given:
                    return 0
                self.stream = _new_xz_stream()
            else:
                given = self.file.read(CHUNK) if self.stream.needs_input else b""
                if not given and self.stream.needs_input:
                    raise EOFError("xz data end too early")
            data = self.stream.decompress(given, len(view))
        view[: len(data)] = data
        return len(data)


def _new_xz_stream() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_DICTIONARY)
