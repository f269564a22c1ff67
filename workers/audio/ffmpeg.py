"""The last decoder: the `ffmpeg` command, where there is one, in a process of its own."""

import os
import re
import selectors
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

import numpy as np

from workers.audio.decoders import AUDIO_FORMATS, Block, DecoderError, block_frames, check_rate

_HEADER_SECONDS = 20.0
# Far more than any disk takes to wake; a decoder that is silent for so long hangs.
_SILENCE_SECONDS = 60.0
_PIPE_BYTES = 1 << 16
_MAX_HEADER_BYTES = 1 << 14
_MAX_COMPLAINT_BYTES = 2000
_MAX_ALLOCATION_BYTES = 512 << 20


@lru_cache(maxsize=1)
def command_version() -> str | None:
    """Return the version of the `ffmpeg` command on this machine's PATH, None without one; asked once a process."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "-hide_banner", "-version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(rb"ffmpeg version (\S+)", answer.stdout)
    return found[1].decode("ascii", "replace") if found else None


class CommandDecoder:
    """The `ffmpeg` command, writing float WAV into a pipe.

    It may be older, newer or built with more than the libraries in this process, and its crashes stay its own.

    Args:
        file: the open file; the command reads it by its descriptor, so that no name is looked up again.
    """

    def __init__(self, file: BinaryIO) -> None:
        version = command_version()
        if version is None:
            raise DecoderError("no ffmpeg command")
        self.name = f"ffmpeg {version}"
        self.container = self.codec = "ffmpeg"
        self.expected_frames: int | None = None
        self.damaged = self.stopped = self.converted = False
        self._complaint = b""
        self._process = _start(file.fileno())
        self._selector = selectors.DefaultSelector()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                self._selector.register(pipe, selectors.EVENT_READ)
        try:
            self._rest = self._read_header()
            check_rate(self.rate)
        except DecoderError:
            self.close()
            raise

    def _read_header(self) -> bytes:
        head, deadline = b"", time.monotonic() + _HEADER_SECONDS
        while (start := _find_samples(head)) is None:
            more = self._read(deadline - time.monotonic())
            if not more or len(head) > _MAX_HEADER_BYTES:
                raise DecoderError(self._summary() or "ffmpeg wrote no samples")
            head += more
        channels, rate = struct.unpack_from("<HI", head, head.index(b"fmt ") + 10)
        if not channels:
            raise DecoderError("the stream states no channels")
        self.rate, self.channels = rate, channels
        return head[start:]

    def blocks(self) -> Iterator[Block]:
        """Yield blocks until the command ends, errs or hangs."""
        held = bytearray(self._rest)
        enough = 4 * self.channels * block_frames(self.channels)
        while more := self._read(_SILENCE_SECONDS):
            held += more
            if len(held) >= enough:
                yield self._shaped(held[:enough])
                del held[:enough]
        if len(held) >= 4 * self.channels:
            yield self._shaped(held)
        self._end()

    def _shaped(self, data: bytearray) -> Block:
        whole = len(data) // (4 * self.channels)
        return np.frombuffer(data, "<f4", whole * self.channels).astype(np.float32).reshape(whole, self.channels)

    def _read(self, seconds: float) -> bytes:
        """Return what comes next, nothing at the end or after so many seconds of silence."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._selector.get_map():
            for key, _ in self._selector.select(left):
                data = os.read(key.fd, _PIPE_BYTES)
                if not data:
                    self._selector.unregister(key.fileobj)
                elif key.fileobj is self._process.stdout:
                    return data
                else:  # kept short, yet read to the end: a full pipe would block the command
                    self._complaint = (self._complaint + data)[:_MAX_COMPLAINT_BYTES]
        return b""

    def _end(self) -> None:
        try:
            status = self._process.wait(timeout=5) if not self._selector.get_map() else None
        except subprocess.TimeoutExpired:
            status = None
        self.stopped = status != 0
        self.damaged = self.stopped or bool(self._complaint)

    def _summary(self) -> str:
        """Return the first complaint, without the addresses and the name of the descriptor."""
        lines = self._complaint.decode("utf-8", "replace").splitlines()
        first = re.sub(r"^\[[^\]]*\] *|/dev/fd/\d+: *", "", lines[0]) if lines else ""
        return "".join(filter(str.isprintable, first))[:200]

    def close(self) -> None:
        """End the command, whatever it is doing."""
        self._selector.close()
        self._process.kill()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _start(descriptor: int) -> "subprocess.Popen[bytes]":
    quiet = ["-nostdin", "-hide_banner", "-v", "error", "-max_alloc", str(_MAX_ALLOCATION_BYTES), "-threads", "1"]
    reading = ["-format_whitelist", AUDIO_FORMATS, "-protocol_whitelist", "file", "-i", f"file:/dev/fd/{descriptor}"]
    writing = ["-map", "0:a:0", "-map_metadata", "-1", "-c:a", "pcm_f32le", "-f", "wav", "-bitexact", "pipe:1"]
    return subprocess.Popen(
        ["ffmpeg", *quiet, *reading, *writing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pass_fds=(descriptor,),
    )


def _find_samples(head: bytes) -> int | None:
    """Return where the samples of a WAV stream start, None if not yet."""
    at = 12
    while at + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, at)
        at += 8
        if name == b"data":
            return at
        at += length
    return None
