"""The corpus: music of known tempo, key and metre, made on the spot from public packages; none of it is committed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.benchmarks.audio import encoding, truth
from tests.benchmarks.audio.encoding import BY_LIBSNDFILE
from tests.benchmarks.audio.truth import Truth

# Raised when the recipe changes: a corpus of another version is made anew.
VERSION = 2
SECONDS = 100.0
RATE = 44100

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.lock"
SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")

TOOLS = {"fluidsynth": "fluidsynth fluid-soundfont-gm", "lmms": "lmms", "h2cli": "hydrogen"}
"""Programs that render, and the Debian packages that bring them."""

DATA_PACKAGES = ("freedoom", "hydrogen-data", "lmms-common")
RECORDED_PACKAGES = ("hyperrogue-music", "warzone2100-music", "wesnoth-1.16-music")


class CorpusError(Exception):
    """The corpus can't be made here."""


def make(folder: Path) -> list[Truth]:
    """Return the corpus in `folder`, made first where it is not there yet (some ten minutes)."""
    return truth.load(
        _made(folder, "truth", lambda rendered: [*_scores(folder, rendered), *_projects(folder, rendered)])
    )


def make_training(folder: Path) -> Path:
    """Return the list of what models are fitted to besides the tuned half, made first where it is not there yet."""
    return _made(folder, "training", partial(_training, folder))


def _made(folder: Path, name: str, recipe: Callable[[Path], Iterable[Truth]]) -> Path:
    """Return a list of recordings and their truth, after the recipe has put them into a fresh folder."""
    listing = folder / f"{name}-{VERSION}.jsonl"
    if not listing.exists():
        _check_tools()
        rendered = folder / name
        shutil.rmtree(rendered, ignore_errors=True)
        rendered.mkdir(parents=True)
        truth.save(part := listing.with_suffix(".part"), recipe(rendered))
        part.rename(listing)
    return listing


def recorded(folder: Path) -> list[Path]:
    """Return recorded music of Debian's game packages, of which only speed, spread and robustness are known."""
    root = _unpacked(folder, RECORDED_PACKAGES)
    return sorted(
        path for path in root.rglob("*") if path.suffix in {".ogg", ".opus", ".mp3"} and path.stat().st_size > 500_000
    )


def environment(folder: Path) -> Path:
    """Return the Python of the throw-away environment that holds music21 and the peers, made on first use."""
    python = folder / "env" / "bin" / "python"
    stamp = folder / "env" / hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    if not stamp.exists():
        _say("making the environment of music21 and the peers")
        _run(sys.executable, "-m", "venv", "--clear", str(folder / "env"))
        _run(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(REQUIREMENTS))
        stamp.touch()
    return python


# What is needed


def _check_tools() -> None:
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing or not SOUND_FONT.exists():
        raise CorpusError(f"apt-get install --no-install-recommends {' '.join(missing or ['fluid-soundfont-gm'])}")
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise CorpusError("the corpus is made from Debian packages: apt-get and dpkg-deb are needed")


def _unpacked(folder: Path, packages: Iterable[str]) -> Path:
    """Return the folder in which these packages' files lie; they are not installed."""
    root, archives = folder / "packages", folder / "archives"
    for package in packages:
        if not (done := root / f".{package}").exists():
            _say(f"downloading {package}")
            archives.mkdir(parents=True, exist_ok=True)
            _run("apt-get", "download", package, cwd=archives)
            (archive,) = archives.glob(f"{package}_*.deb")
            root.mkdir(exist_ok=True)
            _run("dpkg-deb", "-x", str(archive), str(root))
            archive.unlink()
            done.touch()
    return root


# Scores and game music, by way of MIDI


def _corpus(folder: Path, rendered: Path) -> Iterator[Truth]:
    yield from _scores(folder, rendered)
    yield from _projects(folder, rendered)


def _scores(folder: Path, rendered: Path) -> Iterator[Truth]:
    wads = sorted(_unpacked(folder, DATA_PACKAGES).rglob("freedoom?.wad"))
    return _composed(folder, rendered, str(folder / "midi"), *map(str, wads))


def _training(folder: Path, rendered: Path) -> Iterator[Truth]:
    return _composed(folder, rendered, "--training", str(folder / "midi-training"))


