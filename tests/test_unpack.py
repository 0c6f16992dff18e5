"""Archives that are bombs, that name odd files, or that hide what is missing in them."""

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from diffad_lib.datasets import unpack as unpacking
from diffad_lib.datasets.unpack import unpack
from diffad_lib.errors import DiffadError

WANTED = ("bottle", "cable")
GOOD = {"bottle/a.png": b"a" * 700, "bottle/b.png": b"b" * 1024, "cable/c.png": b"c"}
DAMAGED = "is damaged or not a plain tar or zip"
END = bytes(1024)


def members_of(files: dict[str, bytes], **extra: object) -> bytes:
    """A tar without its end."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in extra.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
        length = archive.offset
    return buffer.getvalue()[:length]


def tar_of(files: dict[str, bytes], **extra: object) -> bytes:
    return members_of(files, **extra) + END


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def header(name: str = "bottle/x", kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def files_below(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def unpacked(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    """What is in the target afterwards."""
    archive = tmp_path / "archive"
    archive.write_bytes(data)
    unpack(archive, tmp_path / "target", WANTED)
    return files_below(tmp_path / "target")


def assert_refused(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(DiffadError, match=why) as caught:
        unpacked(tmp_path, data)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "target"}
    assert not list((tmp_path / "target").iterdir())


def lying_zip(*sizes: int) -> bytes:
    """A zip whose list gives its members these lengths."""
    data = bytearray(zip_of({f"bottle/{index}": b"x" for index in range(len(sizes))}))
    position = 0
    for size in sizes:
        position = data.index(b"PK\1\2", position + 1)
        struct.pack_into("<I", data, position + 24, size)
    return bytes(data)


def test_a_zip_that_becomes_too_long_is_refused_by_its_list(tmp_path: Path) -> None:
    assert_refused(tmp_path, lying_zip(600_000_000, 600_000_000), "becomes 1.2 GB, above 1.0 GB")


def test_a_zip_member_longer_than_its_list_says_is_not_written_on(tmp_path: Path) -> None:
    data = bytearray(zip_of({"bottle/0": bytes(100_000)}))
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 1000)
    assert_refused(tmp_path, bytes(data), DAMAGED)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_that_becomes_too_long_is_refused_before_it_is_written(tmp_path, compress):
    data = members_of(GOOD) + header("cable/x", size=1_200_000_000) + END
    assert_refused(tmp_path, compress(data), "becomes 1.2 GB, above 1.0 GB")


def test_hidden_members_count_too(tmp_path: Path) -> None:
    assert_refused(tmp_path, header(".hidden", size=1_200_000_000), "becomes 1.2 GB")


def test_twenty_times_the_archive_are_allowed_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_BYTES", 0)
    noise = os.urandom(10_000)
    assert unpacked(tmp_path, zip_of({"bottle/x": noise + bytes(180_000)}))
    shutil.rmtree(tmp_path / "target")
    assert_refused(tmp_path, zip_of({"bottle/x": noise + bytes(220_000)}), "becomes 0.0 GB")


@pytest.mark.parametrize("first", ["cable.zip", "cable/x"])
def test_a_zip_and_the_zips_in_it_share_what_is_allowed(tmp_path, monkeypatch, first):
    zeros = bytes(100_000)
    nested = zip_of({"x": zeros})
    outer = zip_of({first: nested if first == "cable.zip" else zeros, "bottle.zip": nested})
    monkeypatch.setattr(unpacking, "MOST_SHARE", 0)
    monkeypatch.setattr(unpacking, "MOST_BYTES", 202_000)
    assert len(unpacked(tmp_path, outer)) == 2
    shutil.rmtree(tmp_path / "target")
    monkeypatch.setattr(unpacking, "MOST_BYTES", 150_000)
    assert_refused(tmp_path, outer, "becomes 0.0 GB")


def test_too_many_files_and_folders_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_ENTRIES", 6)  # bottle, cable, the root and 3 files
    assert unpacked(tmp_path, tar_of(GOOD)) == GOOD
    shutil.rmtree(tmp_path / "target")
    assert_refused(tmp_path, tar_of(GOOD | {"bottle/d/e": b""}), "more than 6 files and folders")


def test_a_disk_that_fills_up_meanwhile_is_told_and_left_as_it_was(tmp_path, monkeypatch):
    free = iter([5e9, 1.1e9, 1.1e9, 0.9e9])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    assert_refused(tmp_path, tar_of(GOOD), r"1\.0 GB are needed to unpack archive, 0\.9 GB are")


def old_sparse() -> bytes:
    """A member of 512 bytes that is said to become 300 MB."""
    block = bytearray(header("bottle/x", tarfile.GNUTYPE_SPARSE, 512))
    block[386:410] = b"%011o\0%011o\0" % (300_000_000 - 512, 512)
    block[483:495] = b"%011o\0" % 300_000_000
    return mended(block) + bytes(512) + END


def mended(block: bytearray) -> bytes:
    """A tar header whose checksum fits."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax_sparse(**headers: str) -> bytes:
    keys = {f"GNU.sparse.{key}": value for key, value in headers.items()}
    return tar_of({"bottle/x": b"1\n0\n1\n".ljust(513, b"\0")}, pax_headers=keys)


