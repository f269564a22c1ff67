"""Two files have one identity when they hold the same sound."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from workers.audio.decode import open_audio
from workers.audio.identity import ContentHasher
from workers.audio.instruments import RATE

from .conftest import Floats, Writer


def _identity(path: Path) -> str:
    with open_audio(path) as stream:
        hasher = ContentHasher(stream.rate, stream.channels)
        for block in stream.blocks():
            hasher.push(block)
    return hasher.hexdigest()


def _hash(samples: Floats, rate: int = RATE, block: int = 1000) -> str:
    hasher = ContentHasher(rate, samples.shape[1])
    for start in range(0, len(samples), block):
        hasher.push(samples[start : start + block])
    return hasher.hexdigest()


def test_lossless_containers_of_the_same_audio_share_an_identity(tmp_path: Path, music: Floats) -> None:
    for name in ("song.wav", "song.flac", "song.aiff"):
        soundfile.write(tmp_path / name, (music * 32767).astype(np.int16), RATE)

    assert len({_identity(path) for path in tmp_path.iterdir()}) == 1


def test_a_lossy_copy_has_another_identity(write: Writer, music: Floats) -> None:
    assert _identity(write("song.wav", music)) != _identity(write("song.mp3", music))


def test_tags_do_not_change_the_identity(write: Writer, music: Floats) -> None:
    path = write("song.mp3", music)
    before = _identity(path)
    tag = b"ID3\x04\x00\x00" + bytes((0, 0, 1, 0)) + bytes(128)
    path.write_bytes(tag + path.read_bytes())

    assert _identity(path) == before


@pytest.mark.parametrize("block", [1, 777, 10**6])
def test_the_size_of_blocks_does_not_matter(music: Floats, block: int) -> None:
    assert _hash(music[:2000], block=block) == _hash(music[:2000])


def test_rate_channels_and_every_sample_count(music: Floats) -> None:
    part = music[:2000]
    changed = part.copy()
    changed[1234, 1] += np.float32(1e-4)

    identities = {_hash(part), _hash(part, rate=48000), _hash(part.reshape(-1, 1)), _hash(changed)}

    assert len(identities) == 4
    assert all(len(identity) == 64 for identity in identities)
