"""What an image file says before it is decoded: its format, its size, how it is to be turned."""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Literal

from diffad_lib.datasets import jpeg
from diffad_lib.files import read_bytes, read_head

Format = Literal["PNG", "JPEG", "BMP", "TIFF", "WebP", "PNM"]  # what is given to OpenCV

_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES: dict[Format, re.Pattern[bytes]] = {
    "PNG": re.compile(re.escape(_PNG)),
    "JPEG": re.compile(rb"\xff\xd8"),
    "BMP": re.compile(rb"BM(?!.{12}\x0c)", re.DOTALL),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "WebP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "PNM": re.compile(rb"P[1-6]\s"),
}
# Refused: each would be one more decoder that any file can reach.
_OTHERS = {
    "an OS/2 BMP": re.compile(rb"BM"),  # OpenCV would make it grey
    "a GIF": re.compile(rb"GIF8"),
    "HEIC, AVIF or a video": re.compile(rb".{4}ftyp", re.DOTALL),
    "a PAM": re.compile(rb"P7\s"),
    "a PFM": re.compile(rb"P[Ff]\s"),
    "a Sun raster": re.compile(rb"\x59\xa6\x6a\x95"),
    "an OpenEXR": re.compile(rb"v/1\x01"),
    "a JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "a JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "a Radiance HDR": re.compile(rb"#\?R"),
    "a BigTIFF": re.compile(rb"II\+\0|MM\0\+"),
    "a Photoshop": re.compile(rb"8BPS"),
    "a PDF": re.compile(rb"%PDF"),
}

_PNM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])++"
_PNM_HEAD = rb"P[1-6]" + _PNM_GAP + rb"(\d{1,9})" + _PNM_GAP + rb"(\d{1,9})"
_PNM_SIZE = re.compile(_PNM_HEAD + rb"[\s#]")
_PNM_WHITE = re.compile(_PNM_HEAD + _PNM_GAP + rb"(\d{1,9})")
_SUBFILE, _WIDTH, _HEIGHT, _COLOURS, _ORIENTATION = 254, 256, 257, 262, 274  # of TIFF and EXIF
_LAST_PLAIN_COLOURS = 6  # beyond: CIELAB, raw sensors and the like


def format_of(data: bytes) -> Format | None:
    """The format by the first bytes, whatever the file is called; None if it is not read."""
    return next((name for name, form in _SIGNATURES.items() if form.match(data)), None)


