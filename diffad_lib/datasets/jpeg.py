"""The parts of a JPEG file: what follows what, and whether pixels lack."""

import re
from collections.abc import Iterator

# A marker in entropy-coded data is 0xFF and neither a stuffed zero, a restart marker nor padding.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
SCAN, _END = 0xDA, 0xD9
_LONGEST_HEAD = 1 + 2 * 255 + 3  # bytes, of a scan
_LOOKAHEAD = 16  # bytes that a decoder wants beyond the last pixel


def segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Kind and begin (of the length) of a JPEG's segments and scans, as they follow each other."""
    start = 2
    while marker := _MARKER.search(data, start):
        yield data[marker.end() - 1], marker.end()
        # A segment says its length; a scan's data after it is passed by the search above.
        start = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")


def is_whole(data: bytes) -> bool:
    """True if its scans bring every component, and nothing strange lies up to the end mark."""
    try:
        return _scans_are_whole(data)
    except (IndexError, ValueError):  # it ends within a head
        return False


def _scans_are_whole(data: bytes) -> bool:
    missing: set[tuple[int, int]] = set()  # component and coefficient
    kind_before, end_before, has_scan, progressive = 0, 2, False, False
    for kind, start in segments(data):
        between = data[end_before : start - 2]
        is_sound = (
            _restarts_in_order(between) if kind_before == SCAN else not between.strip(b"\xff")
        )
        if has_scan and not is_sound:
            return False
        if kind == _END:
            return has_scan and not missing
        if kind in FRAMES:
            progressive = kind in _PROGRESSIVE
            components = data[start + 8 : start + 8 + 3 * data[start + 7] : 3]
            missing = {(c, k) for c in components for k in range(64 if progressive else 1)}
        if kind == SCAN:
            has_scan = True
            missing -= _brought(data[start + 2 : start + 2 + _LONGEST_HEAD], progressive)
        kind_before, end_before = kind, start + int.from_bytes(data[start : start + 2], "big")
    return False


def _restarts_in_order(scan: bytes) -> bool:
    marks = b"".join(_RESTART.findall(scan))
    return marks == (bytes(range(0xD0, 0xD8)) * (len(marks) // 8 + 1))[: len(marks)]


def _brought(scan: bytes, progressive: bool) -> set[tuple[int, int]]:
    """The components and coefficients of which a scan brings the last bit, by its head."""
    components, (first, last, bits) = scan[1:][: 2 * scan[0] : 2], scan[1 + 2 * scan[0] :][:3]
    if not progressive:
        first, last, bits = 0, 0, 0
    return {(c, k) for c in components for k in range(first, last + 1) if not bits & 15}


def to_decode(data: bytes) -> bytes:
    """A JPEG, if of one scan with zeros as its end mark: so OpenCV stops where pixels lack.

    With the mark it would fill them in with grey.
    """
    scans = 0
    for kind, start in segments(data):
        scans += kind == SCAN
        if kind == _END:
            return data[: start - 2] + bytes(_LOOKAHEAD) if scans == 1 else data
    return data
