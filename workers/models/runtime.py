"""Where the trained models lie, and how they are opened."""
# mypy: disable-error-code="import-untyped"

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path

# From 1.29 on the library sends telemetry unless this is set before it is imported; what is locked is older.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

MODELS_VARIABLE = "BACKLINE_MODELS"


class ModelMissing(Exception):
    """A model's file is not where the build puts it."""


class ModelDamaged(Exception):
    """A model's file is not the one that this code was written for."""


def models_folder() -> Path:
    """Return the folder of the models: `$BACKLINE_MODELS`, or the one that belongs to this Python environment."""
    given = os.environ.get(MODELS_VARIABLE)
    return Path(given) if given else Path(sys.prefix) / "share" / "backline" / "models"


def is_installed(name: str) -> bool:
    """Return whether the model's file is there."""
    return (models_folder() / name).is_file()


def model_file(name: str, sha256: str | None = None) -> Path:
    """Return the file of that name, and where the hash is given, only if that is its content.

    Raises `ModelMissing`, `ModelDamaged`.
    """
    path = models_folder() / name
    if not path.is_file():
        raise ModelMissing(f"{path} is missing: `python -m workers.models` makes it.")
    if sha256 is not None and digest_of(path) != sha256:
        raise ModelDamaged(f"{path} is damaged or another model: `python -m workers.models` makes it anew.")
    return path


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=8)
def open_model(name: str, sha256: str | None = None) -> onnxruntime.InferenceSession:
    """Return the model of that file name, opened once a process: sessions must not cross a fork.

    Raises `ModelMissing`, `ModelDamaged`.
    """
    return open_file(model_file(name, sha256))


def open_file(path: Path) -> onnxruntime.InferenceSession:
    """Open a model for one thread: the processes fan out, not the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # The arena would keep the largest activation for ever in every process.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
