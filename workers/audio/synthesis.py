"""Demo tracks of known tempo and key, synthesised with numpy: `python -m workers.audio.synthesis DIR`.

They stand in for a music library where none may be shipped, and their truth is exact: drums mark the beat,
and a cadence returns to the tonic every four or eight bars.
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from workers.audio.instruments import RATE, TIMBRES, Floats, hat, kick, note, snare

TRUTH_FILE = "truth.json"
_SECONDS = 27.0
_STEPS_A_BEAT = 4
_PEAK = 0.8


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoTrack:
    """One track and the truth about it."""

    file: str
    tempo: float  # beats a minute
    key: int  # pitch class of the tonic, C = 0
    mode: int  # 1 major, 0 minor
    time_signature: int  # beats a bar


class _Drums(NamedTuple):
    """A pattern a bar: one character per sixteenth, x = hit."""

    kick: str
    snare: str
    hat: str
    beats: int = 4  # a bar


class _Score(NamedTuple):
    """A piece, as a row of the table below."""

    title: str
    tempo: float
    key: int
    mode: int
    chords: tuple[int, ...]  # one scale degree a bar, 1 = tonic
    lead: str  # name in TIMBRES
    pad: str
    drums: _Drums


_STRAIGHT = _Drums("x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x.")
_DANCE = _Drums("x...x...x...x...", "....x.......x...", "..x...x...x...x.")
_ROCK = _Drums("x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x.")
_SPARSE = _Drums("x.......x.......", "....x.......x...", "x...x...x...x...")
_WALTZ = _Drums("x...........", "....x...x...", "x...x...x...", beats=3)

_SCORES = (
    _Score("harbour", 120, 0, 1, (1, 4, 5, 1), "flute", "organ", _STRAIGHT),
    _Score("embers", 92, 9, 0, (1, 4, 5, 1), "piano", "strings", _SPARSE),
    _Score("turnpike", 140, 7, 1, (1, 6, 4, 5, 1, 4, 5, 1), "square", "organ", _ROCK),
    _Score("nightbus", 126, 2, 0, (1, 6, 4, 5), "square", "strings", _DANCE),
    _Score("orchard", 104, 5, 1, (1, 2, 5, 1), "piano", "organ", _STRAIGHT),
    _Score("lighthouse", 84, 4, 0, (1, 4, 5, 1), "flute", "organ", _SPARSE),
    _Score("carousel", 150, 10, 1, (1, 4, 5, 1), "flute", "organ", _WALTZ),
    _Score("static", 132, 6, 0, (1, 6, 4, 5, 1, 4, 5, 1), "pluck", "strings", _DANCE),
    _Score("meadow", 70, 3, 1, (1, 6, 2, 5), "piano", "strings", _SPARSE),
    _Score("cinder", 110, 7, 0, (1, 4, 5, 1), "pluck", "organ", _ROCK),
    _Score("skyline", 175, 11, 1, (1, 4, 5, 1), "pluck", "organ", _ROCK),
    _Score("hollow", 100, 1, 0, (1, 6, 5, 1), "flute", "piano", _STRAIGHT),
)
_FORMATS = ("wav", "flac", "ogg", "mp3")

_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
# harmonic minor: its leading tone makes the fifth degree a dominant
_MINOR_SCALE = (0, 2, 3, 5, 7, 8, 11)
_MELODY = (0, 2, 1, 2)  # chord tones, one a beat


def write_demo_tracks(folder: str | Path) -> list[DemoTrack]:
    """Write a dozen tracks of some 27 s and `truth.json` into `folder`, made if missing; return the truth."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    tracks = [_write(target, score, _FORMATS[at % len(_FORMATS)]) for at, score in enumerate(_SCORES)]
    truth = [asdict(track) for track in tracks]
    (target / TRUTH_FILE).write_text(json.dumps(truth, indent=2) + "\n", encoding="utf-8")
    return tracks


def render_demo(title: str, *, transpose: int = 0, speed: float = 1.0, seconds: float = _SECONDS) -> Floats:
    """Return one of the demo pieces at RATE, shape (frames, 2), moved by semitones or played at another speed.

    Args:
        title: the file name's stem.
        transpose: semitones upwards.
        speed: factor on the tempo.
        seconds: at least this much is rendered, in whole phrases.
    """
    score = next(score for score in _SCORES if score.title == title)
    return _render(score, transpose=transpose, tempo=score.tempo * speed, seconds=seconds)


