"""Hostile audio files by the thousand: ``python -m tests.fuzz_audio --count 2000 --seed 1 --keep found``.

Each file is a mutation of a small sound one, a function of the seed and its number. They are decoded in processes of
their own, with a time limit, a memory limit and an eye on standard error. Prints what became of them, and fails if
one crashed, hung, printed or raised anything but an `AudioError`.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tests.benchmarks.meters import peak_bytes
from tests.broken_audio import WHOLE, video
from workers.audio.decode import open_audio
from workers.audio.errors import AudioError

SECONDS = 0.7  # of sound in each file before it is mutated
LIMIT_SECONDS = 10
LIMIT_BYTES = 2 << 30
HELD_BYTES = 400_000_000
MAX_DECODED_SECONDS = 600.0

# Mutations

_MARKERS = (
    *(
        b"RIFF",
        b"fmt ",
        b"data",
        b"FORM",
        b"COMM",
        b"SSND",
        b"fLaC",
        b"OggS",
        b"OpusHead",
        b"\x01vorbis",
        b"\x05vorbis",
    ),
    *(b"ID3", b"Xing", b"Info", b"LAME", b"ftyp", b"moov", b"mvhd", b"trak", b"mdhd", b"stsd", b"mp4a", b"esds"),
    *(
        b"stts",
        b"stsc",
        b"stsz",
        b"stco",
        b"moof",
        b"trun",
        b"mdat",
        b".snd",
        b"caff",
        b"desc",
        b"\x18S\x80g",
        b"\xff\xfb",
    ),
)
_VALUES = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE)


def _flip(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.choice((1, 4, 16, 64, 500))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _flip_head(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.choice((1, 2, 4, 8))):
        data[chance.randrange(min(200, len(data)))] ^= 1 << chance.randrange(8)


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(1, len(data)) :]


def _drop(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 3, 100, 5000))]


def _repeat(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data))
    data[start:start] = data[start : start + chance.choice((1, 8, 500, 20_000))]


def _insert(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data))
    data[start:start] = chance.choice((chance.randbytes, bytes))(chance.choice((1, 50, 3000)))


def _overwrite(chance: random.Random, data: bytearray) -> None:
    start, size = chance.randrange(len(data)), chance.choice((4, 100, 2000))
    data[start : start + size] = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))


def _edit_field(chance: random.Random, data: bytearray) -> None:
    """Put a striking number near a marker, where lengths, counts and rates stand."""
    present = [marker for marker in _MARKERS if marker in data]
    if not present:
        return
    at = data.index(chance.choice(present)) + chance.randrange(-8, 40)
    size = chance.choice((1, 2, 4, 8))
    value = chance.choice(_VALUES) if chance.random() < 0.8 else chance.getrandbits(8 * size)
    if at >= 0:
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, chance.choice(("big", "little")))


def _splice(chance: random.Random, data: bytearray) -> None:
    """Go on with another file from somewhere on."""
    other = chance.choice(corpus())
    data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


def _append(chance: random.Random, data: bytearray) -> None:
    data += chance.choice(corpus())


_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _flip, _flip_head, _cut, _drop, _repeat, _insert, _overwrite, _edit_field, _edit_field, _splice, _append),
)


@lru_cache(maxsize=1)
def corpus() -> tuple[bytes, ...]:
    """Return one small sound file of each family."""
    return (*(make(seconds=SECONDS) for make in WHOLE.values()), video(audio=True))


def mutated(seed: int, number: int) -> bytes:
    """Return the file of this number."""
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(corpus()[number % len(corpus())])
    for _ in range(chance.choice((1, 1, 2, 4))):
        if data:
            chance.choice(_MUTATIONS)(chance, data)
    return bytes(data)


# The process that decodes


def _decode_range(seed: int, start: int, stop: int, folder: Path) -> None:
    """Decode some files and print a line for each: its number before, its outcome after."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    corpus()
    printed = os.fstat(2).st_size
    for number in range(start, stop):
        path = folder / f"{seed}-{number}"
        path.write_bytes(mutated(seed, number))
        print(number, end=" ", flush=True)
        signal.alarm(LIMIT_SECONDS)  # with its default action: the end
        outcome = _outcome(path)
        signal.alarm(0)
        if os.fstat(2).st_size > printed:
            outcome, printed = "PRINTED", os.fstat(2).st_size
        elif outcome.islower() and peak_bytes(os.getpid()) > HELD_BYTES:
            outcome = "HELD-TOO-MUCH"
        print(outcome, flush=True)
        if outcome.islower():
            path.unlink()


def _outcome(path: Path) -> str:
    """Return a word in small letters for a clean outcome, one in capitals for another."""
    try:
        with open_audio(path, max_seconds=MAX_DECODED_SECONDS) as stream:
            for block in stream.blocks():
                if not abs(block).max() <= 4:
                    return "UNCLEAN-SAMPLES"
            return "-".join(("played", *stream.warnings))
    except AudioError as error:
        return error.code
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        return f"RAISED-{error!r}".replace("\n", " ").upper()


# The process that watches


@dataclass
class Found:
    """What became of the files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: dict[int, str] = field(default_factory=dict)  # number: what happened


def fuzz(*, count: int, seed: int, folder: Path, jobs: int = 2, first: int = 0) -> Found:
    """Decode `count` mutated files in `jobs` processes; what fails stays in the folder."""
    found, share = Found(), -(-count // jobs)
    starts = range(first, first + count, share)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda start: _watch(seed, start, min(start + share, first + count), folder, found), starts))
    return found


def _watch(seed: int, start: int, stop: int, folder: Path, found: Found) -> None:
    while start < stop:
        command = [sys.executable, "-m", "tests.fuzz_audio", "--range", str(seed), str(start), str(stop), str(folder)]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, env=environment, check=False)
            errors.seek(0)
            said = errors.read(500).decode("utf-8", "replace")
        lines = [line.split(" ", 1) for line in done.stdout.decode().splitlines()]
        for line in lines:
            outcome = line[1] if len(line) == 2 and line[1] else f"DIED {done.returncode} {said}"
            found.outcomes[outcome.split("-(")[0][:60]] += 1
            if not outcome.islower():
                found.faults[int(line[0])] = f"{outcome} {said if outcome == 'PRINTED' else ''}"
        if not lines:
            raise RuntimeError(f"the decoding process did not start: {said}")
        start = int(lines[-1][0]) + 1


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="where files that fail are kept")
    parser.add_argument("--range", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.range:
        seed, start, stop, folder = options.range
        _decode_range(int(seed), int(start), int(stop), Path(folder))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        found = fuzz(count=options.count, seed=options.seed, folder=folder, jobs=options.jobs, first=options.first)
    for outcome, number in found.outcomes.most_common():
        print(f"{number:6} {outcome}")
    for number, fault in sorted(found.faults.items()):
        print(f"file {options.seed}-{number}: {fault}")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
