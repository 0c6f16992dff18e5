"""Files of models and records with seeded damage: each is read, or is one DiffadError."""

import contextlib
import copy
import io
import json
import random
import resource
import struct
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from diffad_lib.checkpoint import load_checkpoint
from diffad_lib.errors import DiffadError
from diffad_lib.methods.diffusionad.official import export_diffusionad, load_diffusionad
from diffad_lib.methods.draem.official import export_draem, load_draem
from diffad_lib.runs.config import build_config
from diffad_lib.runs.folder import settings_of
from diffad_lib.runs.record import RECORD_NAME, read_record
from diffad_lib.runs.tables import metrics_table
from diffad_lib.weights import load_detector, save_detector
from small import small_detector
from toy import toy_detector

pytestmark = pytest.mark.slow

INPUTS = 2000
MOST_BYTES = 10**9
MOST_SECONDS = 20.0  # of one input, on a machine that does something else besides
ODD = [
    *(None, True, False, 0, -1, 1, 2, 10**6, 10**9, 10**12, 2**63, 10**30, -(10**30)),
    *(0.5, -0.0, 1e308, "", "x", "x" * 5000, "1", "\n", "\0", "../x", "draem", "cosine"),
    *([], {}, [0], [-1], [10**5], [1] * 5000, [[]], {"self": 1}, {"": {}}, {"x": [None]}),
]
KEYS = ("self", "x", "", "\n", "schema", "noise_draws")


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most 1 GB beyond what the process has, reserved or used."""
    status = Path("/proc/self/statm")
    if not status.exists():
        yield
        return
    held = int(status.read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kilobytes * (1 if sys.platform == "darwin" else 1024) < MOST_BYTES


def try_all(seed: int, change: Callable[[random.Random], object], read: Callable[[], Any]) -> int:
    """Change and read INPUTS times; how many were read. Whatever else happens names its number."""
    taken = 0
    with bounded():
        for number in range(INPUTS):
            change(random.Random(f"{seed} {number}"))
            started = time.monotonic()
            try:
                read()
                taken += 1
            except DiffadError as error:
                assert "\n" not in str(error) and len(str(error)) < 1500, number
            except Exception as error:
                raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
            assert time.monotonic() - started < MOST_SECONDS, number
    return taken


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Bytes changed, cut out, repeated or put in, at one to four places."""
    changed = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        at, length = dice.randrange(len(changed) + 1), dice.choice((1, 2, 4, 8, 100))
        kind = dice.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            changed[at : at + length] = dice.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        else:
            number = dice.choice((0, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1))
            changed[at : at + 8] = struct.pack("<Q", number)
    return bytes(changed[: dice.randrange(len(changed) + 1)] if dice.random() < 0.1 else changed)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where everything in a tree of dicts and lists is."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from places(value[key], (*path, key))


def odd(value: Any, dice: random.Random, odds: list = ODD) -> Any:
    """A tree with one to three of its parts exchanged, taken away, added or nested deep."""
    value = copy.deepcopy(value)
    for _ in range(dice.randint(1, 3)):
        if not (there := list(places(value))):
            break
        *path, last = dice.choice(there)
        holder = value
        for key in path:
            holder = holder[key]
        kind = dice.randrange(10)
        if kind == 0:
            del holder[last]
        elif kind == 1 and isinstance(holder, dict):
            holder[dice.choice(KEYS)] = copy.deepcopy(dice.choice(odds))
        elif kind == 2:
            for _ in range(dice.choice((3, 120, 250))):
                holder[last] = [holder[last]]
            break
        else:
            holder[last] = copy.deepcopy(dice.choice(odds))
    return value


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("method", ["autoencoder", "diffusionad"])
def test_detector_json(tmp_path: Path, method: str) -> None:
    save_detector(small_detector(method), tmp_path)
    path = tmp_path / "detector.json"
    whole = path.read_bytes()
    told = json.loads(whole)
    del told["sha256"]

    def change(dice: random.Random) -> None:
        is_tree = dice.random() < 0.7
        path.write_bytes(as_json(odd(told, dice)) if is_tree else damaged(whole, dice))

    assert 0 < try_all(1, change, lambda: load_detector(tmp_path)) < INPUTS


def test_safetensors(tmp_path: Path) -> None:
    save_detector(small_detector("autoencoder"), tmp_path)
    told, path = tmp_path / "detector.json", tmp_path / "detector.safetensors"
    whole, with_sum = path.read_bytes(), told.read_bytes()
    without_sum = as_json({k: v for k, v in json.loads(with_sum).items() if k != "sha256"})
    state = load(whole)
    kinds = [torch.int8, torch.int64, torch.float16, torch.float64, torch.bool, torch.bfloat16]

    def change(dice: random.Random) -> None:
        told.write_bytes(with_sum if dice.random() < 0.1 else without_sum)
        if dice.random() < 0.5:
            path.write_bytes(damaged(whole, dice))
            return
        changed = dict(state)
        name = dice.choice(list(changed))
        value = changed.pop(name)
        kind = dice.randrange(4)
        if kind == 0:
            changed[name] = value.to(dice.choice(kinds))
        elif kind == 1:
            changed[name] = torch.zeros(
                [dice.choice((0, 1, 3, 7)) for _ in range(dice.randint(0, 5))]
            )
        elif kind == 2:
            changed[dice.choice(("", "x", "encoder", f"{name}.x"))] = value
        path.write_bytes(save(changed))

    assert 0 < try_all(2, change, lambda: load_detector(tmp_path)) < INPUTS


def test_a_changed_byte_of_weights_with_a_checksum_is_never_taken(tmp_path: Path) -> None:
    save_detector(small_detector("autoencoder"), tmp_path)
    path = tmp_path / "detector.safetensors"
    whole = path.read_bytes()

    def change(dice: random.Random) -> None:
        content = bytearray(whole)
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)

    assert try_all(3, change, lambda: load_detector(tmp_path)) == 0


