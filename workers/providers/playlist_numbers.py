"""What the tracks of a playlist sound like together: figures, distributions, and what they mean in words.

The thresholds are those of EchoTune's script, whose users know what it says. Kernels: documents in, documents out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.model import Json

FEATURES = (
    *("danceability", "energy", "speechiness", "acousticness", "instrumentalness", "liveness", "valence"),
    *("tempo", "loudness"),
)
SHARES = FEATURES[:7]
"""Those of 0 to 1, which a radar shows."""
KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
MODES = ("minor", "major")
DIGITS = 4
VARIED_TEMPO = 30.0
"""Beats per minute of standard deviation above which neighbours hardly fit."""
FEW_ARTISTS = 0.3
"""Of the tracks; below that a few artists make up the most."""
NARROW = 0.2
"""A range of energy in which nothing rises or falls."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What is known of a track besides its sound."""

    artists: tuple[str, ...] = ()
    duration_ms: int | None = None
    popularity: int | None = None


def analyse(ids: Sequence[str], sounds: Mapping[str, Json], names: Mapping[str, Named], *, advise: bool) -> Json:
    """Return what there is to say of the tracks at the places of a playlist; one that stands twice counts twice.

    Args:
        ids: the track at each place.
        sounds: features by track id, as far as anybody knows them.
        names: artists, length (ms) and popularity (0 to 100) by track id, as far as they are known.
        advise: whether to say what could be made of it.
    """
    known = [sounds[one] for one in ids if one in sounds]
    found: Json = {
        "basic_stats": basic_stats(ids, sounds, names),
        "audio_analysis": {name: figures for name in FEATURES if (figures := spread(_values(known, name)))},
        "coverage": {name: len(_values(known, name)) for name in FEATURES},
        "key_distribution": _named(known, "key", lambda key: KEYS[key]),
        "mode_distribution": _named(known, "mode", lambda mode: MODES[mode]),
        "time_signature_distribution": _named(known, "time_signature", lambda beats: f"{beats}/4"),
    }
    found["insights"] = insights(found)
    found["recommendations"] = recommendations(found) if advise else []
    return found


def basic_stats(ids: Sequence[str], sounds: Mapping[str, Json], names: Mapping[str, Named]) -> Json:
    """Return tracks, length, popularity and artists; null is what nobody has told."""
    told = [names.get(one, Named()) for one in ids]
    lengths = [
        one.duration_ms or sounds.get(track, {}).get("duration_ms") for track, one in zip(ids, told, strict=True)
    ]
    known_lengths = [length for length in lengths if length is not None]
    popularity = [one.popularity for one in told if one.popularity is not None]
    artists = {artist for one in told for artist in one.artists}
    return {
        "total_tracks": len(ids),
        "unique_tracks": len(set(ids)),
        "tracks_with_features": sum(1 for one in ids if one in sounds),
        "total_duration_ms": sum(known_lengths) if known_lengths else None,
        "tracks_with_duration": len(known_lengths),
        "avg_popularity": round(float(np.mean(popularity)), 1) if popularity else None,
        "unique_artists": len(artists) if artists else None,
    }


def spread(values: Sequence[float]) -> Json:
    """Return mean, median, standard deviation (of the whole, not of a sample), least, most and range."""
    if not values:
        return {}
    array = np.asarray(values, dtype=np.float64)
    found = {
        "mean": array.mean(),
        "median": np.median(array),
        "std": array.std(),
        "min": array.min(),
        "max": array.max(),
        "range": np.ptp(array),
    }
    return {name: round(float(value), DIGITS) for name, value in found.items()}


def _values(known: Sequence[Json], name: str) -> list[float]:
    return [float(value) for one in known if (value := one.get(name)) is not None]


def _named(known: Sequence[Json], field: str, name: Callable[[int], str]) -> Json:
    counts = Counter(int(value) for one in known if (value := one.get(field)) is not None)
    return {name(value): count for value, count in sorted(counts.items())}


Means = Mapping[str, float]
INSIGHTS: tuple[tuple[Callable[[Means], bool], tuple[str, ...], str], ...] = (
    (
        lambda mean: mean["energy"] > 0.7 and mean["valence"] > 0.7,
        ("energy", "valence"),
        "High energy and a positive mood: good for a workout or a party.",
    ),
    (
        lambda mean: mean["energy"] < 0.4 and mean["valence"] < 0.4,
        ("energy", "valence"),
        "Low energy and a low mood: a melancholic playlist.",
    ),
    (
        lambda mean: mean["energy"] > 0.6 and mean["valence"] < 0.4,
        ("energy", "valence"),
        "High energy with a dark mood: an intense playlist.",
    ),
    (
        lambda mean: mean["energy"] < 0.5 and mean["valence"] > 0.6,
        ("energy", "valence"),
        "Calm and positive: good to relax by.",
    ),
    (lambda mean: mean["danceability"] > 0.8, ("danceability",), "Very danceable."),
    (lambda mean: mean["danceability"] < 0.3, ("danceability",), "Hardly danceable: music to listen to."),
    (lambda mean: mean["acousticness"] > 0.7, ("acousticness",), "Mostly acoustic."),
    (lambda mean: mean["acousticness"] < 0.2, ("acousticness",), "Mostly electric or electronic."),
)
MANY_KEYS, FEW_KEYS = 8, 4


def insights(found: Json) -> list[str]:
    """Return in words what the figures mean."""
    mean = {name: figures["mean"] for name, figures in found["audio_analysis"].items()}
    said = [text for holds, needs, text in INSIGHTS if mean.keys() >= set(needs) and holds(mean)]
    keys = len(found["key_distribution"])
    if keys > MANY_KEYS:
        said.append(f"Harmonically varied: {keys} different keys.")
    elif 0 < keys < FEW_KEYS:
        said.append(f"Harmonically uniform: {keys} different {'key' if keys == 1 else 'keys'}.")
    return said


def recommendations(found: Json) -> list[str]:
    """Return in words what could be made of the playlist."""
    basic, sound = found["basic_stats"], found["audio_analysis"]
    total, unique, artists = basic["total_tracks"], basic["unique_tracks"], basic["unique_artists"]
    energy, tempo = sound.get("energy"), sound.get("tempo")
    said = []
    if unique < total:
        said.append(f"Take out what stands there more than once: {total - unique} of {total} places.")
    if tempo and tempo["std"] > VARIED_TEMPO:
        said.append(f"Order it by tempo ({tempo['min']:.0f} to {tempo['max']:.0f} BPM), so that neighbours fit.")
    if energy and total > 2 and energy["range"] < NARROW:
        said.append("All of it has about the same energy: some calmer or livelier tracks would give it a curve.")
    elif energy and energy["range"] > 2 * NARROW:
        said.append("Its energy has room for a curve: let it rise, and fall towards the end.")
    if artists is not None and total > 2 and artists < FEW_ARTISTS * unique:
        said.append(f"A few artists make up the most of it ({artists} in {unique} tracks): others would widen it.")
    if basic["tracks_with_features"] < total:
        said.append(f"Of {total - basic['tracks_with_features']} places nobody knows the sound: analyse their files.")
    return said


def radar_values(found: Json) -> list[tuple[str, float]]:
    """Return the mean of each share that is known."""
    sound: Mapping[str, Any] = found["audio_analysis"]
    return [(name, float(sound[name]["mean"])) for name in SHARES if name in sound]
