"""Fonts of the figures of a headless run: matplotlib's own, then one with Hangul, if any."""

import shutil
import subprocess

_BEST = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "UnDotum", "Malgun Gothic")


def matplotlibrc() -> str:
    """A file of settings that is matplotlib's default but for a second font."""
    families = ["DejaVu Sans", *_korean_font()]
    return f"font.family: {', '.join(families)}\n"


def _korean_font() -> list[str]:
    """The name of a font that has Hangul, as fontconfig knows it; none without one."""
    if shutil.which("fc-list") is None:
        return []
    command = ["fc-list", ":lang=ko", "family"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    names = sorted({name.strip() for line in found.splitlines() for name in line.split(",")})
    return [name for name in (*_BEST, *names) if name in names][:1]
