import copy
import fcntl
import hashlib
import io
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

import layout_factory
from diffad_lib.datasets.catalog import CATALOG
from diffad_lib.datasets.dataset import CategoryInfo, Dataset
from diffad_lib.datasets.download import download
from diffad_lib.datasets.verify import verify
from diffad_lib.errors import DiffadError
from http_files import FileServer, Served
from started import until

SIZES = CategoryInfo("object", layout_factory.TRAIN_GOOD, 2, 4)
DAGM_SIZES = CategoryInfo("texture", layout_factory.TRAIN_GOOD, 2, 4, train_defect=1)


@pytest.fixture
def server():
    with FileServer() as running:
        yield running


def tar_of(folder: Path, mode: str, prefix: str = "") -> bytes:
    """All of `folder`, named as in the official archives (`prefix` is "./" in some)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, prefix + path.name)
    return buffer.getvalue()


def zip_of(folder: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, prefix + str(path.relative_to(folder)))
    return buffer.getvalue()


def mvtec_archive(tmp_path: Path, categories: tuple[str, ...] = ("bottle", "carpet")) -> bytes:
    """The official structure: category folders and license.txt at the top of a tar.xz."""
    for category in categories:
        layout_factory.make_mvtec(tmp_path / "source", category)
    (tmp_path / "source" / "mvtec" / "license.txt").write_text("CC BY-NC-SA 4.0")
    return tar_of(tmp_path / "source" / "mvtec", "w:xz")


def dataset(key: str, data: bytes | None, *urls: str, categories=("bottle", "carpet")):
    """The catalog's entry with other categories and addresses; `data` gives the checksum."""
    info = CATALOG[key]
    sizes = DAGM_SIZES if key == "dagm" else SIZES
    archive = replace(
        info.archives[0],
        urls=urls,
        sha256=hashlib.sha256(data).hexdigest() if data is not None else None,
        bytes=len(data) if data is not None else None,
    )
    return replace(info, categories=dict.fromkeys(categories, sizes), archives=(archive,))


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def assert_same_files(folder: Path, source: Path) -> None:
    assert files_below(folder) == files_below(source)
    for name in files_below(source):
        assert (folder / name).read_bytes() == (source / name).read_bytes()


def test_mvtec_is_downloaded_checked_and_unpacked(server, tmp_path, capfd):
    data = mvtec_archive(tmp_path)
    server.files["mvtec.tar.xz"] = Served(data)
    root = tmp_path / "root"
    info = dataset("mvtec", data, server.url("mvtec.tar.xz"))
    assert download(info, root) == root / "mvtec"
    assert_same_files(root / "mvtec", tmp_path / "source" / "mvtec")
    assert (root / "archives" / "mvtec_anomaly_detection.tar.xz").read_bytes() == data
    assert not list((root / "archives").glob("*.part"))
    assert "mvtec_anomaly_detection.tar.xz: 100%" in capfd.readouterr().err  # progress


