"""Writes requirements.lock and requirements-cuda.lock: exact versions, and the hash of every file.

Needs uv: `python tools/lock.py` keeps the versions that are locked and adds what is missing,
`--upgrade` takes the newest. Wheels that are named, such as a build of torch from PyTorch's own
index, are accepted besides those of PyPI.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK, CUDA = ROOT / "requirements.lock", ROOT / "requirements-cuda.lock"
ALSO = "pip\nsetuptools\n"  # what installs the others, and what builds the package itself
_HEAD = "# Exact, tested versions with the hashes of their files; made by tools/lock.py.\n"
_CUDA_HEAD = "# What the CUDA build of torch needs besides; made by tools/lock.py.\n"
# Snakemake names it, but imports it nowhere; it has no wheel, and `make` installs wheels only.
UNUSED = "connection-pool"
_COMPILE = (
    sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "-", "--extra=course",
    "--extra=sweep", "--extra=dev", "--universal", "--python-version=3.11", "--generate-hashes",
    "--no-header", "--no-annotate", "--quiet",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="*", type=Path, help="accepted besides those of PyPI")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    options = parser.parse_args()
    entries = compiled(["--upgrade"] if options.upgrade else [])
    for wheel in options.wheels:
        name, version = wheel.name.split("-")[:2]
        accept(entries, f"{name}=={version.split('+')[0]}", wheel.read_bytes())
    cuda = [entry for entry in entries if re.match(r"nvidia-|cuda-|triton==", entry)]
    others = [entry for entry in entries if entry not in cuda]
    LOCK.write_text(_HEAD + "".join(others), encoding="utf-8")
    CUDA.write_text(_CUDA_HEAD + "".join(cuda), encoding="utf-8")


def compiled(options: list[str]) -> list[str]:
    """An entry of several lines for each package that Linux or macOS needs."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "requirements.txt")  # uv keeps the versions that it finds in it
        output.write_text("".join(path.read_text() for path in (LOCK, CUDA) if path.exists()))
        command = [*_COMPILE, *options, f"--output-file={output}"]
        subprocess.run(command, input=ALSO, text=True, check=True, cwd=ROOT)
        entries = re.findall(r"^\S.*\n(?: .*\n)*", output.read_text(), re.MULTILINE)
    left_out = rf"== 'nt'|== 'win32'|^{UNUSED}=="
    return [entry for entry in entries if not re.search(left_out, entry)]


def accept(entries: list[str], pinned: str, content: bytes) -> None:
    """Adds the hash of a file to the entry of its package; uv keeps it while the version stays."""
    (index,) = [i for i, entry in enumerate(entries) if re.match(rf"{re.escape(pinned)}\s", entry)]
    digest = hashlib.sha256(content).hexdigest()
    if digest not in entries[index]:
        entries[index] = entries[index].removesuffix("\n") + f" \\\n    --hash=sha256:{digest}\n"


if __name__ == "__main__":
    main()
