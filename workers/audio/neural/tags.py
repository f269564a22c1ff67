"""What a network trained on listeners' tags hears in a recording, and what that says about voices, sound and mood.

The fifty tags are those of MagnaTagATune (E. Law et al., "Evaluation of algorithms using games: the case of music
tagging", ISMIR 2009); where weights and paper come from, `musicnn` says. Of the two published vocabularies this is
the one with nine words for voices and three for their absence, and the one that tells strings from synthesisers:
the other, fifty Last.fm tags, calls orchestras and electronic music alike "electronic" and "ambient".
"""

from dataclasses import dataclass

import numpy as np

from workers.audio.neural import excerpts
from workers.audio.neural.mel import PATCH_SAMPLES, log_mel
from workers.audio.spectrum import Floats
from workers.models.runtime import open_model

MODEL = "musicnn_mtt.onnx"

PATCHES = 5  # of three seconds: twenty move a tag by 0.01 on average

# RMS of the recording, -14 dBFS: mono mixes of mastered music lie at -14 dBFS in the median, -19 to -10 dBFS for most,
# and the tags there come closest to those at the recordings' own levels.
_LEVEL = 0.2

# In the order of the network's output.
# fmt: off
VOCABULARY = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano",
    "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing",
    "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop",
    "soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice",
    "female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice", "choral",
)
# fmt: on


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tags:
    """The network's opinion of one recording, the mean over its patches."""

    # 0..1 in the order of VOCABULARY, shape (50,); independent of one another, and seldom above 0.5
    probabilities: Floats
    # the layer below the tags, shape (200,): near in angle where tags and sound are alike
    embedding: Floats
    # how many stretches of three seconds were heard
    patches: int

    def __getitem__(self, tag: str) -> float:
        """Return the probability of one tag of the vocabulary."""
        return float(self.probabilities[VOCABULARY.index(tag)])

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Return the likeliest tags with their probabilities, the likeliest first."""
        order = np.argsort(self.probabilities)[::-1][:count]
        return [(VOCABULARY[index], float(self.probabilities[index])) for index in order]


def tag(mono: Floats, *, patches: int = PATCHES) -> Tags:
    """Tag a recording by up to `patches` stretches of three seconds, evenly spread.

    Args:
        mono: samples of unit RMS, shape (samples,), at the kernel's rate.
        patches: how many stretches at most; a recording of less than three seconds is padded with silence.

    Raises:
        ModelMissing: if the model's file is not where the build puts it.
    """
    heard = excerpts.excerpts(mono, count=patches, seconds=PATCH_SAMPLES / excerpts.MODEL_RATE)
    heard *= np.float32(_LEVEL / excerpts.LEVEL)
    spectrograms = [log_mel(patch) for patch in heard]
    model = open_model(MODEL)
    # One at a time: a batch takes a third longer and five times the memory.
    answers = [model.run(["probabilities", "embedding"], {"patches": patch[None]}) for patch in spectrograms]
    probabilities, embedding = (np.mean(np.concatenate(part), axis=0) for part in zip(*answers, strict=True))
    return Tags(probabilities=probabilities, embedding=embedding, patches=len(heard))