def test_a_complete_dataset_is_not_fetched_again(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    info = dataset("mvtec", data, server.url("a"))
    download(info, tmp_path / "root")
    lines = []
    download(info, tmp_path / "root", lines.append)
    assert len(server.requests) == 1
    assert "holds every category" in lines[0]


def test_a_category_that_is_there_stays_and_the_absent_one_is_added(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    own = tmp_path / "root" / "mvtec" / "bottle" / "train" / "good" / "own.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    lines = []
    download(dataset("mvtec", data, server.url("a")), tmp_path / "root", lines.append)
    assert files_below(tmp_path / "root" / "mvtec" / "bottle") == {"train/good/own.png"}
    assert_same_files(
        tmp_path / "root" / "mvtec" / "carpet", tmp_path / "source" / "mvtec" / "carpet"
    )
    assert any("left as it was: bottle" in line for line in lines)


def test_visa_tar_with_its_split_csv(server, tmp_path):
    for category in ("candle", "pcb1"):
        layout_factory.make_visa(tmp_path / "source", category)
    data = tar_of(tmp_path / "source" / "visa", "w", prefix="./")
    server.files["visa.tar"] = Served(data)
    info = dataset("visa", data, server.url("visa.tar"), categories=("candle", "pcb1"))
    download(info, tmp_path / "root")
    assert_same_files(tmp_path / "root" / "visa", tmp_path / "source" / "visa")
    assert (tmp_path / "root" / "visa" / "split_csv" / "1cls.csv").is_file()


def test_dtd_lies_in_a_folder_of_its_own_and_a_declared_gzip_encoding_is_kept(server, tmp_path):
    layout_factory.make_dtd(tmp_path / "source", "banded")
    data = tar_of(tmp_path / "source", "w:gz")
    server.files["dtd.tar.gz"] = Served(data, headers={"Content-Encoding": "x-gzip"})
    info = dataset("dtd", data, server.url("dtd.tar.gz"), categories=("banded",))
    assert download(info, tmp_path / "root") == tmp_path / "root" / "dtd"
    assert_same_files(tmp_path / "root" / "dtd", tmp_path / "source" / "dtd")


def place(root: Path, info: Dataset, data: bytes, folder: str = "archives") -> Path:
    path = root / folder / info.archives[0].filename
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("folder", ["archives", "mvtec"])
def test_an_archive_placed_by_hand_is_used(server, tmp_path, folder):
    data = mvtec_archive(tmp_path)
    info = dataset("mvtec", data, server.url("a"))
    path = place(tmp_path / "root", info, data, folder)
    download(info, tmp_path / "root")
    assert server.requests == []
    assert path.read_bytes() == data
    assert (tmp_path / "root" / "mvtec" / "carpet" / "train").is_dir()


def test_an_archive_placed_by_hand_with_another_checksum_is_refused(server, tmp_path):
    data = mvtec_archive(tmp_path)
    info = dataset("mvtec", data, server.url("a"))
    path = place(tmp_path / "root", info, data[:-50])
    with pytest.raises(DiffadError, match=f"^{path} is damaged or another file"):
        download(info, tmp_path / "root")
    assert path.read_bytes() == data[:-50]
    assert not (tmp_path / "root" / "mvtec").exists()


@pytest.mark.parametrize("wrapper", ["", "DAGM_KaggleUpload/", "a/b/"])
def test_dagm_zip_placed_by_hand_is_unpacked_whatever_wraps_it(tmp_path, wrapper):
    layout_factory.make_dagm(tmp_path / "source", "Class1")
    layout_factory.make_dagm(tmp_path / "source", "Class2")
    info = dataset("dagm", None, categories=("Class1", "Class2"))
    place(tmp_path / "root", info, zip_of(tmp_path / "source" / "dagm", wrapper))
    download(info, tmp_path / "root")
    assert_same_files(tmp_path / "root" / "dagm", tmp_path / "source" / "dagm")


@pytest.mark.parametrize("inner", ["", "Class1/"])
def test_dagm_classes_in_nested_zips_are_unpacked(tmp_path, inner):
    base = layout_factory.make_dagm(tmp_path / "source", "Class1")
    (tmp_path / "zips").mkdir()
    (tmp_path / "zips" / "Class1.zip").write_bytes(zip_of(base, inner))
    info = dataset("dagm", None, categories=("Class1",))
    place(tmp_path / "root", info, zip_of(tmp_path / "zips", "DAGM/"))
    download(info, tmp_path / "root")
    assert_same_files(tmp_path / "root" / "dagm", tmp_path / "source" / "dagm")


def test_mpdd_without_a_link_says_what_to_fetch_and_where_to_put_it(tmp_path):
    info = dataset("mpdd", None, categories=("metal_plate",))
    with pytest.raises(DiffadError) as caught:
        download(info, tmp_path)
    message = str(caught.value)
    assert "https://github.com/stepanje/MPDD" in message
    assert str(tmp_path / "archives" / "MPDD.zip") in message
    assert "\n" not in message


def test_an_own_mac_zip_of_mpdd_is_unpacked_without_its_extras(tmp_path):
    layout_factory.make_mpdd(tmp_path / "source")
    (tmp_path / "source" / "mpdd" / "__MACOSX").mkdir()
    (tmp_path / "source" / "mpdd" / "__MACOSX" / "._x").write_text("")
    info = dataset("mpdd", None, categories=("metal_plate",))
    place(tmp_path / "root", info, zip_of(tmp_path / "source" / "mpdd"))
    download(info, tmp_path / "root")
    assert [path.name for path in (tmp_path / "root" / "mpdd").iterdir()] == ["metal_plate"]
    assert verify("mpdd", tmp_path / "root").lines[0].startswith("metal_plate: 3 train good")


def test_every_address_is_tried_and_a_dead_end_says_what_to_do(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["gone"] = Served(b"", status=403)
    info = dataset("mvtec", data, server.url("absent"), server.url("gone"))
    with pytest.raises(DiffadError) as caught:
        download(info, tmp_path / "root")
    message = str(caught.value)
    assert "absent: HTTP 404" in message and "gone: HTTP 403" in message
    assert info.archives[0].manual in message
    assert str(tmp_path / "root" / "archives" / "mvtec_anomaly_detection.tar.xz") in message
    assert "\n" not in message
    assert [name for name, _ in server.requests] == ["absent", "gone"]  # no use in asking again
    assert not (tmp_path / "root" / "mvtec").exists()

    server.files["gone"] = Served(data)
    download(info, tmp_path / "root")
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_a_dead_server_is_asked_three_times(server, tmp_path, no_waiting):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(b"", status=503)
    with pytest.raises(DiffadError, match="HTTP 503"):
        download(dataset("mvtec", data, server.url("a")), tmp_path / "root")
    assert len(server.requests) == 3


def test_dropped_connections_are_resumed_where_they_stopped(server, tmp_path):
    data = mvtec_archive(tmp_path)
    step = len(data) // 3
    server.files["a"] = Served(data, drop_after=step)
    download(dataset("mvtec", data, server.url("a")), tmp_path / "root")
    starts = [wanted for _, wanted in server.requests]
    assert starts[:3] == [None, f"bytes={step}-", f"bytes={2 * step}-"]
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


def test_without_range_support_a_dropped_download_starts_again(server, tmp_path, no_waiting):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data, ranges=False, drop_after=1000, drops=2)
    download(dataset("mvtec", data, server.url("a")), tmp_path / "root")
    assert len(server.requests) == 3
    assert (tmp_path / "root" / "archives" / "mvtec_anomaly_detection.tar.xz").read_bytes() == data


def test_a_download_that_never_ends_is_given_up_and_its_part_is_kept(server, tmp_path, no_waiting):
    data = mvtec_archive(tmp_path)
    info = dataset("mvtec", data, server.url("a"))
    server.files["a"] = Served(data, ranges=False, drop_after=1000)
    with pytest.raises(DiffadError, match="could not be downloaded"):
        download(info, tmp_path / "root")
    archives = tmp_path / "root" / "archives"
    assert not (archives / info.archives[0].filename).exists()
    assert (archives / f"{info.archives[0].filename}.part").read_bytes() == data[:1000]

    server.files["a"] = Served(data)
    server.requests.clear()
    download(info, tmp_path / "root")
    assert server.requests == [("a", "bytes=1000-")]
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


@pytest.mark.slow
def test_a_killed_download_leaves_a_part_that_the_next_one_finishes(server, tmp_path):
    (tmp_path / "source" / "mvtec").mkdir(parents=True)
    (tmp_path / "source" / "mvtec" / "noise").write_bytes(os.urandom(3_000_000))
    data = mvtec_archive(tmp_path)
    root, hold = tmp_path / "root", threading.Event()
    server.files["a"] = Served(data, drop_after=2_500_000, drops=1, hold=hold)
    code = (
        "import sys; from pathlib import Path; from test_download import dataset, download\n"
        "download(dataset('mvtec', None, sys.argv[1]), Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url("a"), str(root)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    part = root / "archives" / "mvtec_anomaly_detection.tar.xz.part"
    until(lambda: part.exists() and part.stat().st_size >= 1_000_000, process)
    process.kill()
    process.wait()
    hold.set()
    assert not part.with_suffix("").exists()
    have = part.stat().st_size

    download(dataset("mvtec", data, server.url("a")), root)
    assert server.requests[1:] == [("a", f"bytes={have}-")]
    assert part.with_suffix("").read_bytes() == data
    assert not part.exists()


def test_a_part_of_another_file_is_thrown_away(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    info = dataset("mvtec", data, server.url("a"))
    part = place(tmp_path / "root", info, b"x" * 500).rename(
        tmp_path / "root" / "archives" / f"{info.archives[0].filename}.part"
    )
    download(info, tmp_path / "root")
    assert [wanted for _, wanted in server.requests] == ["bytes=500-", None]
    assert not part.exists()
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


def test_a_part_that_is_whole_already_needs_no_byte(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    info = dataset("mvtec", data, server.url("a"))
    placed = place(tmp_path / "root", info, data)
    placed.rename(placed.with_name(f"{placed.name}.part"))
    download(info, tmp_path / "root")
    assert server.requests == [("a", f"bytes={len(data)}-")]
    assert placed.read_bytes() == data


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path, no_waiting):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    info = dataset("mvtec", data, server.url("a"))
    placed = place(tmp_path / "root", info, data + b"more")
    placed.rename(placed.with_name(f"{placed.name}.part"))
    download(info, tmp_path / "root")
    assert placed.read_bytes() == data


def test_a_corrupted_download_never_gets_the_final_name(server, tmp_path):
    data = mvtec_archive(tmp_path)
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    server.files["damaged"], server.files["whole"] = Served(bytes(damaged)), Served(data)
    urls = server.url("damaged"), server.url("whole")
    with pytest.raises(DiffadError, match=r"damaged: wrong checksum.* put it at"):
        download(dataset("mvtec", data, urls[0]), tmp_path / "root")
    assert files_below(tmp_path / "root") == {"archives/.mvtec.lock"}

    download(dataset("mvtec", data, *urls), tmp_path / "root")
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Content-Length": str(10**15)}, r"bad: has 1000000000000000 bytes, not \d+"),
        ({"Content-Length": "10"}, r"bad: has 10 bytes, not \d+"),
        ({"Content-Length": "abc"}, "bad: its length is 'abc', not a number"),
        ({"Content-Length": "-1"}, "bad: its length is '-1', not a number"),
        ({"Content-Length": None}, r"bad: sends more than \d+ bytes"),
    ],
)
def test_an_address_with_another_length_is_told_and_the_next_one_is_tried(
    server, tmp_path, headers, told
):
    data = mvtec_archive(tmp_path)
    server.files["bad"] = Served(data + bytes(5_000_000), headers=headers)
    server.files["good"] = Served(data)
    with pytest.raises(DiffadError, match=told):
        download(dataset("mvtec", data, server.url("bad")), tmp_path / "root")
    assert files_below(tmp_path / "root") == {"archives/.mvtec.lock"}
    assert [name for name, _ in server.requests] == ["bad"]
    download(dataset("mvtec", data, *map(server.url, ("bad", "good"))), tmp_path / "root")
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


def test_a_part_outlives_an_address_that_announces_another_length(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["bad"] = Served(data, headers={"Content-Length": str(10**15)})
    server.files["good"] = Served(data)
    info = dataset("mvtec", data, *map(server.url, ("bad", "good")))
    placed = place(tmp_path / "root", info, data[:500])
    placed.rename(placed.with_name(f"{placed.name}.part"))
    download(info, tmp_path / "root")
    assert server.requests == [("bad", "bytes=500-"), ("good", "bytes=500-")]


@pytest.mark.parametrize("length", [None, "3000001"])
def test_an_archive_of_unknown_size_ends_at_a_cap(server, tmp_path, monkeypatch, length):
    monkeypatch.setattr("diffad_lib.datasets.download.MOST_BYTES", 3_000_000)
    server.files["endless"] = Served(bytes(3_000_001), headers={"Content-Length": length})
    with pytest.raises(DiffadError, match=r"sends more than 3000000|not at most 3000000"):
        download(dataset("mvtec", None, server.url("endless")), tmp_path / "root")
    assert files_below(tmp_path / "root") == {"archives/.mvtec.lock"}


def test_a_part_that_starts_elsewhere_is_not_appended(server, tmp_path):
    data = mvtec_archive(tmp_path)
    headers = {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"}
    server.files["a"] = Served(data, headers=headers)
    info = dataset("mvtec", data, server.url("a"))
    placed = place(tmp_path / "root", info, data[:500])
    placed.rename(placed.with_name(f"{placed.name}.part"))
    download(info, tmp_path / "root")
    assert server.requests == [("a", "bytes=500-"), ("a", None)]
    assert placed.read_bytes() == data


def test_a_server_that_drops_and_sends_other_parts_is_given_up(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data, drop_after=1000, headers={"Content-Range": "bytes 7-8/9"})
    with pytest.raises(DiffadError, match="another part than it was asked for"):
        download(dataset("mvtec", data, server.url("a")), tmp_path / "root")
    assert server.requests == [("a", None), ("a", "bytes=1000-")]


def test_a_redirect_to_another_scheme_is_told_as_what_it_is(server, tmp_path):
    data = mvtec_archive(tmp_path)
    for name, target in {"moved": "a", "file": "file:///etc/passwd"}.items():
        server.files[name] = Served(b"", status=302, headers={"Location": target})
    server.files["a"] = Served(data)
    with pytest.raises(DiffadError, match="redirects to 'file:///etc/passwd'"):
        download(dataset("mvtec", data, server.url("file")), tmp_path / "root")
    assert len(server.requests) == 1
    download(dataset("mvtec", data, *map(server.url, ("file", "moved"))), tmp_path / "root")
    assert (tmp_path / "root" / "mvtec" / "bottle").is_dir()


@pytest.mark.parametrize(
    ("start", "target", "is_refused"),
    [
        ("https://a.org/x", "http://a.org/x", True),
        ("https://a.org/x", "//b.org/x", False),
        ("https://a.org/x", "HTTPS://b.org/x", False),
        ("http://a.org/x", "https://b.org/x", False),
    ],
)
def test_a_redirect_from_https_to_http_is_not_followed(
    tmp_path, monkeypatch, no_waiting, start, target, is_refused
):
    asked = []

    def send(_, request, **kwargs):
        asked.append(request.url)
        answer = requests.Response()
        answer.request, answer.url, answer.raw = request, request.url, io.BytesIO()
        answer.status_code = 302 if len(asked) == 1 else 404
        answer.headers["Location"] = target
        return answer

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    told = "redirects to 'http://a.org/x'" if is_refused else "HTTP 404"
    with pytest.raises(DiffadError, match=told):
        download(dataset("mvtec", b"", start), tmp_path / "root")
    assert len(asked) == (1 if is_refused else 2)


@pytest.mark.parametrize("name", ["mvtec_anomaly_detection.tar.xz.part", ".mvtec.lock"])
@pytest.mark.parametrize("is_dangling", [True, False])
def test_a_link_in_the_place_of_a_file_that_is_written_is_refused(
    server, tmp_path, name, is_dangling
):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    mine, link = tmp_path / "mine", tmp_path / "root" / "archives" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(mine)
    if not is_dangling:
        mine.write_bytes(data[:100])
    with pytest.raises(DiffadError, match=f"{name} is a link"):
        download(dataset("mvtec", data, server.url("a")), tmp_path / "root")
    assert not mine.exists() if is_dangling else mine.read_bytes() == data[:100]


def test_an_archive_without_a_known_sha256_is_noted_and_another_one_is_told(tmp_path):
    archives, lines = tmp_path / "root" / "archives", []
    info = unpack_only(tmp_path, mvtec_archive(tmp_path, ("bottle",)))
    archive = archives / info.archives[0].filename
    note = archive.with_name(f"{archive.name}.sha256")
    for _ in range(2):
        download(info, tmp_path / "root", lines.append)
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert note.read_text() == f"{found}  {archive.name}\n"
    assert sum(f"its sha256 is {found}" in line for line in lines) == 2
    assert not any("last time" in line for line in lines)
    noted = note.read_text()
    unpack_only(tmp_path, mvtec_archive(tmp_path))
    download(info, tmp_path / "root", lines.append)
    assert any(f"not the archive of last time, whose sha256 is in {note}" in line for line in lines)
    assert note.read_text() == noted


def unpack_only(tmp_path: Path, data: bytes, key: str = "mvtec") -> Dataset:
    """An entry without checksum whose archive has been placed: only unpacking can object."""
    info = dataset(key, None)
    place(tmp_path / "root", info, data)
    return info


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w:bz2", "w"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_truncated_archive_leaves_nothing_behind(tmp_path, mode, share):
    mvtec_archive(tmp_path)
    data = tar_of(tmp_path / "source" / "mvtec", mode)
    info = unpack_only(tmp_path, data[: int(share * len(data))])
    with pytest.raises(DiffadError, match=r"archives/\S+ is damaged or not a plain") as caught:
        download(info, tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert not files_below(tmp_path / "root" / "mvtec")


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w:bz2"])
def test_one_changed_byte_in_a_compressed_tar_is_noticed(tmp_path, mode):
    (tmp_path / "source" / "mvtec" / "bottle").mkdir(parents=True)
    noise = random.Random(0).randbytes(200_000)
    (tmp_path / "source" / "mvtec" / "bottle" / "noise").write_bytes(noise)
    data = tar_of(tmp_path / "source" / "mvtec", mode)
    # Not the last byte: the end of a bz2 file is filled up with bits that nobody reads.
    for position in range(len(data) // 9, len(data) - 1, len(data) // 9):
        for bit in (1, 128):
            broken = bytearray(data)
            broken[position] ^= bit
            info = unpack_only(tmp_path, bytes(broken))
            with pytest.raises(DiffadError, match="is damaged or not a plain"):
                download(info, tmp_path / "root")
            assert not files_below(tmp_path / "root" / "mvtec")


def test_a_damaged_zip_leaves_nothing_behind(tmp_path):
    mvtec_archive(tmp_path)
    data = bytearray(zip_of(tmp_path / "source" / "mvtec"))
    data[200] ^= 255
    for broken in (bytes(data), bytes(data[:-3000]), b"<html>log in first</html>", b""):
        info = unpack_only(tmp_path, broken)
        with pytest.raises(DiffadError, match="is damaged or not a plain"):
            download(info, tmp_path / "root")
        assert not files_below(tmp_path / "root" / "mvtec")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = 4 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "evil",
    [
        [member("../evil.txt")],
        [member("bottle/../../../evil.txt")],
        [member("TMP/evil.txt")],  # TMP stands for an absolute path
        [member("C:\\evil.txt")],
        [member("..\\evil.txt")],
        [member("bottle/out", tarfile.SYMTYPE, ".."), member("bottle/out/evil.txt")],
        [member("bottle/out", tarfile.SYMTYPE, "/")],
        [member("bottle/out", tarfile.LNKTYPE, "../../secret")],
        [member("bottle/out", tarfile.FIFOTYPE)],
    ],
    ids=lambda members: f"{members[0].name}-{members[0].linkname}",
)
def test_a_malicious_tar_writes_nothing(tmp_path, evil):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(member("bottle/train/good/000.png"), io.BytesIO(b"good"))
        for info in evil:
            named = copy.copy(info)
            named.name = info.name.replace("TMP", str(tmp_path))
            archive.addfile(named, io.BytesIO(b"evil"))
    info = unpack_only(tmp_path, buffer.getvalue())
    before = files_below(tmp_path)
    with pytest.raises(DiffadError, match=r"archives/\S+: its member .* nothing was unpacked"):
        download(info, tmp_path / "root")
    assert files_below(tmp_path) - before == {"root/archives/.mvtec.lock"}


@pytest.mark.parametrize("name", ["../evil.txt", "TMP/evil.txt", "bottle/../../e.txt", "C:/evil"])
def test_a_malicious_zip_writes_nothing(tmp_path, name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bottle/train/good/000.png", "good")
        archive.writestr(name.replace("TMP", str(tmp_path)), "evil")
    info = unpack_only(tmp_path, buffer.getvalue())
    before = files_below(tmp_path)
    with pytest.raises(DiffadError, match="leads outside its folder"):
        download(info, tmp_path / "root")
    assert files_below(tmp_path) - before == {"root/archives/.mvtec.lock"}


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("bottle/out")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    info = unpack_only(tmp_path, buffer.getvalue())
    with pytest.raises(DiffadError, match="is a link"):
        download(info, tmp_path / "root")


def test_an_archive_of_something_else_is_named(tmp_path):
    (tmp_path / "other" / "cats").mkdir(parents=True)
    (tmp_path / "other" / "cats" / "1.txt").write_text("miaow")
    info = unpack_only(tmp_path, zip_of(tmp_path / "other"))
    with pytest.raises(DiffadError, match=r"holds no folder bottle, carpet.*another archive"):
        download(info, tmp_path / "root")
    assert not files_below(tmp_path / "root" / "mvtec")


def test_an_interrupted_unpacking_leaves_no_half_category_and_can_be_repeated(
    tmp_path, monkeypatch
):
    data = mvtec_archive(tmp_path)
    info = unpack_only(tmp_path, data)
    usage, looks = shutil.disk_usage, iter(range(9))  # one for each file, and there are more

    def interrupt(folder):
        if next(looks, None) is None:
            raise KeyboardInterrupt
        return usage(folder)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "disk_usage", interrupt)
        download(info, tmp_path / "root")
    assert not files_below(tmp_path / "root" / "mvtec")

    leftover = tmp_path / "root" / "mvtec" / ".unpacking" / "bottle"  # what kill -9 leaves
    leftover.mkdir(parents=True)
    (leftover / "half.png").write_bytes(b"half")
    download(info, tmp_path / "root")
    assert_same_files(tmp_path / "root" / "mvtec", tmp_path / "source" / "mvtec")


def test_too_small_a_disk_is_told_before_the_first_byte(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=22.9e9))
    server.files["a"] = Served(b"", headers={"Content-Length": str(10**10)})
    info = dataset("mvtec", None, server.url("a"))
    with pytest.raises(
        DiffadError, match=r"archives: 23\.0 GB are needed to download and unpack mvtec"
    ):
        download(info, tmp_path / "root")
    assert not list((tmp_path / "root" / "archives").glob("*.part"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this machine")
def test_a_disk_that_fills_up_is_one_clear_line(server, tmp_path, monkeypatch):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    info = dataset("mvtec", data, server.url("a"))
    part = tmp_path / "root" / "archives" / f"{info.archives[0].filename}.part"
    real_open = os.open

    def open_full(path, flags, *mode, **folder):
        path = "/dev/full" if os.fspath(path) == str(part) else path
        return real_open(path, flags, *mode, **folder)

    monkeypatch.setattr(os, "open", open_full)
    with pytest.raises(DiffadError, match=r"No space left on device.*free some space"):
        download(info, tmp_path / "root")


def test_a_data_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "root").write_text("a file, not a folder")
    with pytest.raises(DiffadError, match=r"root.*: cannot be written"):
        download(dataset("mvtec", None), tmp_path / "root")


def test_two_downloads_of_one_dataset_do_not_meet(server, tmp_path):
    data = mvtec_archive(tmp_path)
    server.files["a"] = Served(data)
    lock = tmp_path / "root" / "archives" / ".mvtec.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        with pytest.raises(DiffadError, match="another process downloads this dataset"):
            download(dataset("mvtec", data, server.url("a")), tmp_path / "root")
    assert server.requests == []


def test_a_category_that_the_archive_lacks_is_named(tmp_path):
    data = mvtec_archive(tmp_path, ("bottle",))
    info = unpack_only(tmp_path, data)
    lines = []
    download(info, tmp_path / "root", lines.append)
    assert lines[-1].endswith("mvtec still lacks carpet")
