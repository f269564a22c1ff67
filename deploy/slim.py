"""Make the environment that runs this smaller, for an image: `python -P -m deploy.slim`.

Packages bring their tests, pyarrow clients of protocols that nothing here speaks, tokenizers what downloads from a hub
that nothing here asks, and zstandard a second form of itself for interpreters without C extensions. Bytecode is written
for what the parts really import, half of what compiling everything takes.
"""

import importlib
import shutil
import sys
import sysconfig
from pathlib import Path

UNUSED = (
    "**/tests",
    "pyarrow/include",
    "pyarrow/libarrow_flight.so*",
    "pyarrow/_flight*",
    "pyarrow/libarrow_s3.so*",
    "pyarrow/_s3fs*",
    "zstandard/_cffi*",
    "hf_xet",
)
"""Paths below site-packages."""

IMPORTED = (
    "celery.bin.worker",
    "flower.command",
    "kombu.transport.redis",
    "pymongo",
    "uvicorn",
    "fastapi",
    "mcp.server",
    "shared.store.database",
    "api.server",
    "workers.tasks",  # beat and Flower, too, which are in the image of the front door
    "deploy.probe",
    "deploy.sign_of_life",
)
"""What begins every part."""

HEAVY = (
    "pyarrow.parquet",
    "pyarrow.csv",
    "scipy.signal",
    "onnxruntime",
    "av",
    "matplotlib.figure",
    "workers.search.server",
)
"""What begins the parts that work, where it is installed; it also shows that nothing was taken away that they need."""


def main(packages: Path) -> None:
    """Delete what is unused below a folder of packages, then import what is used, which writes its bytecode."""
    for pattern in UNUSED:
        for path in sorted(packages.glob(pattern)):
            _delete(path)
    sys.dont_write_bytecode = False
    is_worker = (packages / "onnxruntime").is_dir()
    for name in (*IMPORTED, *(HEAVY if is_worker else ())):
        importlib.import_module(name)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sysconfig.get_path("purelib")))
