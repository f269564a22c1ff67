"""Arrange public scores and game music as MIDI files of known tempo, key, mode and metre.

Stands alone: it runs in the throw-away environment that has music21 and mido, not in the project's.
Usage: compose.py FOLDER [WAD ...]: writes FOLDER/*.mid and prints one JSON object a line, the truth of each.
       compose.py --training FOLDER: what models may be fitted to besides the tuned half: its scores arranged anew,
       and scores that the corpus leaves out.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import cmath
import hashlib
import json
import random
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import mido
from music21 import corpus, key, meter, stream

SECONDS = 100.0
TICKS = 480
DRUM_CHANNEL = 9
# How closely notes keep to sixteenths, 0..1: below, the music was played without regard to the tempo that its file
# states. Of the 64 lumps ten lie below 0.04, all others above 0.5.
ON_GRID = 0.3

# What is taken from the corpus: folder, how many, how the pieces are played.
CHORALES, TUNES, CHAMBER = "bach", "ryansMammoth", "chamber"
CHAMBER_FOLDERS = (
    *("opus18no1", "opus18no3", "opus1no1", "opus41no1", "opus59no1", "opus59no2", "opus59no3", "opus74no1", "k80"),
    *("k155", "k156", "k458", "k545", "schumann_clara", "schumann_robert", "opus19", "opus17", "beach", "chopin"),
    *("joplin", "weber", "verdi", "rinaldo", "liliuokalani", "schubert", "johnson_j_r", "cpebach", "haydn"),
    *("beethoven", "oneills1850", "airdsAirs", "leadSheet", "miscFolk", "handel", "corelli"),
)
MOST = {CHORALES: 44, TUNES: 44, CHAMBER: 64}
MORE = {CHORALES: 110, TUNES: 110, CHAMBER: 60}  # for training
VARIANTS = 2  # of a score of the tuned half, for training

# General MIDI programs that sound together, one family a piece.
FAMILIES = (
    (0, 0, 0, 0),  # piano
    (48, 48, 48, 48),  # strings
    (40, 40, 41, 42),  # violin, violin, viola, cello
    (73, 68, 71, 70),  # flute, oboe, clarinet, bassoon
    (56, 56, 60, 58),  # trumpets, horn, tuba
    (19, 19, 19, 19),  # church organ
    (6, 6, 6, 6),  # harpsichord
    (25, 24, 24, 32),  # guitars, acoustic bass
    (4, 4, 4, 33),  # electric piano, electric bass
    (81, 80, 90, 38),  # synthesiser leads, pad, synthesiser bass
    (52, 52, 52, 52),  # choir
    (21, 22, 21, 33),  # accordion, harmonica
    (11, 12, 46, 32),  # vibraphone, marimba, harp
    (29, 30, 27, 34),  # electric guitars, picked bass
)
KICK, SNARE, HAT, OPEN_HAT, RIDE = 36, 38, 42, 46, 51

# Drum patterns: (position in beats within the bar, note, velocity).
Pattern = list[tuple[float, int, int]]
EIGHTHS: Pattern = [(n / 2, HAT, 70) for n in range(8)]
OFF_BEATS: Pattern = [(n + 0.5, OPEN_HAT, 75) for n in range(4)]
RIDDEN: Pattern = [(n, RIDE, 70) for n in range(4)]
FOUR: tuple[Pattern, ...] = (
    [(0, KICK, 110), (1, SNARE, 100), (2, KICK, 105), (3, SNARE, 100), *EIGHTHS],
    [*((n, KICK, 110) for n in range(4)), (1, SNARE, 90), (3, SNARE, 90), *OFF_BEATS],
    [(0, KICK, 110), (1.5, KICK, 90), (2.5, KICK, 90), (1, SNARE, 99), (3, SNARE, 99), *RIDDEN],
)
THREE: tuple[Pattern, ...] = (
    [(0, KICK, 110), (1, HAT, 80), (2, HAT, 80)],
    [(0, KICK, 110), (1, SNARE, 70), (2, SNARE, 75), *((n / 2, RIDE, 60) for n in range(6))],
)
SIX: tuple[Pattern, ...] = ([(0, KICK, 110), (1, SNARE, 95), *((n / 3, HAT, 70) for n in range(6))],)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of one MIDI file."""

    name: str
    source: str
    midi: str
    tempo: float | None = None  # beats a minute
    key: int | None = None  # C = 0
    mode: int | None = None  # 1 major, 0 minor
    metre: int | None = None  # beats a bar
    has_drums: bool = False
    cents: float = 0.0  # above A = 440 Hz


