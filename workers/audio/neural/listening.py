"""What the trained models hear in a recording, together."""

from dataclasses import dataclass

from workers.audio.features import ModelUse
from workers.audio.neural import speech, tags
from workers.audio.neural.speech import Speech
from workers.audio.neural.tags import Tags
from workers.audio.spectrum import Floats
from workers.models.runtime import is_installed

MODELS = (
    ModelUse(algorithm="silero-vad", version="6.2.3", features=("speechiness", "instrumentalness")),
    ModelUse(
        algorithm="musicnn-mtt",
        version="0.1.0",
        features=("instrumentalness", "acousticness", "valence", "danceability"),
    ),
)
"""The models and what each of them shapes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """The models' opinions of one recording."""

    speech: Speech
    tags: Tags


def is_ready() -> bool:
    """Return whether all models are installed."""
    return is_installed(speech.MODEL) and is_installed(tags.MODEL)


def listen(mono: Floats) -> Heard:
    """Return what the models hear in samples of unit RMS, shape (samples,), at the kernel's rate.

    Raises:
        ModelMissing: if they are not installed.
    """
    return Heard(speech=speech.measure(mono), tags=tags.tag(mono))
