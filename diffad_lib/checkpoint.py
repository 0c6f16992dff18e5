"""The file from which an interrupted training goes on: written whole, read with care."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffad_lib.errors import DiffadError
from diffad_lib.files import require_file
from diffad_lib.networks.states import load_pickle

CHECKPOINT_NAME = "checkpoint.pt"


def load_checkpoint(
    path: Path,
    identity: dict[str, Any],
    device: torch.device,
    restore: Callable[[dict[str, Any]], None],
) -> None:
    """Call `restore` with the content of a checkpoint, its tensors on `device`.

    DiffadError for a damaged file, also if `restore` finds it so, and for another "plan".
    """
    require_file(path, "delete it to start the training again")
    try:
        content = load_pickle(path, device)
        if content["plan"] == identity:
            restore(content)
            return
    except (MemoryError, torch.OutOfMemoryError):  # the file may be good
        raise
    except Exception as error:  # torch raises many types for a damaged file
        raise DiffadError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); "
            "delete it to start the training again"
        ) from error
    raise DiffadError(
        f"{path}: belongs to a training with other settings; "
        "delete it, or choose another --runs-dir"
    )