@dataclass(frozen=True, kw_only=True)
class Note:
    start: float  # in quarters
    length: float
    pitch: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A score, reduced to what matters here."""

    name: str
    source: str
    parts: Sequence[Sequence[Note]]
    tonic: int | None
    mode: int | None
    bar: float  # quarters
    beats: int  # in a bar
    first_bar: float  # where the first whole bar begins, in quarters
    beat: float = field(init=False)  # quarters

    def __post_init__(self) -> None:
        object.__setattr__(self, "beat", self.bar / self.beats)


class Unsuitable(Exception):
    """The score leaves open what the truth would be."""


# Reading scores


def pieces() -> Iterator[Piece]:
    """Yield the scores of the corpus, the same ones each time."""
    for source, most in MOST.items():
        yield from islice(_suitable(source), most)


def training_pieces() -> Iterator[Piece]:
    """Yield scores of the tuned half under new names, and so in new arrangements, then scores outside the corpus."""
    for source, most in MOST.items():
        for number, piece in enumerate(islice(_suitable(source), most + MORE[source])):
            if number >= most:
                yield piece
            elif _is_tuned(piece.name):
                yield from (replace(piece, name=f"{piece.name}-v{variant}") for variant in range(VARIANTS))


def _is_tuned(name: str) -> bool:
    """Return whether a piece belongs to the tuned half, as `truth.Truth.half` has it."""
    return not hashlib.sha256(name.encode()).digest()[0] & 1


def _suitable(source: str) -> Iterator[Piece]:
    """Yield every score of a source that leaves nothing open, in an order that looks random."""
    folders = CHAMBER_FOLDERS if source == CHAMBER else (source,)
    paths = sorted(
        path for path in map(Path, corpus.getPaths()) if path.parent.name in folders and path.suffix != ".rntxt"
    )
    random.Random(source).shuffle(paths)
    for path in paths:
        try:
            yield _read(source, path)
        except Exception as error:  # noqa: BLE001  # music21 raises nearly anything on scores that it can't read
            print(f"{path.name}: {error}", file=sys.stderr)


def _read(source: str, path: Path) -> Piece:
    parsed = corpus.parse(path)
    score = parsed.scores[0] if isinstance(parsed, stream.Opus) else parsed
    metres = {one.ratioString for one in score.recurse().getElementsByClass(meter.TimeSignature)}
    if len(metres) != 1:
        raise Unsuitable(f"metres {sorted(metres)}")
    bar, beats = _metre(metres.pop())
    parts = [notes for part in score.parts if (notes := _notes(part))]
    if not parts or max(note.start for part in parts for note in part) < 8 * bar:
        raise Unsuitable("too short")
    tonic, mode = _key(score, parts)
    return Piece(
        name=f"{source}-{path.parent.name}-{path.stem}" if source == CHAMBER else f"{source}-{path.stem}",
        source=source,
        parts=parts,
        tonic=tonic,
        mode=mode,
        bar=bar,
        beats=beats,
        first_bar=_first_bar(score, bar),
    )


def _metre(signature: str) -> tuple[float, int]:
    """Return the bar's length in quarters, and its beats; bars of two beats count as half of four."""
    upper, lower = map(int, signature.split("/"))
    bar = upper * 4 / lower
    if lower >= 8 and upper in (6, 9, 12):
        return bar, upper // 3
    if (upper, lower) in ((2, 4), (4, 4), (2, 2), (3, 4), (3, 8), (3, 2), (4, 2)):
        return bar, {2: 2, 3: 3, 4: 4}[upper]
    raise Unsuitable(f"metre {signature}")


def _notes(part: Any) -> list[Note]:
    found = []
    for element in part.stripTies().flatten().notes:
        if element.quarterLength > 0 and not type(element).__name__.startswith("ChordSymbol"):
            found += [
                Note(start=float(element.offset), length=float(element.quarterLength), pitch=pitch.midi)
                for pitch in element.pitches
            ]
    return found


def _first_bar(score: Any, bar: float) -> float:
    measures = list(score.parts[0].getElementsByClass(stream.Measure))
    if len(measures) < 2:
        return 0.0
    first = float(measures[1].offset - measures[0].offset)
    return first if first < bar - 0.01 else 0.0


