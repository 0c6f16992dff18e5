"""Processes that train one run together: started, watched and ended by the process of the run.

Fabric would start them from the first one. Killed, that would leave the others alive.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO

import torch

from diffad_lib.errors import DiffadError, shown_lines
from diffad_lib.plans import TrainingSettings
from diffad_lib.runs.config import RunConfig
from diffad_lib.runs.facts import import_path
from diffad_lib.runs.folder import settings_of

FAILED, LOST = 2, 3  # exit codes: a DiffadError; the other processes cannot be reached
_POLL, _GRACE = 0.1, 10.0  # seconds: between two looks; for the others to end when one has failed
_NODE = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")  # environment variables


def node_rank(plan: TrainingSettings) -> int:
    """Which machine of a training this one is; DiffadError if its environment does not tell."""
    if plan.num_nodes == 1:
        return 0
    told = [os.environ.get(name, "") for name in _NODE]
    numbers = all(one.isdecimal() for one in told[1:])
    if not (told[0] and numbers and int(told[2]) < plan.num_nodes):
        given = " ".join(f"{name}={one}" for name, one in zip(_NODE, told, strict=True))
        raise DiffadError(
            f"the environment has {given}; for num_nodes={plan.num_nodes} set the name of the "
            f"first machine, a free port there, and a rank from 0 to {plan.num_nodes - 1}"
        )
    return int(told[2])


@dataclass
class Member:
    """A process of the training, and what it writes."""

    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    errors: IO[bytes]
    told: int = 0  # bytes of the output that were printed

    def tell(self) -> None:
        """Print the whole lines that are new in the output."""
        new = os.pread(self.output.fileno(), 2**20, self.told)
        lines = new[: new.rfind(b"\n") + 1]
        self.told += len(lines)
        if lines:
            print(shown_lines(lines.decode(errors="replace")), end="", flush=True)

    def failure(self) -> Exception:
        """What it failed with."""
        code = self.process.returncode
        if code < 0:
            return DiffadError(
                f"{self.name} was ended by {signal.Signals(-code).name}; start the run again, and "
                "it goes on from its checkpoint; if memory is short, lower batch_size"
            )
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").rstrip("\n").split("\n")
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if code in (FAILED, LOST) and told:
            return DiffadError(told[-1])
        return RuntimeError("\n".join((f"{self.name}: {lines[-1]}", *lines)))


def train_together(config: RunConfig, precision: str, keep: Sequence[int] = ()) -> None:
    """Train in the run folder with all processes of this machine; prints what the first one tells.

    precision: of Fabric. keep: handles that the processes inherit, such as of a lock. Raises what
    one of them failed with, as DiffadError or RuntimeError. None outlives this process.
    """
    plan, members = config.training, list[Member]()
    job = json.dumps({"config": settings_of(config), "precision": precision})
    torch.cuda.empty_cache()  # the processes need it; without a GPU this does nothing
    first = node_rank(plan) * plan.devices
    with ExitStack() as stack:
        for rank, environment in enumerate(environments(plan), start=first):
            output = stack.enter_context(tempfile.TemporaryFile())
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                [sys.executable, "-u", "-P", "-m", "diffad_lib.runs.member", job],
                stdin=subprocess.PIPE,  # it ends when this closes, so also when we are killed
                stdout=output,
                stderr=errors,
                env=os.environ | environment,
                pass_fds=keep,
                start_new_session=True,  # Ctrl-C is for this process, which ends them
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            members.append(Member(f"process {rank} of {plan.processes}", process, output, errors))
        failed = watch(members)
        if failed:
            raise failed[0].failure()


def environments(plan: TrainingSettings) -> list[dict[str, str]]:
    """For each process of this machine the variables that Fabric reads."""
    place = {name: os.environ.get(name, "") for name in _NODE}
    if plan.num_nodes == 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        place = dict(zip(_NODE, ("127.0.0.1", port, "0"), strict=True))
    # As many threads in all as this process would take.
    place["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // plan.devices))
    place["PYTHONPATH"] = import_path()
    place["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    return [place | {"LOCAL_RANK": str(rank)} for rank in range(plan.devices)]


def watch(members: Sequence[Member]) -> list[Member]:
    """Wait for all, or for a while after one has failed; those that failed, a cause first."""
    failed_at = None
    while True:
        codes = [one.process.poll() for one in members]
        members[0].tell()
        if any(codes) and failed_at is None:
            failed_at = time.monotonic()
        if None not in codes or (failed_at and time.monotonic() > failed_at + _GRACE):
            break
        time.sleep(_POLL)
    failed = [one for one in members if one.process.returncode]
    # Those that lost the others, or that NCCL aborts for that, are not the cause.
    return sorted(failed, key=lambda one: one.process.returncode in (LOST, -signal.SIGABRT))