@pytest.mark.parametrize(
    "data",
    [
        old_sparse(),
        pax_sparse(major="1", minor="0", realsize="300000000", name="bottle/y"),
        pax_sparse(map="0,1", size="300000000"),
    ],
)
def test_sparse_members_are_refused(tmp_path: Path, data: bytes) -> None:
    assert_refused(tmp_path, data, "'bottle/[xy]' is a link, a device or sparse")


def peak(tmp_path: Path, data: bytes, why: str) -> int:
    tracemalloc.start()
    try:
        assert_refused(tmp_path, data, why)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
@pytest.mark.parametrize("position", [0, 10_240])
def test_a_long_header_is_refused_before_it_is_read(tmp_path, kind, position):
    before = header("bottle/a", size=position) + bytes(position) if position else b""
    data = gzip.compress(before + header("x", kind, 60_000_000) + bytes(60_000_000), 1)
    assert peak(tmp_path, data, DAMAGED) < 10_000_000


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_a_chain_of_headers_is_refused_before_it_is_read(tmp_path, kind):
    one = header("x", kind, 4096) + b"20 comment=" + bytes(4085)
    assert peak(tmp_path, gzip.compress(one * 5_000), DAMAGED) < 10_000_000


@pytest.mark.slow
def test_headers_of_many_members_are_forgotten(tmp_path: Path) -> None:
    record = b"8001 comment=" + b"x" * 7987 + b"\n"
    one = header("x", b"x", len(record)) + record.ljust(8192, b"\0") + header("a", tarfile.DIRTYPE)
    data = gzip.compress(one * 4_000 + END, 1)
    assert peak(tmp_path, data, "holds no folder") < 10_000_000


def test_global_headers_are_forgotten(tmp_path: Path) -> None:
    parts = []
    for index in range(2_000):
        record = b"8001 %04d=" % index + b"x" * 7990 + b"\n"
        parts.append(header("x", b"g", len(record)) + record.ljust(8192, b"\0"))
        parts.append(header("a", tarfile.DIRTYPE))
    data = gzip.compress(b"".join(parts) + END, 1)
    assert peak(tmp_path, data, "holds no folder") < 10_000_000


def test_endless_padding_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, gzip.compress(tar_of(GOOD) + bytes(20_000_000), 1), DAMAGED)


def test_a_long_list_of_members_is_refused_before_it_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(600):
            info = zipfile.ZipInfo(f"bottle/{index}")
            info.comment = bytes(60_000)
            archive.writestr(info, b"")
    assert peak(tmp_path, buffer.getvalue(), DAMAGED) < 10_000_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_a_compression_that_takes_any_memory_is_refused(tmp_path, method):
    assert_refused(tmp_path, zip_of(GOOD, method), DAMAGED)


def test_an_xz_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    data = bytearray(lzma.compress(tar_of(GOOD)))
    assert data[14:16] == b"\x21\x01"  # of LZMA2, with one byte for the size of its dictionary
    data[16] = 40
    data[20:24] = struct.pack("<I", zlib.crc32(data[12:20]))
    assert_refused(tmp_path, bytes(data), DAMAGED)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory")