def _composed(folder: Path, rendered: Path, *arguments: str) -> Iterator[Truth]:
    _say("arranging scores (some five minutes)")
    composed = _run(str(environment(folder)), str(HERE / "compose.py"), *arguments)
    rows = _different([json.loads(line) for line in composed.splitlines()])
    _say(f"rendering {len(rows)} MIDI files")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from threads.map(partial(_render_midi, folder=rendered), rows)


def _different(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is the same music under another name."""
    seen = {hashlib.sha256(Path(row["midi"]).read_bytes()).digest(): row for row in reversed(rows)}
    return list(reversed(seen.values()))


def _render_midi(row: dict[str, Any], folder: Path) -> Truth:
    raw = folder / f"{row['name']}.raw.wav"
    _run("fluidsynth", "-n", "-i", "-q", "-F", str(raw), "-r", str(RATE), "-g", "0.6", str(SOUND_FONT), row.pop("midi"))
    return Truth(**row, path=_finished(row["name"], raw))


# Projects of music programs, which state their tempo


def _projects(folder: Path, rendered: Path) -> Iterator[Truth]:
    root = _unpacked(folder, DATA_PACKAGES)
    songs = sorted(root.rglob("*.h2song"))
    projects = sorted(path for path in root.rglob("*.mmp*") if path.parts[-2] != "tutorials" and path.suffix != ".mpt")
    _say(f"rendering {len(songs)} songs of Hydrogen and {len(projects)} of LMMS")
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        made = [
            *threads.map(partial(_hydrogen, folder=rendered), songs),
            *threads.map(partial(_lmms, folder=rendered), projects),
        ]
    yield from filter(None, made)


def _hydrogen(song: Path, folder: Path) -> Truth | None:
    tempo = ElementTree.parse(song).getroot().findtext("bpm")
    name = f"hydrogen-{_plain(song.stem)}"
    raw = folder / f"{name}.raw.wav"
    _run("h2cli", "-s", str(song), "-o", str(raw), may_fail=True)
    if tempo is None or not _is_long_enough(raw):
        raw.unlink(missing_ok=True)
        return None
    return Truth(name=name, source="hydrogen", path=_finished(name, raw), tempo=float(tempo), has_drums=True)


def _lmms(project: Path, folder: Path) -> Truth | None:
    content = project.read_bytes()
    root = ElementTree.fromstring(content if project.suffix == ".mmp" else zlib.decompress(content[4:]))
    head = root.find("head")
    tempo = None if head is None else head.get("bpm")  # an element in its place is an automation: it changes
    name = f"lmms-{_plain(project.stem)}"
    raw = folder / f"{name}.raw.wav"
    if head is None or tempo is None:
        return None
    _run("lmms", "--allowroot", "render", str(project), "-f", "wav", "-o", str(raw), may_fail=True)
    if not _is_long_enough(raw):
        raw.unlink(missing_ok=True)
        return None
    beats = int(head.get("timesig_numerator", "4"))
    metre = beats if head.get("timesig_denominator", "4") == "4" and beats in (3, 4) else None
    return Truth(name=name, source="lmms", path=_finished(name, raw), tempo=float(tempo), metre=metre, has_drums=True)


def _is_long_enough(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 44 and soundfile.info(path).duration > 10


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).lower()


# From a rendered file to what people have


def _finished(name: str, raw: Path) -> Path:
    """Cut a rendering, give it a level and a format that follow from its name, and return the file."""
    dice = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
    samples, rate = soundfile.read(
        raw, frames=round(SECONDS * soundfile.info(raw).samplerate), dtype="float32", always_2d=True
    )
    raw.unlink()
    peak = float(np.abs(samples).max()) or 1.0
    mixed: NDArray[np.float32] = samples * np.float32(10 ** (-dice.uniform(0.3, 18) / 20) / peak)
    path = raw.with_name(f"{name}.{BY_LIBSNDFILE[dice.integers(len(BY_LIBSNDFILE))]}")
    encoding.write(path, mixed, rate)
    return path


def _run(*command: str, cwd: Path | None = None, may_fail: bool = False) -> str:
    quiet = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(command, cwd=cwd, env=quiet, capture_output=True, text=True, errors="replace", timeout=1800)
    if done.returncode and not may_fail:
        raise CorpusError(f"{' '.join(command[:3])} ... ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    where = Path("build/bench-audio").resolve()
    make(where)
    _say(f"what models are fitted to: {where / f'truth-{VERSION}.jsonl'} and {make_training(where)}")
