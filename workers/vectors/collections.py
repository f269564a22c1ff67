"""The two collections that are searched: what a catalogue lists, and the tracks that were analysed."""

from workers.vectors.schema import Field, Kind, Schema, Space

TEXT = "text"
"""The space of what is said about an entry: the vectors of an `Embedder`."""
AUDIO = "audio"
"""The space of how a track sounds: the similarity vectors of the audio kernel."""
AUDIO_DIMENSIONS = 106

USER = "user"
TRACK = "track"
FEATURES = (
    *("tempo", "energy", "valence", "danceability", "acousticness", "instrumentalness", "speechiness", "loudness"),
    *("key", "mode"),
)
"""The columns of a track that say how it sounds, under the names of its document."""

_NAME = Field(weight=3, corrects_typos=True)
_OTHER_NAME = Field(weight=2, corrects_typos=True)
_PLAIN = Field(weight=1)


def catalogue_schema(text_dimensions: int) -> Schema:
    """Return the form of the entries of a catalogue; an entry's id is its own."""
    labels = ("type", "status", "season", "tags", "studios", "artists", "catalogue", "form")
    numbers = ("year", "episodes", "score", "quality", "duration")
    return Schema(
        spaces={TEXT: Space(dimensions=text_dimensions)},
        columns={**dict.fromkeys(labels, Kind.LABELS), **dict.fromkeys(numbers, Kind.NUMBER)},
        fields={
            "title": _NAME,
            "synonyms": _OTHER_NAME,
            "artists": _OTHER_NAME,
            "album": _PLAIN,
            "studios": _PLAIN,
            "tags": _PLAIN,
        },
    )


def tracks_schema(text_dimensions: int) -> Schema:
    """Return the form of the tracks of all users of an owner; two users may have the same track."""
    labels = (USER, TRACK, "tags", "artists")
    return Schema(
        spaces={
            AUDIO: Space(dimensions=AUDIO_DIMENSIONS, is_standardised=True),
            TEXT: Space(dimensions=text_dimensions),
        },
        columns={**dict.fromkeys(labels, Kind.LABELS), **dict.fromkeys((*FEATURES, "duration"), Kind.NUMBER)},
        fields={"title": _NAME, "artists": _OTHER_NAME, "album": _PLAIN, "tags": _PLAIN},
    )