def test_record_json(tmp_path: Path) -> None:
    config = settings_of(build_config("mvtec", "bottle", "draem", runs_dir=tmp_path))
    split = {"images": 3, "fingerprint": "f", "files": {"a.png": "0"}}
    told = {
        "schema": 2,
        "finished": "2026-11-28",
        "config": config,
        "data": {"train": split, "test": split, "test_defects": 1},
        "git": {"commit": "c", "dirty": False},
        "versions": {"torch": "2"},
        "device": {"type": "cpu"},
        "seconds": {"prepare": 1.0, "train": 1.0, "predict": 1.0, "total": 3.0},
        "peak_memory": {"host_bytes": 1, "device_bytes": None},
        "training": {
            "steps": 1, "stopped_by": "steps", "selected_step": 1, "resumed_from": 0, "last": {}
        },
        "images_per_second": 1.0,
        "metrics": {
            name: {"value": 0.5, "low": 0.4, "high": 0.6, "note": ""}
            for name in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro")
        },
        "images": [{"file": "a.png", "defect": "good", "label": 0, "score": 0.1}],
    }  # fmt: skip
    flat = {**told, "schema": 1, "config": {**config, **config["detector"], **config["training"]}}
    for section in ("detector", "synthesis", "training", "evaluation"):
        del flat["config"][section]
    path = tmp_path / RECORD_NAME

    def change(dice: random.Random) -> None:
        tree = dice.choice((told, flat))
        is_tree = dice.random() < 0.7
        path.write_bytes(as_json(odd(tree, dice)) if is_tree else damaged(as_json(tree), dice))

    def read() -> None:
        record = read_record(path)
        metrics_table([record])
        record.model_dump(mode="json", by_alias=True)
        record.run_config()

    assert 0 < try_all(4, change, read) < INPUTS


def test_checkpoint_pt(tmp_path: Path) -> None:
    detector, path = toy_detector(), tmp_path / "checkpoint.pt"
    optimizer = torch.optim.Adam(detector.parameters())
    for parameter in detector.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    told = {
        "plan": {"steps": 3},
        "state": {"step": 1, "history": [{"step": 1.0}]},
        "detector": dict(detector.state_dict()),
        "optimizer": optimizer.state_dict(),
    }
    whole = saved(told)

    def change(dice: random.Random) -> None:
        path.write_bytes(saved(odd(told, dice)) if dice.random() < 0.3 else changed(whole, dice))

    def restore(content: dict[str, Any]) -> None:
        detector.load_state_dict(content["detector"])
        optimizer.load_state_dict(content["optimizer"])

    def read() -> None:
        load_checkpoint(tmp_path, {"steps": 3}, torch.device("cpu"), restore, print)

    assert 0 < try_all(5, change, read) < INPUTS


def saved(content: Any, is_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def changed(content: bytes, dice: random.Random) -> bytes:
    """Damage to a file of torch.save, or to its pickle in a zip whose checksums are right."""
    if dice.random() < 0.4 or content[:2] != b"PK":
        return damaged(content, dice)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(buffer, "w") as packed:
        for member in whole.infolist():
            part = whole.read(member)
            is_pickle = member.filename.endswith("data.pkl")
            packed.writestr(member.filename, damaged(part, dice) if is_pickle else part)
    return buffer.getvalue()


def few(state: dict[str, Any]) -> dict[str, Any]:
    """The first layer: what is read first, in a file that is quick to write and to read."""
    return dict(list(state.items())[:3])


def test_pckl_of_draem(tmp_path: Path) -> None:
    paths = tmp_path / "a.pckl", tmp_path / "a_seg.pckl"
    export_draem(small_detector("draem", base_width=1, segmentation_width=1), paths)
    states = [torch.load(path, weights_only=True) for path in paths]
    first = few(states[0])
    whole, short = paths[1].read_bytes(), saved({})  # without a width nothing is built
    odds = [*ODD, torch.ones(()), torch.ones(3), torch.ones(1).expand(10**9), torch.ones(1).int()]

    def change(dice: random.Random) -> None:
        is_whole = dice.random() < 0.04
        paths[1].write_bytes(whole if is_whole else short)
        if is_whole or dice.random() < 0.3:
            others = states[0] if is_whole else {}
            paths[0].write_bytes(saved(others | odd(first, dice, odds)))
        else:
            paths[0].write_bytes(changed(saved(first, dice.random() < 0.7), dice))

    assert 0 < try_all(6, change, lambda: load_draem(paths)) < INPUTS


def test_pt_of_diffusionad(tmp_path: Path) -> None:
    path = tmp_path / "params-last.pt"
    official = {"residual_blocks": 2, "attention_resolutions": (32, 16, 8), "norm_groups": 32}
    detector = small_detector("diffusionad", base_width=32, segmentation_width=1, **official)
    export_diffusionad(detector, [path])
    told = torch.load(path, weights_only=False)  # our own
    told["args"] = dict(told["args"])
    states = {key: value for key, value in told.items() if key.endswith("state_dict")}
    shortened = {key: few(state) for key, state in states.items()}
    odds = [*ODD, torch.ones(()), torch.ones(3), torch.ones(1).int()]

    def change(dice: random.Random) -> None:
        known = states if dice.random() < 0.04 else shortened
        if known is states or dice.random() < 0.3:
            path.write_bytes(saved(told | known | {"args": odd(told["args"], dice, odds)}))
        else:
            path.write_bytes(changed(saved(told | known), dice))

    assert 0 < try_all(7, change, lambda: load_diffusionad([path])) < INPUTS
