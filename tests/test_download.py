import fcntl
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import layout_factory
import pytest
from http_files import FileServer, Served

from diffad_lib.datasets.catalog import CATALOG, Archive, CategoryInfo, DatasetInfo
from diffad_lib.datasets.download import download
from diffad_lib.datasets.verify import verify
from diffad_lib.errors import DiffadError

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
    assert list((root / "mvtec").iterdir())[0].stat().st_mode & 0o077 != 0  # readable by others


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


def place(root: Path, info: DatasetInfo, data: bytes, folder: str = "archives") -> Path:
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


def test_a_download_that_never_ends_is_given_up_and_its_part_is_kept(
    server, tmp_path, no_waiting
):
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


def test_a_killed_download_leaves_a_part_that_the_next_one_finishes(server, tmp_path):
    data = os.urandom(400_000) + mvtec_archive(tmp_path)  # what it holds does not matter yet
    server.files["a"] = Served(data, drop_after=200_000)
    root = tmp_path / "root"
    code = (
        "import sys; from pathlib import Path\n"
        "from diffad_lib.datasets import download as module\n"
        "from test_download import dataset\n"
        "module.time.sleep = lambda _: __import__('time').sleep(60)\n"
        "module.download(dataset('mvtec', None, sys.argv[1]), Path(sys.argv[2]))\n"
    )
    server.files["a"].headers["Content-Length"] = str(len(data))
    tests = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.url("a"), str(root)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])},
    )
    part = root / "archives" / "mvtec_anomaly_detection.tar.xz.part"
    ...


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