def _key(score: Any, parts: Sequence[Sequence[Note]]) -> tuple[int | None, int | None]:
    """Return tonic and mode as the composer wrote them, None where the notation leaves them open.

    The signature allows a major and a minor key; the last bass note decides between them.
    """
    signatures = list(score.parts[0].recurse().getElementsByClass(key.KeySignature))
    if not signatures or len({one.sharps for one in signatures}) != 1:
        return None, None
    major = (7 * signatures[0].sharps) % 12
    minor = (major + 9) % 12
    notes = [note for part in parts for note in part]
    end = max(note.start + note.length for note in notes)
    last = [note.pitch for note in notes if note.start + note.length > end - 0.01]
    bass = min(last) % 12
    if bass == major:
        return major, 1
    return (minor, 0) if bass == minor else (None, None)


# Arranging


def arrange(piece: Piece, folder: Path) -> Truth:
    """Write one arrangement, drawn from the piece's name, and return what is true of it."""
    dice = random.Random(piece.name)
    tempo = round(60 * 2 ** dice.uniform(0.1, 1.55), 1)  # 64 to 176
    transposition = dice.randint(-5, 6)
    cents = dice.choice((0.0, 0.0, -30.0, -15.0, 15.0, 30.0))
    has_drums = dice.random() < (0.25 if piece.source == CHORALES else 0.6)
    family = dice.choice(FAMILIES)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    beat_tempo = mido.bpm2tempo(tempo * piece.beat)  # MIDI counts quarters
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=beat_tempo)]))
    quarters = SECONDS / 60 * tempo * piece.beat
    for number, part in enumerate(_spread(piece, dice)):
        channel = number + (number >= DRUM_CHANNEL)
        program = family[min(number * len(family) // max(1, len(piece.parts)), len(family) - 1)]
        file.tracks.append(_track(part, channel, program, transposition, cents, quarters, dice))
    if has_drums:
        file.tracks.append(_drums(piece, quarters, dice))
    path = folder / f"{piece.name}.mid"
    file.save(path)
    metre = {2: 4, 4: 4, 3: 3}[piece.beats] if piece.bar / piece.beats != 1.5 else None
    return Truth(
        name=piece.name,
        source=piece.source,
        midi=str(path),
        tempo=tempo,
        key=None if piece.tonic is None else (piece.tonic + transposition) % 12,
        mode=piece.mode,
        metre=metre,
        has_drums=has_drums,
        cents=cents,
    )


def _spread(piece: Piece, dice: random.Random) -> list[list[Note]]:
    """Return up to eight parts; a lone melody gets its lower octave half of the time."""
    parts = [list(part) for part in piece.parts[:8]]
    if len(parts) == 1 and dice.random() < 0.5:
        parts.append([Note(start=one.start, length=one.length, pitch=one.pitch - 12) for one in parts[0]])
    return parts


def _track(
    notes: Iterable[Note],
    channel: int,
    program: int,
    transposition: int,
    cents: float,
    quarters: float,
    dice: random.Random,
) -> mido.MidiTrack:
    fine = round(8192 * (1 + cents / 100))
    start = [
        mido.Message("program_change", channel=channel, program=program),
        *(
            mido.Message("control_change", channel=channel, control=control, value=value)
            for control, value in ((101, 0), (100, 1), (6, fine >> 7), (38, fine & 127))
        ),
    ]
    sounding = []
    for note in notes:
        if note.start < quarters:
            pitch = min(max(note.pitch + transposition, 21), 108)
            begin = note.start * TICKS + dice.gauss(0, TICKS * 0.008)
            sounding.append((begin, begin + 0.92 * note.length * TICKS, pitch, dice.randint(70, 105)))
    return _in_time(start, sounding, channel)


def _drums(piece: Piece, quarters: float, dice: random.Random) -> mido.MidiTrack:
    if piece.beat == 1.5:
        pattern, beats = dice.choice(SIX), 2
    elif piece.beats == 3:
        pattern, beats = dice.choice(THREE), 3
    else:
        pattern, beats = dice.choice(FOUR), 4
    sounding = []
    bars = int((quarters - piece.first_bar) / (beats * piece.beat))
    for bar in range(bars):
        for position, note, velocity in pattern:
            begin = (piece.first_bar + (bar * beats + position) * piece.beat) * TICKS
            sounding.append((begin, begin + TICKS / 8, note, velocity + dice.randint(-10, 10)))
    return _in_time([], sounding, DRUM_CHANNEL)


def _in_time(
    start: list[mido.Message], sounding: Iterable[tuple[float, float, int, int]], channel: int
) -> mido.MidiTrack:
    events = []
    for begin, end, note, velocity in sounding:
        events.append((max(0, round(begin)), 1, note, velocity))
        events.append((max(1, round(end)), 0, note, 0))
    track, clock = mido.MidiTrack(start), 0
    for moment, is_on, note, velocity in sorted(events):
        kind = "note_on" if is_on else "note_off"
        track.append(mido.Message(kind, channel=channel, note=note, velocity=velocity, time=moment - clock))
        clock = moment
    return track


# Game music


def lumps(wad: Path, folder: Path) -> Iterator[Truth]:
    """Write the MIDI lumps of a WAD file that keep one tempo, and yield what is true of them."""
    content = wad.read_bytes()
    count, directory = struct.unpack("<ii", content[4:12])
    for number in range(count):
        start, size, raw = struct.unpack("<ii8s", content[directory + 16 * number : directory + 16 * number + 16])
        name, data = raw.rstrip(b"\0").decode("ascii", "replace"), content[start : start + size]
        if name.startswith("D_") and data.startswith(b"MThd"):
            truth = _lump(f"{wad.stem}-{name[2:].lower()}", data, folder)
            if truth is not None:
                yield truth


def _lump(name: str, data: bytes, folder: Path) -> Truth | None:
    try:
        file = mido.MidiFile(file=BytesIO(data), clip=True)
    except (OSError, ValueError, EOFError, IndexError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return None
    tempo, metre, has_drums = _steady(file)
    if tempo is None or _concentration(file) < ON_GRID:
        return None
    path = folder / f"{name}.mid"
    path.write_bytes(data)
    return Truth(name=name, source="freedoom", midi=str(path), tempo=round(tempo, 2), metre=metre, has_drums=has_drums)


def _concentration(file: mido.MidiFile) -> float:
    """Return the length of the mean of all onsets as points on a circle, once round a sixteenth."""
    points = []
    for track in file.tracks:
        clock = 0
        for message in track:
            clock += message.time
            if message.type == "note_on" and message.velocity:
                points.append(cmath.exp(2j * cmath.pi * clock / (file.ticks_per_beat / 4)))
    return abs(sum(points)) / max(1, len(points))


def _steady(file: mido.MidiFile) -> tuple[float | None, int | None, bool]:
    """Return the tempo and the metre of the first SECONDS as far as they do not change."""
    clock, tempo, since = 0.0, 500000, 0.0
    seconds: dict[int, float] = defaultdict(float)
    metres, has_drums, first_note = Counter[tuple[int, int]](), False, None
    for message in file:
        clock += message.time
        if clock > SECONDS:
            break
        if message.type == "set_tempo":
            seconds[tempo] += clock - since
            tempo, since = message.tempo, clock
        elif message.type == "time_signature":
            metres[(message.numerator, message.denominator)] += 1
        elif message.type == "note_on" and message.velocity:
            first_note = clock if first_note is None else first_note
            has_drums = has_drums or message.channel == DRUM_CHANNEL
    seconds[tempo] += clock - since
    commonest, lasted = max(seconds.items(), key=lambda one: one[1])
    if clock < 20 or first_note is None or lasted < 0.97 * clock:
        return None, None, has_drums
    bpm = mido.tempo2bpm(commonest)
    metre = {(4, 4): 4, (3, 4): 3, (2, 4): 4}.get(next(iter(metres))) if len(metres) == 1 else None
    return (bpm if 40 <= bpm <= 240 else None), metre, has_drums


def main(arguments: Sequence[str]) -> None:
    """Write all and print the truths."""
    is_training = arguments[0] == "--training"
    folder, *wads = map(Path, arguments[is_training:])
    folder.mkdir(parents=True, exist_ok=True)
    arranged = (arrange(piece, folder) for piece in (training_pieces() if is_training else pieces()))
    for truth in chain(arranged, *(lumps(wad, folder) for wad in wads)):
        print(json.dumps(asdict(truth)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
