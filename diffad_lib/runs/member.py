"""One of several processes that train a run, as `launch` starts them."""

import contextlib
import functools
import json
import os
import sys
import threading
import traceback
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import OutOfMemoryError, distributed

from diffad_lib.errors import OUT_OF_MEMORY, DiffadError
from diffad_lib.plans import PLACES
from diffad_lib.processes import PATIENCE, Lost, reach
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.device import check_device
from diffad_lib.runs.experiment import Experiment, make_trainer, precision_of, prepare
from diffad_lib.runs.folder import changed_settings, settings_of
from diffad_lib.runs.launch import FAILED, LOST
from diffad_lib.runs.record import Data

# What another machine may have at another place.
_OWN = {"data_root", "textures", "runs_dir", "foreground_folder", "device", *PLACES}


def main() -> None:
    """Do the job, but end when standard input is closed: the process of the run is gone then."""
    threading.Thread(target=lambda: os._exit(len(os.read(0, 1)) or 1), daemon=True).start()
    code = 0
    try:
        _train(**json.loads(sys.argv[1]))
    except DiffadError as error:
        print(f"error: {error}", file=sys.stderr)
        code = LOST if isinstance(error, Lost) else FAILED
    except OutOfMemoryError:
        print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
        code = FAILED
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an interpreter that ends may wait for messages that nobody sends


def _train(config: dict[str, Any], precision: str) -> None:
    with contextlib.redirect_stdout(None):  # the process of the run has told it
        meet = functools.partial(meet_others, precision=precision)
        experiment = prepare(RunConfig(**config), meet)
    check_same(experiment)
    report = print if experiment.fabric.is_global_zero else lambda _: None
    make_trainer(experiment, report).train()
    distributed.destroy_process_group()


def meet_others(config: RunConfig, precision: Any) -> Fabric:
    """Fabric chooses the device of this process, and NCCL for GPUs or gloo for CPUs."""
    plan = config.training
    fabric = Fabric(
        accelerator=check_device(config),
        devices=plan.devices,
        num_nodes=plan.num_nodes,
        precision=precision,
        strategy=DDPStrategy(timeout=PATIENCE),
        plugins=[LightningEnvironment()],  # also below SLURM, where Fabric would count its tasks
    )
    reach(fabric.launch)
    return fabric


def check_same(experiment: Experiment) -> None:
    """DiffadError if the first process has other settings or reads other files."""
    ours = settings_of(experiment.config)
    ours["training"]["precision"] = precision_of(experiment.fabric)  # each resolves "auto" itself
    told = ours, experiment.data.model_dump(mode="json")
    settings, data = reach(experiment.fabric.broadcast, told)
    advice = "give every node the same command and the same files"
    for key, theirs, value in changed_settings(settings, ours, _OWN):
        raise DiffadError(f"{key} is {value!r} here, {theirs!r} on the first node; {advice}")
    if changed := Data.model_validate(data).difference(experiment.data):
        raise DiffadError(f"compared with the first node, {changed}; {advice}")


if __name__ == "__main__":
    main()