def other_format(data: bytes) -> str | None:
    """What a file is that is not read, with its article, if the first bytes tell."""
    return next((name for name, form in _OTHERS.items() if form.match(data)), None)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height as stored, before anything is decoded; None if the header is damaged."""
    try:
        return _size(data)
    except struct.error:  # it ends within the header
        return None


def _size(data: bytes) -> tuple[int, int] | None:
    match format_of(data):
        case "PNG" if data[12:16] == b"IHDR":
            return struct.unpack_from(">II", data, 16)
        case "JPEG":
            frames = (start for kind, start in jpeg.segments(data) if kind in jpeg.FRAMES)
            height, width = struct.unpack_from(">HH", data, next(frames, len(data)) + 3)
            return width, height
        case "BMP":
            width, height = struct.unpack_from("<ii", data, 18)
            return width, abs(height)  # negative: from the top
        case "TIFF":
            tags = _tags(data)
            return (tags[_WIDTH], tags[_HEIGHT]) if {_WIDTH, _HEIGHT} <= {*tags} else None
        case "WebP":
            return _webp_size(data)
        case "PNM" if found := _PNM_SIZE.match(data):
            return int(found[1]), int(found[2])
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            (packed,) = struct.unpack_from("<I", data, 21)
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8X":
            low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
            return (high_w << 16 | low_w) + 1, (high_h << 16 | low_h) + 1
    return None


def orientation(source: Path | bytes) -> int:
    """How the stored picture is to be turned: 1 to 8 as EXIF and TIFF number it, 1 if unsaid.

    5 to 8 exchange width and height. DiffadError if a file cannot be read.
    """
    data = read_bytes(source) if isinstance(source, Path) else source
    value = _tags(_exif(data)).get(_ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def seen_size(path: Path) -> tuple[int, int, bool] | None:
    """Width and height of the picture as it is to be seen, and whether EXIF exchanges the two.

    None if the header is damaged. Of most files only the head is read. DiffadError if one cannot be
    read.
    """
    data = read_head(path)
    size = size_of(data) if format_of(data) in ("PNG", "JPEG") else None
    if size is None or (format_of(data) == "PNG" and size[0] != size[1]):
        data = read_bytes(path)  # a PNG may be turned by what follows its pixels
        size = size_of(data)
    if size is None:
        return None
    is_turned = orientation(data) >= 5
    return (*(size[::-1] if is_turned else size), is_turned)


def _exif(data: bytes) -> bytes:
    """The EXIF block, which is built like a TIFF file; empty if there is none."""
    blocks: Iterator[bytes] = iter(())
    match format_of(data):
        case "TIFF":
            return data
        case "PNG":
            blocks = (data[start:end] for name, start, end in _png_chunks(data) if name == b"eXIf")
        case "JPEG":
            blocks = (
                data[start + 8 :]
                for kind, start in takewhile(
                    lambda segment: segment[0] != jpeg.SCAN, jpeg.segments(data)
                )
                if kind == 0xE1 and data[start + 2 : start + 8] == b"Exif\0\0"
            )
        case "WebP":
            blocks = (data[start:end] for name, start, end in _riff_chunks(data) if name == b"EXIF")
    return next(blocks, b"").removeprefix(b"Exif\0\0")


def misread(data: bytes) -> str | None:
    """What a decoder would pass over without a word, and what to do about it; None if nothing."""
    count = 1
    match format_of(data):
        case "PNG":
            frames = (data[at : at + 4] for name, at, _ in _png_chunks(data) if name == b"acTL")
            count = int.from_bytes(next(frames, b"\1"), "big")
        case "WebP":
            count = sum(name == b"ANMF" for name, _, _ in _riff_chunks(data))
        case "TIFF":
            first, *others = [*_directories(data)] or [{}]
            if first.get(_COLOURS, 0) > _LAST_PLAIN_COLOURS:
                return "has other colours than grey or RGB (CIELAB?); convert it to RGB"
            count += sum(not page.get(_SUBFILE, 0) & 1 for page in others)  # 1: a smaller copy
        case "BMP" if data[28:34] == b"\x20\0\0\0\0\0":  # 32 bits, the last 8 of no stated use
            width, height = _size(data) or (0, 0)
            fourth = data[int.from_bytes(data[10:14], "little") + 3 :][: 4 * width * height : 4]
            if fourth.strip(b"\0") and fourth.strip(b"\xff"):
                return "has 4 channels (RGBA?); convert it to RGB or greyscale"
    return f"holds {count} pictures; save one" if count > 1 else None


def white_of(data: bytes) -> int:
    """The value that a PGM or PPM calls white; OpenCV takes every value as one of 255."""
    found = _PNM_WHITE.match(data) if data[1:2] in b"2356" else None
    return int(found[3]) if found else 255


def _tags(data: bytes) -> dict[int, int]:
    return next(_directories(data), {})


def _directories(data: bytes) -> Iterator[dict[int, int]]:
    """The whole numbers of every directory of a TIFF file or an EXIF block, by their tag."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    link, unread = 4, len(data)  # bytes; directories share none, so a circle ends
    while order and link + 4 <= len(data) and unread > 0:
        (start,) = struct.unpack_from(f"{order}I", data, link)
        if start == 0:
            return
        found: dict[int, int] = {}
        count = 0
        try:
            (count,) = struct.unpack_from(f"{order}H", data, start)
            for entry in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, _ = struct.unpack_from(f"{order}HHI", data, entry)
                if kind in (3, 4):  # 16 or 32 bits
                    (value,) = struct.unpack_from(order + "HI"[kind - 3], data, entry + 8)
                    found.setdefault(tag, value)
        except struct.error:  # cut off: what was found counts
            pass
        yield found
        link = start + 2 + 12 * count
        unread -= 6 + 12 * count


def is_whole(data: bytes) -> bool:
    """False for a PNG or JPEG that is seen to be cut off or damaged; OpenCV would fill it in.

    A JPEG has no checksums: `jpeg.to_decode` shows a scan that ends early, no wrong bit.
    """
    match format_of(data):
        case "PNG":
            return _png_is_whole(data)
        case "JPEG":
            return jpeg.is_whole(data)
    return True


def _png_is_whole(data: bytes) -> bool:
    """True if every chunk up to IEND is there and the checksums of the critical ones agree."""
    for name, start, end in _png_chunks(data):
        checksum = int.from_bytes(data[end : end + 4], "big")
        if name[:1].isupper() and zlib.crc32(data[start - 4 : end]) != checksum:
            return False
        if name == b"IEND":
            return True
    return False


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, begin and end of the content of every chunk that is there whole."""
    start = len(_PNG)
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(data[start : start + 4], "big")
        if end + 4 > len(data):
            return
        yield data[start + 4 : start + 8], start + 8, end
        start = end + 4


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The same of a WebP, from its first chunk."""
    start = 12
    while start + 8 <= len(data):
        end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
        yield data[start : start + 4], start + 8, end
        start = end + end % 2
