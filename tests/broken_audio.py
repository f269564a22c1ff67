"""Broken, odd and hostile audio files, made on the spot, with what ought to come of each.

`CASES` is a table: a name, the bytes and the expected outcome. Everything is a function of fixed seeds.
"""

from __future__ import annotations

import io
import os
import random
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import av
import av.container
import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 44100  # Hz
SECONDS = 5.0

Floats = NDArray[np.float32]

# Material


@lru_cache(maxsize=8)
def chord(*, rate: int = RATE, channels: int = 2, seconds: float = SECONDS) -> Floats:
    """Return a swelling chord over soft noise, shape (frames, channels), peak below 0.8."""
    time = np.arange(int(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6))
    noise = np.random.default_rng(7).normal(0, 0.03, (len(time), channels))
    return np.asarray((0.2 * tones * (0.6 + 0.4 * np.sin(3 * time)))[:, None] + noise, np.float32)


@lru_cache(maxsize=64)
def written(
    container: str, subtype: str | None = None, *, rate: int = RATE, channels: int = 2, seconds: float = SECONDS
) -> bytes:
    """Return the chord as libsndfile stores it."""
    return stored(chord(rate=rate, channels=channels, seconds=seconds), container, subtype, rate=rate)


def stored(samples: Floats, container: str, subtype: str | None = None, *, rate: int = RATE) -> bytes:
    """Return these samples as libsndfile stores them; in pieces, as its Vorbis encoder overflows the stack."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, samples.shape[1], subtype, format=container) as out:
        for start in range(0, len(samples), 4096):
            out.write(samples[start : start + 4096])
    return file.getvalue()


@lru_cache(maxsize=32)
def encoded(
    container: str,
    codec: str,
    *,
    rate: int = RATE,
    layout: str = "stereo",
    seconds: float = SECONDS,
    muxer: tuple[tuple[str, str], ...] = (),
    encoder: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """Return the chord as FFmpeg's libraries store it."""
    with tempfile.NamedTemporaryFile() as file:  # with a name, as `faststart` reads back what it wrote
        with av.open(file.name, "w", format=container, container_options=dict(muxer)) as out:
            stream = out.add_stream(codec, rate=rate, options=dict(encoder))
            assert isinstance(stream, av.AudioStream)
            stream.layout, stream.bit_rate = layout, 64_000 * stream.layout.nb_channels
            _mux_chord(out, stream, rate, seconds)
        return Path(file.name).read_bytes()


def _mux_chord(out: av.container.OutputContainer, stream: av.AudioStream, rate: int, seconds: float) -> None:
    samples = chord(rate=rate, channels=stream.layout.nb_channels, seconds=seconds)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=stream.layout.name)
    frame.sample_rate = rate
    out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


_NO_XING = (("write_xing", "0"), ("id3v2_version", "0"))
_ABR = (("abr", "1"), ("b", "128000"))

WHOLE: dict[str, Callable[..., bytes]] = {
    "wav": partial(written, "WAV"),
    "aiff": partial(written, "AIFF"),
    "flac": partial(written, "FLAC"),
    "ogg": partial(written, "OGG", "VORBIS"),
    "opus": partial(encoded, "ogg", "libopus", rate=48000),
    "cbr.mp3": partial(encoded, "mp3", "libmp3lame"),
    "cbr_bare.mp3": partial(encoded, "mp3", "libmp3lame", muxer=_NO_XING),
    "vbr.mp3": partial(encoded, "mp3", "libmp3lame", encoder=_ABR),
    "vbr_bare.mp3": partial(encoded, "mp3", "libmp3lame", muxer=_NO_XING, encoder=_ABR),
    "end.m4a": partial(encoded, "mp4", "aac"),
    "front.m4a": partial(encoded, "mp4", "aac", muxer=(("movflags", "faststart"),)),
    "fragmented.m4a": partial(encoded, "mp4", "aac", muxer=(("movflags", "frag_keyframe+empty_moov"),)),
    "aac": partial(encoded, "adts", "aac"),
    "7.1.m4a": partial(encoded, "mp4", "aac", layout="7.1"),
    "7.1.opus": partial(encoded, "ogg", "libopus", rate=48000, layout="7.1"),
    "mka": partial(encoded, "matroska", "aac"),
    "wma": partial(encoded, "asf", "wmav2"),
    "caf": partial(written, "CAF", "PCM_16"),
    "au": partial(written, "AU", "PCM_16"),
}
"""Sound files of every family, by the end of their name; each takes `seconds` if it should be shorter."""


