"""The work of the job kind `audio_features`: files in, features of their content stored once, whoever asks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from shared.errors import ItemFailed
from shared.items import ItemOutcome, failed, succeeded
from shared.jobs.audio_features import Item, Request, Result
from shared.jobs.job import JobContext
from shared.paths import from_text, is_inside, to_text
from shared.store import audio_features, audio_files, contents
from shared.store.audio_files import AudioFile, FileError, FileTags
from shared.store.contents import ARRAYS, Content, content_id
from workers.audio.decode import AudioStream, decoders, open_audio
from workers.audio.errors import AudioError
from workers.audio.extractor import Extractor, possible
from workers.audio.features import VERSION, Effort, Estimate, Features
from workers.audio.identity import ContentHasher
from workers.audio.tags import Tags, name_key, read_tags

# What the file alone decides is remembered; what may be otherwise tomorrow (permissions, a mount) is not.
REMEMBERED = frozenset(("empty_file", "not_audio", "corrupt", "too_long"))

WHOLE_NUMBERS = frozenset(("key", "mode", "time_signature"))
EXTRA = {
    "tempo_alternative": "tempoAlternative",
    "loudness_range": "loudnessRange",
    "true_peak": "truePeak",
}
ATTRIBUTES = {"tempoCurve": "tempo_curve"}


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that may be read, as it is now."""

    path: bytes  # as it was asked for
    real: bytes  # with no symlink left in it
    size: int
    mtime_ns: int

    @property
    def text(self) -> str:
        return to_text(self.path)


def analyse_files(request: Request, items: Sequence[Item], context: JobContext) -> Iterator[ItemOutcome]:
    """Yield each item's outcome: its features are stored under its content, and the result points there."""
    for item in items:
        try:
            yield _analyse(request, item, context)
        except (AudioError, ItemFailed) as error:
            code = error.item_code if isinstance(error, ItemFailed) else error.code
            yield failed(code, error.message)


