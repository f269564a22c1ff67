"""Analyse files with librosa or Essentia, for comparison.

Stands alone: it runs in the throw-away environment that has them, not in the project's.
Usage: peers.py librosa|essentia FILE ...: prints one JSON object a line.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Albrecht & Shanahan, Music Perception 31(1), 2013.
MAJOR = (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081)
MINOR = (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052)
PITCHES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

Answer = tuple[float, int, int]  # tempo, key, mode


def with_librosa(path: str) -> Answer:
    """Run the pipeline of librosa's tutorials: beat_track, CQT chroma, MFCC, and pyloudnorm on the original."""
    import librosa
    import pyloudnorm
    import soundfile

    samples, rate = soundfile.read(path, always_2d=True)
    pyloudnorm.Meter(rate).integrated_loudness(samples)
    mono = librosa.resample(samples.mean(axis=1).astype(np.float32), orig_sr=rate, target_sr=22050)
    tempo, _ = librosa.beat.beat_track(y=mono, sr=22050)
    librosa.feature.mfcc(y=mono, sr=22050)
    chroma = librosa.feature.chroma_cqt(y=mono, sr=22050).mean(axis=1)
    scores = [[np.corrcoef(np.roll(shape, tonic), chroma)[0, 1] for tonic in range(12)] for shape in (MINOR, MAJOR)]
    mode, key = divmod(int(np.argmax(scores)), 12)
    return float(np.atleast_1d(tempo)[0]), key, mode


def with_essentia(path: str) -> Answer:
    """Run RhythmExtractor2013 (multifeature) and KeyExtractor with Temperley's profiles."""
    import essentia
    import essentia.standard as es

    essentia.log.infoActive = essentia.log.warningActive = False
    mono = es.MonoLoader(filename=path, sampleRate=44100)()
    tempo = es.RhythmExtractor2013(method="multifeature")(mono)[0]
    pitch, scale, _ = es.KeyExtractor(profileType="temperley")(mono)
    flats = {"Db": "C#", "D#": "Eb", "Gb": "F#", "G#": "Ab", "A#": "Bb"}
    return float(tempo), PITCHES.index(flats.get(pitch, pitch)), int(scale == "major")


PEERS: dict[str, Callable[[str], Answer]] = {"librosa": with_librosa, "essentia": with_essentia}


def peak_bytes() -> int:
    """Return the most memory that this process has held; getrusage would count its parent's as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main(arguments: Sequence[str]) -> None:
    """Analyse every file; the first one twice, for the first call loads and compiles."""
    analyse = PEERS[arguments[0]]
    warnings.simplefilter("ignore")
    analyse(arguments[1])
    for path in arguments[1:]:
        started = time.process_time()
        row: dict[str, Any] = {"path": path}
        try:
            row["tempo"], row["key"], row["mode"] = analyse(path)
        except Exception as error:  # noqa: BLE001  # whatever a peer does to a file is its result
            row["error"] = str(error)
        row["cpu"] = time.process_time() - started
        row["peakBytes"] = peak_bytes()
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