def _write(folder: Path, score: _Score, suffix: str) -> DemoTrack:
    name = f"{score.title}.{suffix}"
    soundfile.write(folder / name, _render(score, transpose=0, tempo=score.tempo, seconds=_SECONDS), RATE)
    return DemoTrack(file=name, tempo=score.tempo, key=score.key, mode=score.mode, time_signature=score.drums.beats)


def _render(score: _Score, *, transpose: int, tempo: float, seconds: float) -> Floats:
    """Repeat the phrase; every repetition starts on its exact beat, so that rounding does not add up."""
    phrase = _Phrase(score, tonic=score.key + transpose, tempo=tempo).render()
    length = 60 / tempo * score.drums.beats * len(score.chords)
    repeats = int(np.ceil(seconds / length))
    track = np.zeros((int(repeats * length * RATE) + len(phrase), 2), np.float32)
    for repeat in range(repeats):
        start = round(repeat * length * RATE)
        track[start : start + len(phrase)] += phrase
    track = track[: int(repeats * length * RATE)]
    return track * np.float32(_PEAK / np.abs(track).max())


class _Phrase:
    """One pass through the chords, with room for the last notes to ring."""

    def __init__(self, score: _Score, *, tonic: int, tempo: float) -> None:
        self._score = score
        self._tonic = tonic
        self._beat = 60 / tempo
        seconds = self._beat * score.drums.beats * len(score.chords) + 1.5
        self._mix = np.zeros((int(seconds * RATE), 2), np.float32)

    def render(self) -> Floats:
        for bar, degree in enumerate(self._score.chords):
            first = bar * self._score.drums.beats
            self._drums(first)
            self._harmony(first, _triad(self._tonic, self._score.mode, degree))
        return self._mix

    def _drums(self, first: int) -> None:
        drums: tuple[tuple[str, Callable[[], Floats], float, float], ...] = (
            (self._score.drums.kick, kick, 0.9, 0.5),
            (self._score.drums.snare, snare, 0.5, 0.45),
            (self._score.drums.hat, hat, 0.22, 0.65),
        )
        for pattern, sound, gain, side in drums:
            for step in (at for at, mark in enumerate(pattern) if mark == "x"):
                self._add(sound(), first + step / _STEPS_A_BEAT, gain, side)

    def _harmony(self, first: int, chord: tuple[int, int, int]) -> None:
        beats = self._score.drums.beats
        for at, pitch in enumerate(chord):
            self._play(self._score.pad, pitch + 48, first, beats, 0.16, 0.3 + 0.2 * at)
        for beat in range(beats):
            self._play("bass", chord[0] % 12 + 36, first + beat, 1, 0.5, 0.5)
            tone = chord[_MELODY[beat]]
            self._play(self._score.lead, tone + 60, first + beat, 1, 0.22, 0.4)

    def _play(self, timbre: str, pitch: int, beat: float, beats: float, gain: float, side: float) -> None:
        self._add(note(TIMBRES[timbre], pitch, beats * self._beat), beat, gain, side)

    def _add(self, sound: Floats, beat: float, gain: float, side: float) -> None:
        start = round(beat * self._beat * RATE)
        sound = sound[: len(self._mix) - start]
        self._mix[start : start + len(sound), 0] += sound * np.float32(gain * (1 - side))
        self._mix[start : start + len(sound), 1] += sound * np.float32(gain * side)


@lru_cache(maxsize=256)
def _triad(tonic: int, mode: int, degree: int) -> tuple[int, int, int]:
    """Return root, third and fifth in semitones above C."""
    scale = _MAJOR_SCALE if mode else _MINOR_SCALE
    steps = (degree - 1, degree + 1, degree + 3)
    root, third, fifth = (tonic + scale[step % 7] + 12 * (step // 7) for step in steps)
    return root, third, fifth


def main() -> None:
    """Write the tracks into the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m workers.audio.synthesis", description=(__doc__ or "").strip())
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the tracks are written; made if it is missing")
    folder = parser.parse_args().folder
    sys.stdout.write(f"{len(write_demo_tracks(folder))} tracks in {folder}\n")


if __name__ == "__main__":
    main()
