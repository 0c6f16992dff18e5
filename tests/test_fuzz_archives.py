"""Mutated archives: each is unpacked or refused with a DiffadError, and nothing else is touched."""

import bz2
import gzip
import io
import lzma
import random
import resource
import shutil
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from diffad_lib.datasets.unpack import unpack
from diffad_lib.errors import DiffadError

MUTANTS = 2000
FILES = {
    "bottle/train/good/000.png": bytes(range(256)) * 3,
    "bottle/test/crack/" + "long" * 40 + ".png": b"x" * 1024,  # needs an extended header
    "cable/긴 이름.png": b"",
    "licence.txt": b"CC BY",
}
NUMBERS = (0, 1, 511, 512, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
TAR_FIELDS = ((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (257, 8), (345, 155))
TAR_KINDS = b"0\x001234567xgLKSNVMDAXZ"
PAX = (
    b"path=../../evil",
    b"path=" + b"a/" * 300,
    b"path=bottle/\0x",
    b"size=-512",
    b"size=9" + b"9" * 30,
    b"size=x",
    b"mtime=inf",
    b"hdrcharset=BINARY",
    b"GNU.sparse.map=1,x,",
    b"GNU.sparse.size=10",
    b"GNU.sparse.major=1\n22 GNU.sparse.minor=0",
    b"=",
    b"\xff\xfe=\xff",
)


def make_tar(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        length = archive.offset
    return buffer.getvalue()[:length] + bytes(1024)


def make_zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


TARS = [make_tar(form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
ZIPS = [make_zip(FILES), make_zip(FILES | {"cable.zip": make_zip({"cable/x": b"y"})})]


def mutated_bytes(data: bytes, dice: random.Random) -> bytes:
    """Flips, cuts, or splices bytes at a few places."""
    broken = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 8))):
        start, end = sorted(dice.randrange(len(broken) + 1) for _ in range(2))
        what = dice.choice(("flip", "flip", "cut", "end", "double", "noise", "zero"))
        if what == "flip" and broken:
            broken[dice.randrange(len(broken))] ^= 1 << dice.randrange(8)
        elif what == "cut":
            del broken[start : min(end, start + dice.choice((1, 16, 512)))]
        elif what == "end":
            del broken[max(start, 64) :]
        elif what == "double":
            broken[start:start] = broken[start:end]
        elif what == "noise":
            broken[start : start + 8] = dice.randbytes(8)
        elif what == "zero":
            broken[start:end] = bytes(end - start)
    return bytes(broken)


def mutated_tar(data: bytes, dice: random.Random) -> bytes:
    """Sets fields of headers to extremes and mends their checksums."""
    broken = bytearray(data)
    starts = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
    for start in dice.sample(starts, dice.choice((1, 1, 2))):
        at, length = dice.choice(TAR_FIELDS)
        number = dice.choice((*NUMBERS, -1, -512, -1024))
        value = dice.choice(
            (
                number.to_bytes(16, "big", signed=True)[-length:] if number < 0 else b"",
                b"\x80" + number.to_bytes(12, "big")[-length + 1 :] if number >= 0 else b"",
                b"%o" % max(number, 0),
                b"/../" * 40,
                b"bottle",
                dice.randbytes(length),
                bytes([dice.choice(TAR_KINDS)]),
            )
        )
        broken[start + at : start + at + length] = value[:length].ljust(length, b"\0")
        broken[start + 148 : start + 156] = b" " * 8
        total = sum(broken[start : start + 512])
        broken[start + 148 : start + 156] = b"%06o\0 " % total
    if dice.random() < 0.3:
        record = dice.choice(PAX)
        record = b"%d %s\n" % (dice.choice((len(record) + 4, 0, 5, 10**6)), record)
        info = tarfile.TarInfo("x")
        info.type, info.size = dice.choice((b"x", b"g")), len(record)
        content = record.ljust(-(-len(record) // 512) * 512, b"\0")
        broken[0:0] = info.tobuf(tarfile.USTAR_FORMAT) + content
    return bytes(broken)


def mutated_zip(data: bytes, dice: random.Random) -> bytes:
    """Sets fields of the list, of local headers or of the end to extremes."""
    broken = bytearray(data)
    for _ in range(dice.choice((1, 1, 3))):
        magic, size = dice.choice(((b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)))
        starts = [at for at in range(len(data)) if data[at : at + 4] == magic]
        form, length = dice.choice((("<H", 2), ("<I", 4)))
        at = dice.choice(starts) + dice.randrange(4, size - length + 1)
        struct.pack_into(form, broken, at, dice.choice(NUMBERS) % 256**length)
    return bytes(broken)


def mutant(kind: str, dice: random.Random) -> bytes:
    compress: Callable[[bytes], bytes] = {
        "gz": lambda data: gzip.compress(data, 1),
        "xz": lambda data: lzma.compress(data, preset=0),
        "bz2": bz2.compress,
    }.get(kind, bytes)
    inner, base = (mutated_zip, ZIPS) if kind == "zip" else (mutated_tar, TARS)
    data = dice.choice(base)
    if dice.random() < 0.5:
        return compress(inner(data, dice))
    return mutated_bytes(compress(data), dice)


@pytest.fixture
def little_memory():
    """A gigabyte more than now; above that Python raises a MemoryError, which fails the test."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 10**9, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux for the memory")
@pytest.mark.parametrize("kind", ["tar", "gz", "xz", "bz2", "zip"])
def test_a_mutated_archive_is_unpacked_or_refused(tmp_path, little_memory, kind):
    dice = random.Random(kind)
    archive, target = tmp_path / "archive", tmp_path / "target"
    outcomes = {True: 0, False: 0}
    for index in range(MUTANTS // 5):
        data = mutant(kind, dice)
        archive.write_bytes(data)
        started = time.monotonic()
        try:
            unpack(archive, target, ["bottle", "cable"])
            is_unpacked = True
        except DiffadError as error:
            assert "\n" not in str(error) and str(archive) in str(error)
            is_unpacked = False
        except Exception as error:
            pytest.fail(f"{kind} {index}: {error!r}")
        assert time.monotonic() - started < 5
        outcomes[is_unpacked] += 1
        assert {path.name for path in tmp_path.iterdir()} == {"archive", "target"}
        entries = {path.name for path in target.iterdir()}
        assert not [path for path in target.rglob("*") if path.is_symlink()]
        assert entries & {"bottle", "cable"} if is_unpacked else not entries
        assert ".unpacking" not in entries and archive.read_bytes() == data
        shutil.rmtree(target)
    assert min(outcomes.values()) > MUTANTS // 100, outcomes  # both do happen
