"""Damaged files of every format and damaged lists decode or are a DiffadError, and nothing else.

Every mutation is seeded, so a failure repeats. Images are decoded in a process of their own: what
crashes, hangs or fills the memory there is seen here.
"""

import io
import random
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import layout_factory as factory
from diffad_lib.datasets.decode import decode_image, decode_mask
from diffad_lib.datasets.layouts import scan_category
from diffad_lib.errors import DiffadError

COUNT = 2000  # mutated files of each format, and of each list
SIDE = 24
MEGABYTES = 1024
INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def encoded(form: str, mode: str, **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    pixels[4:20, 4:20] = 90  # something to compress
    options["exif"] = PIL.Image.Exif()
    options["exif"][0x0112] = 6
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def plain_pnm(kind: bytes) -> bytes:
    numbers = b" ".join(b"%d" % (value % 2) for value in range(SIDE * SIDE * 3))
    return kind + b"\n# a comment\n%d %d\n1\n" % (SIDE, SIDE) + numbers + b"\n"


ORIGINALS = {
    "PNG": [encoded("PNG", mode) for mode in ("RGB", "L", "P", "1", "RGBA", "I;16")],
    "JPEG": [encoded("JPEG", mode, progressive=p) for mode in ("RGB", "L") for p in (False, True)]
    + [encoded("JPEG", "CMYK")],
    "BMP": [encoded("BMP", mode) for mode in ("RGB", "L", "P", "1")],
    "TIFF": [
        encoded("TIFF", mode, compression=compression)
        for mode in ("RGB", "L", "P")
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
    ]
    + [encoded("TIFF", "RGB", compression="jpeg"), encoded("TIFF", "1", compression="group4")]
    + [encoded("TIFF", "L", tiffinfo={322: 16, 323: 16})],
    "WebP": [encoded("WebP", "RGB", lossless=lossless) for lossless in (False, True)]
    + [encoded("WebP", "RGBA")],
    "PNM": [encoded("PPM", mode) for mode in ("RGB", "L", "1")]
    + [plain_pnm(kind) for kind in (b"P1", b"P2", b"P3")],
}


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One to four changes: bytes, numbers, blocks that are lost, doubled or moved, an early end."""
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        # Half of the changes hit the header.
        end = len(out) if dice.random() < 0.5 else min(len(out), 80)
        start, length = dice.randrange(end or 1), dice.randint(1, 16)
        match dice.randrange(7):
            case 0:
                out[start : start + 1] = bytes([dice.randrange(256)])
            case 1:
                out[start : start + length] = dice.randbytes(length)
            case 2 | 3:
                number = struct.pack(dice.choice("<>") + "I", dice.choice(INTERESTING))
                size = dice.choice([1, 2, 4])
                out[start : start + size] = number[:size] if dice.random() < 0.5 else number[-size:]
            case 4:
                del out[start : start + length]
            case 5:
                out[start:start] = out[start : start + length] * dice.randint(1, 3)
            case 6:
                del out[max(start, 8) :]
    return bytes(out)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold now, so that it reaches a decoder."""
    out, start = bytearray(data), 8
    while start + 12 <= len(out):
        end = start + 8 + int.from_bytes(out[start : start + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(out)


def mutations(form: str) -> Iterator[bytes]:
    dice = random.Random(form)
    for index in range(COUNT):
        data = mutated(ORIGINALS[form][index % len(ORIGINALS[form])], dice)
        yield with_checksums(data) if form == "PNG" and index % 4 else data


def decode_all(form: str) -> None:
    """What the process does; it prints how many images were decoded and its peak memory in MB."""
    path, decoded = Path(f"x.{form}"), 0
    for data in mutations(form):
        for decode in (decode_image, decode_mask):
            try:
                pixels = decode(path, lambda _, data=data: data)
            except DiffadError as error:
                assert str(path) in str(error) and "\n" not in str(error), error
            else:
                assert pixels.dtype == np.uint8 and pixels.size
                decoded += 1
    print(decoded, peak_megabytes())


def peak_megabytes() -> int:
    """Most memory of this process. On Linux ru_maxrss counts what the parent had before it."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


@pytest.mark.slow
@pytest.mark.parametrize("form", ORIGINALS)
def test_a_damaged_image_decodes_or_is_told(form):
    for data in ORIGINALS[form]:
        try:
            assert decode_image(Path("x"), lambda _, data=data: data).shape == (SIDE, SIDE, 3)
        except DiffadError as error:
            assert any(word in str(error) for word in ("channels", "bits", "white"))
    done = subprocess.run(
        [sys.executable, "-c", f"import test_fuzz_images as fuzz; fuzz.decode_all({form!r})"],
        cwd=Path(__file__).parent, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    decoded, peak = map(int, done.stdout.split())
    assert decoded > COUNT / 50 and peak < MEGABYTES


# Lists of images. csv has its own limit for a field.
TEXTS = [
    b"\0",
    b"\n",
    b"\r",
    b'"',
    b",",
    b"\t",
    b" ",
    b"\xff",
    b"../",
    b"/",
    b"0",
    b"1",
    "ö".encode(),
]
TEXTS += [
    b"x" * 300,
    b"9" * 5000,
    b'"' + b"y" * 150_000,
    b"\n" * 50,
    b",,,,,,,\n",
    b"..",
    b"~",
    "\u2028".encode(),
]


def mutated_text(data: bytes, dice: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        start, length = dice.randrange(len(out) + 1), dice.randint(0, 12)
        place = slice(start, start + length)
        match dice.randrange(4):
            case 0:
                out[place] = dice.choice(TEXTS)
            case 1:
                out[place] = dice.randbytes(length)
            case 2:
                del out[place]
            case 3:
                other = dice.randrange(len(out) + 1)
                out[place] = out[other : other + 40]
    return bytes(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "category", "name", "images"),
    [
        ("visa", "candle", "../split_csv/1cls.csv", "Data/Images"),
        ("dagm", "Class1", "Train/Label/Labels.txt", "Train"),
    ],
)
def test_a_damaged_list_is_told_and_no_image_is_lost_silently(
    tmp_path, dataset, category, name, images
):
    folder = {"visa": factory.make_visa, "dagm": factory.make_dagm}[dataset](tmp_path)
    path = folder / name
    data, dice = path.read_bytes(), random.Random(dataset)
    there = {file for file in (folder / images).rglob("*") if file.suffix in (".JPG", ".PNG")}
    there = {file for file in there if file.parent.name != "Label"}
    refused = 0
    for _ in range(COUNT):
        path.write_bytes(mutated_text(data, dice))
        try:
            scan = scan_category(dataset, category, tmp_path)
        except DiffadError as error:
            assert str(path.resolve()) in str(error) or "1cls.csv" in str(error)
            refused += 1
        else:
            missed = there - {sample.image for sample in scan.samples}
            assert scan.problems or not missed, missed
            assert all(sample.image.is_file() for sample in scan.samples)
            assert all(sample.image.resolve().is_relative_to(folder) for sample in scan.samples)
    assert refused < COUNT / 2