def video(*, audio: bool) -> bytes:
    """Return an MP4 with a few pictures, with or without a sound track."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        pictures = out.add_stream("mpeg4", rate=10)
        assert isinstance(pictures, av.VideoStream)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = out.add_stream("aac", rate=RATE, layout="stereo") if audio else None
        for _ in range(10):
            out.mux(pictures.encode(av.VideoFrame(64, 64, "yuv420p")))
        out.mux(pictures.encode(None))
        if isinstance(sound, av.AudioStream):
            _mux_chord(out, sound, RATE, SECONDS)
    return file.getvalue()


def image() -> bytes:
    """Return a PNG of 64 x 64 grey pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    pixels = zlib.compress((b"\0" + bytes(64)) * 64)
    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# Damage


def cut(data: bytes, share: float) -> bytes:
    """Return the first `share` of the bytes."""
    return data[: int(len(data) * share)]


def flipped(data: bytes, share: float, *, head: int = 0, seed: int = 1) -> bytes:
    """Flip one bit in `share` of the bytes behind the first `head`."""
    chance, result = random.Random(seed), bytearray(data)
    for _ in range(max(1, round(share * (len(data) - head)))):
        result[chance.randrange(head, len(data))] ^= 1 << chance.randrange(8)
    return bytes(result)


def with_junk(data: bytes, *, size: int = 5000, at: float = 0.5) -> bytes:
    """Insert random bytes in the middle."""
    middle = int(len(data) * at)
    return data[:middle] + random.Random(5).randbytes(size) + data[middle:]


def patched(data: bytes, marker: bytes, offset: int, field: bytes) -> bytes:
    """Overwrite a field at an offset behind the first `marker`."""
    at = data.index(marker) + offset
    return data[:at] + field + data[at + len(field) :]


def id3(size: int) -> bytes:
    """Return an ID3v2.4 tag of padding."""
    digits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + digits + bytes(size)


def ape(size: int) -> bytes:
    """Return an APEv2 tag of one binary item, with its footer."""
    item = struct.pack("<II", size, 2) + b"Cover Art (Front)\0" + b"\x55" * size
    return item + b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 32, 1, 0) + bytes(8)


def id3v1() -> bytes:
    """Return an ID3v1 tag."""
    return b"TAG" + b"title".ljust(125, b"\0")


def flac_with_cover(data: bytes, size: int) -> bytes:
    """Insert a PICTURE block behind STREAMINFO."""
    return data[:42] + b"\x06" + size.to_bytes(3, "big") + random.Random(2).randbytes(size) + data[42:]


def rf64(samples: Floats, *, claimed: int | None = None) -> bytes:
    """Return an RF64 file of 16-bit samples whose sizes stand in `ds64`."""
    body = (samples * 32767).astype("<i2").tobytes()
    size = len(body) if claimed is None else claimed
    channels = samples.shape[1]
    form = struct.pack("<HHIIHH", 1, channels, RATE, RATE * channels * 2, channels * 2, 16)
    sizes = struct.pack("<QQQI", size + 72, size, len(samples), 0)
    chunks = b"ds64" + struct.pack("<I", 28) + sizes + b"fmt " + struct.pack("<I", 16) + form
    return b"RF64\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff" + body


