"""The files from which an interrupted training goes on: written whole, read with care."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffad_lib.errors import DiffadError
from diffad_lib.files import require_file, write_torch
from diffad_lib.networks.states import load_pickle

CHECKPOINT_NAME, OLDER_NAME = "checkpoint.pt", "checkpoint.older.pt"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the newest first."""
    return [path for name in (CHECKPOINT_NAME, OLDER_NAME) if (path := folder / name).exists()]


def save_checkpoint(folder: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; the one before it is kept, the one before that goes."""
    newest = folder / CHECKPOINT_NAME
    if newest.exists():
        newest.replace(folder / OLDER_NAME)
    write_torch(newest, content)


def load_checkpoint(
    folder: Path,
    identity: dict[str, Any],
    device: torch.device,
    restore: Callable[[dict[str, Any]], None],
    report: Callable[[str], None],
) -> Path | None:
    """Call `restore` with the content of the newest checkpoint that is whole; None if none exists.

    Its tensors are on `device`. A damaged one, also if `restore` finds it so, is told and left for
    the older one, which takes its place. DiffadError if all are damaged, and for another "plan".
    """
    damaged: tuple[Path, Exception] | None = None
    for path in checkpoints(folder):
        try:
            require_file(path, "delete it to start the training again")
            content = load_pickle(path, device)
            if is_ours := content["plan"] == identity:
                restore(content)
        except (MemoryError, torch.OutOfMemoryError):  # the file may be good
            raise
        except Exception as error:  # torch raises many types for a damaged file
            damaged = damaged or (path, error)
            continue
        if not is_ours:
            raise DiffadError(
                f"{path}: belongs to a training with other settings; "
                "delete it, or choose another --runs-dir"
            )
        if damaged:
            report(f"{damaged[0]}: not readable ({type(damaged[1]).__name__}); the one before is")
            path.replace(damaged[0])
            return damaged[0]
        return path
    if damaged:
        raise DiffadError(
            f"{damaged[0]}: not a readable checkpoint ({type(damaged[1]).__name__}); "
            f"delete {' and '.join(path.name for path in checkpoints(folder))} to start the "
            "training again"
        ) from damaged[1]
    return None


def checkpoint_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, without reading its tensors; None if that fails."""
    for path in checkpoints(folder):
        with contextlib.suppress(Exception):  # torch raises many types for a damaged file
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return int(content["state"]["step"])
    return None