@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_bomb_takes_less_than_150_megabytes_of_memory(tmp_path, compress):
    bomb = header("x", b"x", 200_000_000) + bytes(200_000_000)
    (tmp_path / "archive").write_bytes(compress(bomb))
    code = """if True:
        import sys; from pathlib import Path
        from diffad_lib.datasets.unpack import unpack; from diffad_lib.errors import DiffadError
        try:
            unpack(Path(sys.argv[1]), Path(sys.argv[2]), ["bottle"])
        except DiffadError:
            print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    """
    command = [sys.executable, "-c", code, str(tmp_path / "archive"), str(tmp_path / "target")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150_000, "kB"


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize(
    "names", [("bottle/a", "bottle/A"), ("bottle/a", "Bottle/b"), ("bottle/ß/a", "bottle/SS/b")]
)
def test_names_that_differ_in_case_only_are_refused(tmp_path, make, names):
    assert_refused(tmp_path, make(dict.fromkeys(names, b"x")), "are one")


def test_a_tar_may_hold_a_file_twice_and_the_last_one_counts(tmp_path: Path) -> None:
    data = members_of(GOOD) + tar_of({"bottle/a.png": b"new"})
    assert unpacked(tmp_path, data) == GOOD | {"bottle/a.png": b"new"}


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\x7f", "a\x9b", "a" * 249, "a/" * 140])
def test_names_that_are_not_plain_are_refused(tmp_path, make, name):
    assert_refused(tmp_path, make({f"bottle/{name}": b"x"}), "has no plain name")


def test_an_empty_name_is_refused(tmp_path: Path) -> None:
    data = zip_of({"bottle/x": b"x"}).replace(b"bottle/x", b"\0ottle/x")
    assert_refused(tmp_path, data, "has no plain name")


def test_names_of_any_language_are_plain(tmp_path: Path) -> None:
    files = {"bottle/정상 é\u3000.png": b"x"}
    assert unpacked(tmp_path, tar_of(files)) == files


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize(
    "names",
    [
        (".",),
        ("bottle/a", "bottle"),
        ("bottle", "bottle/a"),
        ("bottle", "bottle/a/b"),
        ("bottle/" + "가" * 100,),  # 300 bytes
        ("bottle.zip", "bottle/a"),
    ],
)
def test_names_that_the_disk_refuses_are_called_damage_and_not_a_full_disk(tmp_path, make, names):
    nested = zip_of({"x": b"y"})
    assert_refused(tmp_path, make(dict.fromkeys(names, nested)), DAMAGED)


@pytest.mark.parametrize(("number", "is_damage"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_what_the_disk_itself_refuses_is_not_called_damage(
    tmp_path, monkeypatch, number, is_damage
):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1e12))
    monkeypatch.setattr(unpacking, "plain_files", refuse)
    with pytest.raises(DiffadError if is_damage else OSError):
        unpacked(tmp_path, b"")


def test_a_link_in_the_place_of_the_hidden_folder_is_not_called_damage(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / ".unpacking").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        unpacked(tmp_path, tar_of(GOOD))


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_hidden_files_are_left_out_and_a_licence_is_kept(tmp_path, make):
    kept = GOOD | {"licence.txt": b"CC", "split_csv/1cls.csv": b""}
    hidden = (".git/config", ".DS_Store", "bottle/._a.png", "cable/.x/y", "__MACOSX/x")
    assert unpacked(tmp_path, make(kept | dict.fromkeys(hidden, b"x"))) == kept


def test_a_damaged_header_is_not_taken_for_the_end_of_a_tar(tmp_path: Path) -> None:
    data = bytearray(tar_of(GOOD))
    data[data.index(b"cable/c.png")] ^= 1
    assert_refused(tmp_path, bytes(data), DAMAGED)


def test_a_tar_that_is_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    data = tar_of(GOOD)
    start = data.index(b"cable/c.png")
    assert_refused(tmp_path, data[:start], DAMAGED)
    assert_refused(tmp_path, data[: start + 100], DAMAGED)


def test_sizes_below_zero_are_refused(tmp_path: Path) -> None:
    block = bytearray(header())
    block[124:136] = (256**12 - 512).to_bytes(12, "big")
    assert_refused(tmp_path, mended(block) + END, DAMAGED)
    pax = tar_of({"bottle/x": b"x"}, pax_headers={"size": "-2048"})
    assert_refused(tmp_path, pax, DAMAGED)
    block[156:157] = b"x"
    data = gzip.compress(mended(block) + bytes(60_000_000), 1)
    assert peak(tmp_path, data, DAMAGED) < 10_000_000


def test_xz_in_several_streams_is_one_file(tmp_path: Path) -> None:
    data = tar_of(GOOD)
    parts = [lzma.compress(part) for part in (data[:1000], b"", data[1000:])]
    assert unpacked(tmp_path, parts[0] + bytes(8) + parts[1] + parts[2] + bytes(4)) == GOOD
    shutil.rmtree(tmp_path / "target")
    assert_refused(tmp_path, b"".join(parts) + b"more", DAMAGED)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path: Path) -> None:
    files = {"bottle/a": b"x", "cable.zip": zip_of({"c": b"y"})}
    assert unpacked(tmp_path, tar_of(files)) == {"bottle/a": b"x", "cable/c": b"y"}


@pytest.mark.parametrize("offset", [2**63 - 1, 2**64 - 1])
def test_a_zip_that_points_far_away_is_called_damage(tmp_path: Path, offset: int) -> None:
    data = bytearray(zip_of({"bottle/x": b"x"}))
    extra = struct.pack("<HHQ", 1, 8, offset)
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    struct.pack_into("<H", data, start + 30, len(extra))
    struct.pack_into("<I", data, start + 42, 0xFFFFFFFF)
    struct.pack_into("<I", data, end + 12, end - start + len(extra))
    data[end:end] = extra
    assert_refused(tmp_path, bytes(data), DAMAGED)