def empty_adts_frames(data: bytes) -> bytes:
    """Put twenty ADTS frames of a header alone into the middle of a stream."""
    length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    header = bytearray(data[:7])
    header[3], header[4], header[5] = header[3] & 0xFC, 0, 7 << 5 | header[5] & 0x1F
    return data[:length] + bytes(header) * 20 + data[length:]


def empty_mp4_samples(data: bytes) -> bytes:
    """Set the sizes of the last five samples of an MP4's sound to 0."""
    at = data.index(b"stsz")
    (count,) = struct.unpack(">I", data[at + 12 : at + 16])
    return patched(data, b"stsz", 16 + 4 * (count - 5), bytes(20))


def spoiled(value: float) -> bytes:
    """Return a float WAV with a hundred samples of a non-finite value."""
    samples = chord().copy()
    samples[1000:1100, 0] = value
    return stored(samples, "WAV", "FLOAT")


def _sparse(path: Path) -> None:
    """Write the header of an 8 kHz 8-bit WAV of 4 GB, all of it a hole in the file."""
    size = 0xFFFFFF00
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    head = b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", size)
    path.write_bytes(head)
    os.truncate(path, len(head) + size)


# The table


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file and what ought to come of it: a code, or a duration and warnings."""

    name: str  # of the file
    make: Callable[[], bytes] | Placed  # its bytes, or what puts it at a path
    code: str | None = None  # of the error
    seconds: tuple[float, float] = (0.0, 0.0)  # least and most that may be decoded
    warns: frozenset[str] = frozenset()  # what must be said
    may_warn: frozenset[str] = frozenset()  # what may be said besides

    def write(self, folder: Path) -> Path:
        """Write the file and return its path."""
        path = folder / self.name
        if isinstance(self.make, Placed):
            self.make.put(path)
        else:
            path.write_bytes(self.make())
        return path


@dataclass(frozen=True)
class Placed:
    """What is no plain file of bytes, and how it is put at a path."""

    put: Callable[[Path], object]


def _refused(name: str, code: str, make: Callable[[], bytes] | Placed) -> Case:
    return Case(name=name, make=make, code=code)


def _plays(
    name: str, make: Callable[[], bytes], *warns: str, lasts: float = SECONDS, slack: float = 0.06, may: str = ""
) -> Case:
    span = (lasts - slack, lasts + slack)
    return Case(name=name, make=make, seconds=span, warns=frozenset(warns), may_warn=frozenset(may.split()))


def _truncations() -> Iterator[Case]:
    for name in ("wav", "aiff", "flac", "ogg", "opus", "aac", "mka", "front.m4a"):
        yield from _truncated(name)
    for name in ("cbr.mp3", "cbr_bare.mp3", "vbr.mp3", "vbr_bare.mp3"):
        yield from _truncated(name)
    for share in (0.1, 0.5, 0.9):
        yield _refused(f"cut{share:.0%}.end.m4a", "corrupt", partial(_cut, "end.m4a", share))
    for name in ("ogg", "opus"):  # the setup headers, or the first page with a second of sound, are larger than that
        yield _refused(f"cut10%.{name}", "corrupt", partial(_cut, name, 0.1))


def _cut(name: str, share: float) -> bytes:
    return cut(WHOLE[name](), share)


def _truncated(name: str) -> Iterator[Case]:
    for share in (0.5, 0.9) if name in ("ogg", "opus") else (0.1, 0.5, 0.9):
        # headers and setup tables take their part of the first tenth
        span = (max(0.0, share - 0.15) * SECONDS, (share + 0.1) * SECONDS)
        warns = frozenset(("truncated",))
        yield Case(
            name=f"cut{share:.0%}.{name}",
            make=partial(_cut, name, share),
            seconds=span,
            warns=warns,
            may_warn=frozenset(("damaged",)),
        )


def _bit_flips() -> Iterator[Case]:
    for name in ("cbr.mp3", "vbr.mp3", "flac", "front.m4a", "aac", "wav", "ogg", "opus"):
        for share in (0.0001, 0.01):
            yield _flips(name, share)


def _flips(name: str, share: float) -> Case:
    in_ogg, many = name in ("ogg", "opus"), share > 0.001
    file, make = f"flip{share:.2%}.{name}", partial(_flipped, name, share)
    if in_ogg and many:  # not one page of Ogg has a right checksum
        return _refused(file, "corrupt", make)
    shown = in_ogg or name == "flac" or (many and name not in ("wav", "cbr.mp3"))
    return Case(
        name=file,
        make=make,
        seconds=(0.05 if (many or in_ogg) and name != "wav" else 0.85 * SECONDS, 1.1 * SECONDS),
        # most flips in MPEG frames change the sound and break no rule: they show by impossible peaks, if at all
        warns=frozenset(("damaged",) if shown else ("clipped",) if name == "cbr.mp3" and many else ()),
        may_warn=frozenset(("damaged", "truncated", "clipped", "format_changes")),
    )


def _flipped(name: str, share: float) -> bytes:
    # the headers stay whole: what happens where they do not is the fuzzer's business
    whole = WHOLE[name]()
    return flipped(whole, share, head=min(5000, len(whole) // 10))


def _containers() -> Iterator[Case]:
    for name, make in WHOLE.items():
        yield _plays(f"whole.{name}", make)
    yield _plays("video.mp4", partial(video, audio=True))
    yield _refused("silent_video.mp4", "not_audio", partial(video, audio=False))
    for container, codec in (
        ("avi", "libmp3lame"),
        ("mpegts", "aac"),
        ("mpeg", "mp2"),
        ("mov", "alac"),
        ("flv", "aac"),
    ):
        yield _plays(f"{codec}.{container}", partial(encoded, container, codec))
    yield _plays("mpeg_layer_3.wav", partial(encoded, "wav", "libmp3lame"))
    for rate in (8000, 24000, 32000):
        yield _plays(f"{rate}.mp3", partial(encoded, "mp3", "libmp3lame", rate=rate), slack=0.1)
    yield _plays("layer_2.mp2", partial(encoded, "mp2", "mp2"))
    yield _plays("opus.webm", partial(encoded, "webm", "libopus", rate=48000))
    yield _plays("id3_5mb.mp3", lambda: id3(5 << 20) + WHOLE["cbr.mp3"]())
    yield _plays("id3_5mb_bare.mp3", lambda: id3(5 << 20) + WHOLE["vbr_bare.mp3"]())
    yield _plays("id3_ape_id3v1.mp3", lambda: id3(2000) + WHOLE["cbr.mp3"]() + ape(50_000) + id3v1())
    yield _plays("ape_500kb_bare.mp3", lambda: WHOLE["cbr_bare.mp3"]() + ape(500_000) + id3v1())
    yield _plays("id3.flac", lambda: id3(3000) + WHOLE["flac"]() + id3v1())
    yield _plays("cover_10mb.flac", lambda: flac_with_cover(WHOLE["flac"](), 10 << 20))
    yield _plays("zero_padding.mp3", lambda: WHOLE["cbr_bare.mp3"]() + bytes(40_000))
    yield _plays("padded.wav", lambda: WHOLE["wav"]() + bytes(1000))
    yield _plays("streamed.flac", lambda: patched(WHOLE["flac"](), b"fLaC", 21, b"\xf0\0\0\0\0"))
    yield _refused("garbage_mdat.m4a", "corrupt", lambda: b"\0\0\0\x20ftypM4A " + random.Random(1).randbytes(5000))
    yield Case(
        name="junk_in_the_middle.mp3",
        make=lambda: with_junk(WHOLE["cbr_bare.mp3"]()),
        seconds=(0.9 * SECONDS, 1.1 * SECONDS),
        warns=frozenset(("damaged",)),
        may_warn=frozenset(("clipped",)),
    )
    yield Case(
        name="junk_in_the_middle_xing.mp3",
        make=lambda: with_junk(WHOLE["vbr.mp3"](), size=50_000),
        seconds=(0.9 * SECONDS, 1.2 * SECONDS),
        warns=frozenset(("damaged",)),
        may_warn=frozenset(("clipped",)),
    )


def _chains() -> Iterator[Case]:
    twice, slow = 2 * SECONDS, partial(encoded, "mp3", "libmp3lame", rate=22050)
    yield _plays("two_bare.mp3", lambda: WHOLE["cbr_bare.mp3"]() * 2, lasts=twice, slack=0.15)
    yield _plays("two_xing.mp3", lambda: WHOLE["cbr.mp3"]() * 2, lasts=twice, slack=0.15)
    yield _plays("two_rates.mp3", lambda: WHOLE["cbr.mp3"]() + slow(), "format_changes", lasts=twice, slack=0.2)
    yield _plays("two.ogg", lambda: WHOLE["ogg"]() + WHOLE["ogg"](), lasts=twice)
    yield _plays(
        "two_rates.ogg",
        lambda: WHOLE["ogg"]() + written("OGG", "VORBIS", rate=22050),
        "format_changes",
        lasts=twice,
        slack=0.1,
    )
    yield _plays(
        "two_layouts.ogg",
        lambda: WHOLE["ogg"]() + written("OGG", "VORBIS", channels=1),
        "format_changes",
        lasts=twice,
        slack=0.1,
    )
    yield _plays("two.opus", lambda: WHOLE["opus"]() * 2, lasts=twice, slack=0.15)
    yield _plays("cut_then_whole.ogg", lambda: cut(WHOLE["ogg"](), 0.6) + WHOLE["ogg"](), "damaged", lasts=7.8, slack=1)


def _wave_forms() -> Iterator[Case]:
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"):
        yield _plays(f"{subtype.lower()}.wav", partial(written, "WAV", subtype))
    yield _plays("sony.w64", partial(written, "W64", "PCM_16"))
    yield _plays("big.rf64", partial(written, "RF64", "PCM_16"))
    for rate, channels in ((8000, 1), (192000, 2), (48000, 6), (48000, 8)):
        yield _plays(f"{rate}_{channels}.wav", partial(written, "WAV", rate=rate, channels=channels))
    for layout in ("mono", "5.1"):
        yield _plays(f"{layout}.m4a", partial(encoded, "mp4", "aac", layout=layout))
        yield _plays(f"{layout}.opus", partial(encoded, "ogg", "libopus", rate=48000, layout=layout))
    yield _plays("7.1.alac.m4a", partial(encoded, "mp4", "alac", layout="7.1(wide)"))
    yield _plays("6_channels.flac", partial(written, "FLAC", channels=6))
    yield _plays("8_channels.ogg", partial(written, "OGG", "VORBIS", channels=8))
    yield _plays("one_sample.wav", lambda: stored(chord()[:1], "WAV"), lasts=0, slack=0.001)
    yield _plays("one_sample.flac", lambda: stored(chord()[:1], "FLAC"), lasts=0, slack=0.001)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        yield _plays(f"fifth.{suffix}", partial(stored, chord()[: RATE // 5], suffix.upper()), lasts=0.2, slack=0.05)
    yield _plays("offset.wav", lambda: stored(np.full((RATE, 2), 0.5, np.float32), "WAV"), lasts=1)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        yield _plays(
            f"silence.{suffix}",
            partial(stored, np.zeros((5 * RATE, 2), np.float32), suffix.upper()),
        )
    yield _plays("anti_phase.flac", lambda: stored(chord() * np.array([1, -1], np.float32), "FLAC"))
    yield _plays("nan.wav", partial(spoiled, np.nan), "non_finite_samples_repaired")
    yield _plays("inf.wav", partial(spoiled, np.inf), "non_finite_samples_repaired")
    yield _plays("all_nan.wav", lambda: stored(chord() * np.float32(np.nan), "WAV", "FLOAT"), *_REPAIRED)
    yield _plays("hot.wav", lambda: stored(chord() * np.float32(1e30), "WAV", "FLOAT"), "clipped")


_REPAIRED = ("non_finite_samples_repaired",)


def _lying_sizes() -> Iterator[Case]:
    def sized(size: int) -> Callable[[], bytes]:
        return lambda: patched(WHOLE["wav"](), b"data", 4, struct.pack("<I", size))

    yield _plays("size_0.wav", sized(0))
    yield _plays("size_unknown.wav", sized(0xFFFFFFFF))
    yield _plays("size_beyond.wav", sized(50_000_000), "truncated")
    yield _plays("size_odd.wav", sized(len(WHOLE["wav"]()) - 44 - 3))
    yield _plays("riff_0.wav", lambda: patched(WHOLE["wav"](), b"RIFF", 4, bytes(4)))
    yield _plays("rf64.wav", lambda: rf64(chord()))
    yield _plays("rf64_cut.wav", lambda: rf64(chord(), claimed=len(chord()) * 8), "truncated")
    yield _plays("rf64_lies.wav", lambda: rf64(chord(), claimed=1 << 62), "truncated")
    yield _refused("channels_0.wav", "corrupt", lambda: patched(WHOLE["wav"](), b"fmt ", 10, bytes(2)))
    yield _refused("rate_0.wav", "corrupt", lambda: patched(WHOLE["wav"](), b"fmt ", 12, bytes(4)))
    yield Case(
        name="rate_huge.wav",
        make=lambda: patched(WHOLE["wav"](), b"fmt ", 12, b"\xff\xff\xff\x7f"),
        code="corrupt",
    )
    yield _refused("sparse_4gb.wav", "too_long", Placed(_sparse))


def _head(name: str, size: int) -> bytes:
    return WHOLE[name]()[:size]


def _nothing_there() -> Iterator[Case]:
    text = b"Once upon a time there was a text that called itself music.\n" * 500
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
    yield _refused("empty.mp3", "empty_file", lambda: b"")
    yield _refused("text.mp3", "not_audio", lambda: text)
    yield _refused("zeros.mp3", "not_audio", lambda: bytes(50_000))
    yield _refused("random.wav", "not_audio", lambda: random.Random(3).randbytes(200_000))
    yield _refused("picture.flac", "not_audio", image)
    yield _refused("tag_only.mp3", "not_audio", lambda: id3(5000))
    yield _refused("playlist.mp3", "not_audio", lambda: playlist)
    yield _refused("no_frames.wav", "empty_file", lambda: stored(chord()[:0], "WAV"))
    yield _refused("no_frames.flac", "empty_file", lambda: stored(chord()[:0], "FLAC"))
    for name, size in (("wav", 20), ("flac", 30), ("ogg", 200), ("opus", 100), ("front.m4a", 400), ("aiff", 14)):
        yield _refused(f"head.{name}", "corrupt", partial(_head, name, size))
    yield _refused("wav_header.wav", "corrupt", lambda: WHOLE["wav"]()[:44])
    yield _refused("flac_header.flac", "corrupt", lambda: WHOLE["flac"]()[:42])
    yield _plays("n" * 251 + ".wav", WHOLE["wav"])
    yield _refused("folder.mp3", "unreadable", Placed(Path.mkdir))
    yield _refused("pipe.wav", "unreadable", Placed(os.mkfifo))
    yield _refused("gone.wav", "missing", Placed(str))
    yield _plays("zero_frames.aac", lambda: empty_adts_frames(WHOLE["aac"]()), may="damaged")
    yield _plays(
        "zero_samples.m4a", lambda: empty_mp4_samples(WHOLE["front.m4a"]()), may="damaged truncated", slack=0.3
    )


CASES: tuple[Case, ...] = (
    *_nothing_there(),
    *_containers(),
    *_truncations(),
    *_bit_flips(),
    *_chains(),
    *_wave_forms(),
    *_lying_sizes(),
)
"""All files, with unique names."""
