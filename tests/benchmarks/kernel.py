"""The work on one file with no queue around it: decode, hash, analyse, as the job kind does it."""

from __future__ import annotations

import os
from pathlib import Path

import soundfile

from workers.audio.decode import open_audio
from workers.audio.extractor import Extractor
from workers.audio.features import Effort, Features
from workers.audio.identity import ContentHasher
from workers.audio.instruments import RATE
from workers.audio.synthesis import render_demo


def analyse(path: Path, effort: Effort = Effort.FULL) -> tuple[str, Features]:
    """Return the hash and the features of a file."""
    hasher, extractor = decode(path, effort)
    return hasher.hexdigest(), extractor.finish()


def content_hash(path: Path) -> str:
    """Return the hash of a file whose features were worked out: all that a pool of processes has to send back."""
    return analyse(path)[0]


def decode(path: Path, effort: Effort = Effort.FULL) -> tuple[ContentHasher, Extractor]:
    """Read a file into what hashes it and what is ready to analyse it."""
    with open_audio(os.fsencode(path)) as stream:
        hasher = ContentHasher(stream.rate, stream.channels)
        extractor = Extractor(stream.rate, stream.channels, effort)
        for block in stream.blocks():
            hasher.push(block)
            extractor.push(block)
    return hasher, extractor


def write_track(path: Path, title: str, seconds: float) -> None:
    """Write one of the demo pieces, as long as that."""
    soundfile.write(path, render_demo(title, seconds=seconds), RATE)