def _analyse(request: Request, item: Item, context: JobContext) -> ItemOutcome:
    file = _open_allowed(_path_of(item, context), context)
    known = None if request.force or context.epoch > 0 else audio_files.find(context.db, file.text)
    if known is not None and (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
        # What could not be read may be readable by other decoders; what was read is not read again.
        if known.error is not None and known.decoder == decoders():
            return failed(known.error.code, known.error.message)
        content = known.content_hash and contents.find(context.db, known.content_hash, _sufficient(request))
        if content:
            return _outcome(item, file, content, is_cached=True)
    return _decode_and_analyse(request, item, file, context)


def _path_of(item: Item, context: JobContext) -> bytes:
    """Return the item's file, by the path that was given or the one that its track had last time."""
    if item.path is not None:
        return from_text(item.path)
    known = audio_features.find_track(context.library, context.user_id, item.track_id or "")
    if known is None or not known.get("path"):
        raise ItemFailed("no_audio", f"No file is known for the track {item.track_id!r}: submit it with its path.")
    return from_text(known["path"])


def _open_allowed(path: bytes, context: JobContext) -> _File:
    """Return the file behind `path`, if it lies inside the allowed folders with every symlink resolved."""
    name = to_text(path)
    real = os.path.realpath(path)
    _check_inside(real, path, context)
    try:
        status = os.stat(real)
    except (FileNotFoundError, NotADirectoryError):
        raise ItemFailed("missing", f"{name} does not exist.") from None
    except OSError as error:
        raise ItemFailed("unreadable", f"{name} can't be read: {error.strerror}.") from None
    return _File(path=path, real=real, size=status.st_size, mtime_ns=status.st_mtime_ns)


def _check_inside(real: bytes, path: bytes, context: JobContext) -> None:
    """Raise `ItemFailed` unless the real place of `path` lies inside the allowed folders."""
    if not os.path.isabs(path) or not is_inside(real, context.settings.music_roots):
        name, way = to_text(path), " by way of a symlink" if is_inside(path, context.settings.music_roots) else ""
        message = f"{name} is{way} outside the folders that may be read (BACKLINE_MUSIC_ROOTS)."
        raise ItemFailed("outside_roots", message)


# Decoding and analysing


def _decode_and_analyse(request: Request, item: Item, file: _File, context: JobContext) -> ItemOutcome:
    try:
        # Between the check and the opening, a folder may have become a symlink to elsewhere.
        with open_audio(file.real, admit=lambda real: _check_inside(real, file.path, context)) as stream:
            content, is_cached = _stored_content(stream, request, context)
            tags = read_tags(stream.file)
    except AudioError as error:
        if error.code in REMEMBERED:
            _remember(file, context, error=FileError(code=error.code, message=error.message))
        raise
    _remember(file, context, content_hash=content.content_hash, tags=_file_tags(tags) if tags else None)
    return _outcome(item, file, content, is_cached=is_cached)


def _stored_content(stream: AudioStream, request: Request, context: JobContext) -> tuple[Content, bool]:
    """Decode once; analyse and store unless this content is known. Return it, and whether it was known."""
    hasher = ContentHasher(stream.rate, stream.channels)
    extractor = Extractor(stream.rate, stream.channels, Effort(request.effort))
    for block in stream.blocks():
        hasher.push(block)
        extractor.push(block)
    content_hash = hasher.hexdigest()
    known = None if request.force else contents.find(context.db, content_hash, _sufficient(request))
    if known is not None:
        return known, True
    features = extractor.finish()
    content = _content(content_hash, features, stream)
    contents.save(context.db, content, _arrays(features))
    return content, False


def _sufficient(request: Request) -> tuple[str, ...]:
    """Return the versions that serve the request: the effort that it asks for, or a greater one, greatest first."""
    efforts = list(Effort)
    least = efforts.index(possible(Effort(request.effort)))
    return tuple(_version(effort) for effort in reversed(efforts[least:]))


def _version(effort: Effort) -> str:
    return f"{VERSION}-{effort}"


def _remember(
    file: _File,
    context: JobContext,
    *,
    content_hash: str | None = None,
    error: FileError | None = None,
    tags: FileTags | None = None,
) -> None:
    found = AudioFile(
        path=file.text,
        size=file.size,
        mtime_ns=file.mtime_ns,
        decoder=decoders(),
        content_hash=content_hash,
        error=error,
        tags=tags,
    )
    audio_files.save(context.db, found)


def _file_tags(tags: Tags) -> FileTags:
    return FileTags(
        title_key=name_key(tags.title) or None,
        artist_key=name_key(tags.artist) or None,
        isrc=tags.isrc,
        recording_id=tags.recording_id,
        seconds=tags.seconds,
    )


def _outcome(item: Item, file: _File, content: Content, *, is_cached: bool) -> ItemOutcome:
    track_id = item.track_id or f"pcm:{content.content_hash[:32]}"
    result = Result(track_id=track_id, content_hash=content.content_hash, path=file.text, version=content.version)
    return succeeded(result, cached=is_cached)


# From the kernel's words to the store's


def _content(content_hash: str, features: Features, stream: AudioStream) -> Content:
    estimates = {
        one.name: value for one in fields(features) if isinstance(value := getattr(features, one.name), Estimate)
    }
    start, stop = features.provenance.window
    return Content.model_validate(
        {
            "_id": content_id(content_hash, _version(features.provenance.effort)),
            "contentHash": content_hash,
            "features": {
                "duration_ms": features.duration_ms,
                **{name: _number(name, one) for name, one in estimates.items() if name not in EXTRA},
            },
            "extra": {EXTRA[name]: _number(name, one) for name, one in estimates.items() if name in EXTRA},
            "confidence": {_stored_name(name): one.confidence for name, one in estimates.items()},
            "reasons": {_stored_name(name): one.reason for name, one in estimates.items() if one.reason},
            "tags": dict(features.tags),
            "warnings": (*stream.warnings, *features.warnings),
            "provenance": {
                "algorithm": features.provenance.algorithm,
                "version": features.provenance.version,
                "effort": features.provenance.effort,
                "models": [asdict(model) for model in features.provenance.models],
                "decoder": stream.decoder,
                "windowSeconds": round(stop - start, 3),
            },
        }
    )


def _arrays(features: Features) -> dict[str, list[float]]:
    found = {name: getattr(features, ATTRIBUTES.get(name, name)) for name in ARRAYS}
    return {name: array.tolist() for name, array in found.items() if array is not None and len(array)}


def _stored_name(name: str) -> str:
    return EXTRA.get(name, name)


def _number(name: str, estimate: Estimate) -> float | int | None:
    if estimate.value is None:
        return None
    return int(estimate.value) if name in WHOLE_NUMBERS else round(float(estimate.value), 6)
