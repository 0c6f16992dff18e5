"""What an image file says before it is decoded: its format, its size, how it is to be turned."""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Literal

from diffad_lib.files import read_bytes

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

# A marker in entropy-coded data is 0xFF and neither a stuffed zero, a restart marker nor padding.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_AFTER_A_SCAN = {0xC4, 0xDA, 0xD9, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
_JPEG_LOOKAHEAD = 16  # bytes that a decoder wants beyond the last pixel
_PNM_GAP = rb"(?:\s|#[^\r\n]*[\r\n])++"
_PNM_SIZE = re.compile(rb"P[1-6]" + _PNM_GAP + rb"(\d{1,9})" + _PNM_GAP + rb"(\d{1,9})[\s#]")
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274  # tags of TIFF and EXIF


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
            frames = (start for kind, start in _segments(data) if kind in _JPEG_FRAMES)
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
                    lambda segment: segment[0] != _JPEG_SCAN, _segments(data)
                )
                if kind == 0xE1 and data[start + 2 : start + 8] == b"Exif\0\0"
            )
        case "WebP":
            blocks = (data[start:end] for name, start, end in _riff_chunks(data) if name == b"EXIF")
    return next(blocks, b"").removeprefix(b"Exif\0\0")


def _tags(data: bytes) -> dict[int, int]:
    """The whole numbers of the first directory of a TIFF file or an EXIF block, by their tag."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    found: dict[int, int] = {}
    if order is None:
        return found
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, entry)
            if kind in (3, 4):  # 16 or 32 bits
                (value,) = struct.unpack_from(order + "HI"[kind - 3], data, entry + 8)
                found.setdefault(tag, value)
    except struct.error:  # cut off: what was found counts
        pass
    return found


def is_whole(data: bytes) -> bool:
    """False for a PNG or JPEG that is seen to be cut off or damaged; OpenCV would fill it in.

    A JPEG has no checksums: `to_decode` shows a scan that ends early, a wrong bit stays unseen.
    """
    match format_of(data):
        case "PNG":
            return _png_is_whole(data)
        case "JPEG":
            try:
                return _jpeg_is_whole(data)
            except (IndexError, ValueError):  # it ends within a head
                return False
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


def _jpeg_is_whole(data: bytes) -> bool:
    """True if its scans bring every component, and nothing strange lies up to the end mark."""
    missing: set[tuple[int, int]] = set()  # component and coefficient
    kind_before, end_before, has_scan, progressive = 0, 2, False, False
    for kind, start in _segments(data):
        between = data[end_before : start - 2]
        is_sound = (
            _restarts_in_order(between) if kind_before == _JPEG_SCAN else not between.strip(b"\xff")
        )
        if has_scan and not (is_sound and kind in _JPEG_AFTER_A_SCAN):
            return False
        if kind == _JPEG_END:
            return has_scan and not missing
        if kind in _JPEG_FRAMES:
            progressive = kind in _JPEG_PROGRESSIVE
            components = data[start + 8 :][: 3 * data[start + 7] : 3]
            missing = {(c, k) for c in components for k in range(64 if progressive else 1)}
        if kind == _JPEG_SCAN:
            has_scan = True
            missing -= _brought(data[start + 2 :], progressive)
        kind_before, end_before = kind, start + int.from_bytes(data[start : start + 2], "big")
    return False


def _restarts_in_order(scan: bytes) -> bool:
    marks = b"".join(_JPEG_RESTART.findall(scan))
    return marks == (bytes(range(0xD0, 0xD8)) * (len(marks) // 8 + 1))[: len(marks)]


def _brought(scan: bytes, progressive: bool) -> set[tuple[int, int]]:
    """The components and coefficients of which a scan brings the last bit, by its head."""
    components, (first, last, bits) = scan[1:][: 2 * scan[0] : 2], scan[1 + 2 * scan[0] :][:3]
    if not progressive:
        first, last, bits = 0, 0, 0
    return {(c, k) for c in components for k in range(first, last + 1) if not bits & 15}


def to_decode(data: bytes) -> bytes:
    """The file, a JPEG of one scan with zeros as its end mark: so OpenCV stops where data lacks.

    With the mark it would fill what lacks with grey.
    """
    if format_of(data) != "JPEG":
        return data
    scans = 0
    for kind, start in _segments(data):
        scans += kind == _JPEG_SCAN
        if kind == _JPEG_END:
            return data[: start - 2] + bytes(_JPEG_LOOKAHEAD) if scans == 1 else data
    return data


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


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Kind and begin (of the length) of a JPEG's segments and scans, as they follow each other."""
    start = 2
    while marker := _JPEG_MARKER.search(data, start):
        yield data[marker.end() - 1], marker.end()
        # A segment says its length; a scan's data after it is passed by the search above.
        start = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
