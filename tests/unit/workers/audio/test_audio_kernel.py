"""Features follow the music: what should not matter does not, what should matter does."""
# mypy: disable-error-code="import-untyped"

from dataclasses import fields
from math import gcd
from pathlib import Path

import numpy as np
import pytest
import soxr

from workers.audio import extractor
from workers.audio.extractor import Extractor, extract
from workers.audio.features import ALGORITHM, VERSION, Effort, Estimate, Features
from workers.audio.instruments import RATE
from workers.audio.synthesis import render_demo
from workers.audio.vector import VECTOR_SIZE
from workers.models.runtime import MODELS_VARIABLE

from .conftest import Floats

_PERCEPTUAL = ("energy", "danceability", "valence", "acousticness")


@pytest.fixture(scope="module")
def plain(music: Floats) -> Features:
    return extract(music, RATE)


def _similarity(one: Features, other: Features) -> float:
    assert one.vector is not None
    assert other.vector is not None
    return float(one.vector @ other.vector)


def _same_music(one: Features, other: Features) -> None:
    assert other.tempo.value == pytest.approx(one.tempo.value, rel=0.005)
    assert (other.key.value, other.mode.value) == (one.key.value, one.mode.value)
    assert other.time_signature.value == one.time_signature.value


def _sine(frequency: float, seconds: float = 8.0) -> Floats:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def _noise(seconds: float = 8.0) -> Floats:
    return np.random.default_rng(5).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def _estimates(features: Features) -> dict[str, Estimate]:
    values = {field.name: getattr(features, field.name) for field in fields(features)}
    return {name: value for name, value in values.items() if isinstance(value, Estimate)}


def test_music_has_a_value_or_a_reason_for_every_feature(plain: Features) -> None:
    for name, estimate in _estimates(plain).items():
        assert (estimate.value is None) == (estimate.reason is not None), name
        assert 0 <= estimate.confidence <= 1
    for name in _PERCEPTUAL:
        value = getattr(plain, name).value
        assert value is not None
        assert 0 <= value <= 1


@pytest.mark.parametrize("name", ["instrumentalness", "speechiness"])
def test_what_needs_a_trained_model_is_not_guessed_without_it(music: Floats, plain: Features, name: str) -> None:
    without = extract(music, RATE, Effort.STANDARD)
    assert getattr(without, name) == Estimate(value=None, confidence=0, reason="needs_full_effort")
    assert getattr(plain, name).value is not None


def test_no_model_hears_an_audience(plain: Features) -> None:
    assert plain.liveness == Estimate(value=None, confidence=0, reason="no_reliable_model")


def test_full_effort_without_its_models_is_standard(
    music: Floats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    features = extract(music, RATE)
    assert (features.provenance.effort, features.provenance.models) == (Effort.STANDARD, ())
    assert features.speechiness.reason == "needs_full_effort"


def test_provenance_names_the_algorithms_and_the_window(plain: Features) -> None:
    provenance = plain.provenance
    assert (provenance.algorithm, provenance.version, provenance.effort) == (ALGORITHM, VERSION, Effort.FULL)
    assert {model.algorithm for model in provenance.models} == {"silero-vad", "musicnn-mtt"}
    assert provenance.window == pytest.approx((0, 12), abs=0.1)
    assert plain.duration_ms == 12_000


def test_quick_effort_hears_the_central_minute_and_measures_all(music: Floats) -> None:
    long = np.concatenate((_quiet_noise(40), np.tile(music, (6, 1)), _quiet_noise(40)))
    features = extract(long, RATE, Effort.QUICK)
    assert features.provenance.window == pytest.approx((46, 106), abs=0.5)
    assert features.duration_ms == 152_000
    assert features.tempo.value == pytest.approx(140, rel=0.01)


def _quiet_noise(seconds: int) -> Floats:
    return 0.1 * np.column_stack((_noise(seconds), _noise(seconds)))


def test_channels_of_opposite_polarity_do_not_cancel_the_music(music: Floats, plain: Features) -> None:
    left = music[:, 0]
    features = extract(np.column_stack((left, -left)), RATE)
    assert features.warnings == ("opposite_polarity",)
    _same_music(plain, features)
    assert plain.warnings == ()


def test_the_vector_has_unit_length_and_its_stated_size(plain: Features) -> None:
    assert plain.vector is not None
    assert plain.vector.shape == (VECTOR_SIZE,)
    assert plain.vector.dtype == np.float32
    assert np.linalg.norm(plain.vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("gain", [0.01, 0.3, 1.2])
def test_gain_changes_loudness_and_nothing_musical(music: Floats, plain: Features, gain: float) -> None:
    louder = extract(music * np.float32(gain), RATE)

    _same_music(plain, louder)
    assert louder.danceability.value == pytest.approx(plain.danceability.value, abs=0.01)
    assert _similarity(plain, louder) > 0.9999


def test_a_constant_offset_does_not_matter(music: Floats, plain: Features) -> None:
    shifted = extract(music + np.float32(0.3), RATE)

    _same_music(plain, shifted)
    assert _similarity(plain, shifted) > 0.999
    assert extract(np.full((5 * RATE, 2), 0.3, np.float32), RATE).tempo.value is None


def test_a_mono_mixdown_has_the_same_music(music: Floats, plain: Features) -> None:
    mono = extract(music.mean(axis=1), RATE)

    _same_music(plain, mono)
    assert _similarity(plain, mono) > 0.9999


@pytest.mark.parametrize("rate", [16000, 22050, 32000, 48000, 96000])
def test_the_sample_rate_does_not_matter(music: Floats, plain: Features, rate: int) -> None:
    assert gcd(rate, RATE) > 1
    other = extract(soxr.resample(music, RATE, rate), rate)

    _same_music(plain, other)
    assert other.duration_ms == pytest.approx(plain.duration_ms, abs=2)
    assert other.loudness.value == pytest.approx(plain.loudness.value, abs=0.2)
    if rate >= 22050:
        assert _similarity(plain, other) > 0.999


def test_telephone_quality_keeps_tempo_and_key(music: Floats, plain: Features) -> None:
    narrow = extract(soxr.resample(music.mean(axis=1), RATE, 8000), 8000)

    _same_music(plain, narrow)


def test_six_channels_are_mixed_to_the_same_music(music: Floats, plain: Features) -> None:
    surround = np.repeat(music, 3, axis=1)

    _same_music(plain, extract(surround, RATE))


@pytest.mark.parametrize(("before", "after"), [(2.0, 0.0), (0.0, 3.0), (4.0, 4.0)])
def test_silence_around_the_music_does_not_matter(music: Floats, plain: Features, before: float, after: float) -> None:
    quiet = [np.zeros((int(seconds * RATE), 2), np.float32) for seconds in (before, after)]

    padded = extract(np.concatenate((quiet[0], music, quiet[1])), RATE)

    _same_music(plain, padded)
    assert _similarity(plain, padded) > 0.999
    assert padded.provenance.window[0] == pytest.approx(before, abs=0.1)
    distances = np.abs(padded.beats[:, None] - (plain.beats + np.float32(before))).min(axis=1)
    assert np.mean(distances < 0.03) > 0.95
    assert len(padded.beats) == pytest.approx(len(plain.beats), abs=1)
    assert padded.tempo_curve == pytest.approx(plain.tempo_curve, rel=0.01)
    assert padded.duration_ms == plain.duration_ms + 1000 * (before + after)


@pytest.mark.parametrize("semitones", [-5, -3, -1, 1, 2, 3, 4, 6])
@pytest.mark.parametrize(("title", "key", "mode"), [("orchard", 5, 1), ("embers", 9, 0)])
def test_transposing_the_music_moves_the_key(title: str, key: int, mode: int, semitones: int) -> None:
    moved = extract(render_demo(title, transpose=semitones, seconds=10), RATE)

    assert (moved.key.value, moved.mode.value) == ((key + semitones) % 12, mode)


@pytest.mark.parametrize("cents", [-30, 30])
def test_a_detuned_recording_keeps_its_key(music: Floats, plain: Features, cents: int) -> None:
    # played faster or slower, as from a tape
    detuned = extract(music, round(RATE * 2 ** (cents / 1200)))

    assert (detuned.key.value, detuned.mode.value) == (plain.key.value, plain.mode.value)


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.2])
def test_playing_faster_scales_the_tempo(speed: float) -> None:
    features = extract(render_demo("harbour", speed=speed, seconds=12), RATE)

    assert features.tempo.value == pytest.approx(120 * speed, rel=0.01)
    assert features.tempo_curve == pytest.approx(120 * speed, rel=0.01)


def test_similar_pieces_are_nearer_than_different_ones(plain: Features) -> None:
    transposed = extract(render_demo("turnpike", transpose=2, seconds=12), RATE)
    other = extract(render_demo("embers", seconds=12), RATE)

    assert _similarity(plain, transposed) > _similarity(plain, other)


def test_faster_louder_music_has_more_energy() -> None:
    lively = extract(render_demo("skyline", seconds=10), RATE)
    calm = extract(render_demo("lighthouse", seconds=10) * np.float32(0.3), RATE)

    assert lively.energy.value is not None
    assert calm.energy.value is not None
    assert lively.energy.value > calm.energy.value + 0.1
    assert (lively.valence.value or 0) > (calm.valence.value or 1)
    assert (lively.acousticness.value or 1) < (calm.acousticness.value or 0)


def test_a_steady_chord_has_a_key_but_no_tempo_hence_no_mood() -> None:
    tones = (261.63, 329.63, 392.0, 523.25, 293.66, 493.88)
    chord = np.sum([_sine(frequency) for frequency in tones], axis=0) * 0.2

    features = extract(chord, RATE)

    assert features.key.value is not None
    assert features.valence == Estimate.missing("needs_tempo_and_mode")


def test_silence_has_reasons_and_no_values() -> None:
    silent = extract(np.zeros((5 * RATE, 2), np.float32), RATE)

    assert silent.vector is None
    assert silent.duration_ms == 5000
    reasons = {name: estimate.reason for name, estimate in _estimates(silent).items()}
    assert {reasons[name] for name in ("tempo", "key", "mode", "loudness", "energy", "valence")} == {"silence"}
    assert {reasons[name] for name in ("instrumentalness", "speechiness")} == {"silence"}


def test_what_is_too_quiet_to_have_a_loudness_has_no_energy_either(music: Floats) -> None:
    faint = extract(music * np.float32(1.5e-4 / music.std()), RATE)

    assert faint.loudness.value is None
    assert faint.energy == Estimate(value=None, confidence=0, reason=faint.loudness.reason)
    assert faint.tempo.value is not None


@pytest.mark.parametrize("seconds", [0.0, 0.02, 0.2, 2.5])
def test_a_clip_too_short_for_music_has_only_physical_measures(music: Floats, seconds: float) -> None:
    clip = extract(music[: int(seconds * RATE)], RATE)

    assert clip.tempo.value is None
    assert clip.key.value is None
    assert clip.tempo.reason == ("silence" if seconds == 0 else "too_short")
    assert clip.duration_ms == round(seconds * 1000)


@pytest.mark.parametrize(
    ("signal", "tempo_reason", "key_reason"),
    [
        (_noise(4), "no_onsets", "no_pitch"),
        (_noise(20), "no_onsets", "no_pitch"),
        (_sine(440), "no_onsets", "too_few_pitches"),
        (_sine(110) + _sine(110.5), "no_onsets", "too_few_pitches"),
    ],
    ids=["short_noise", "noise", "tone", "beating_tones"],
)
def test_noise_and_tones_have_neither_tempo_nor_key(signal: Floats, tempo_reason: str, key_reason: str) -> None:
    features = extract(signal, RATE)

    assert (features.tempo.value, features.tempo.reason) == (None, tempo_reason)
    assert (features.key.value, features.key.reason) == (None, key_reason)
    assert features.beats.size == features.tempo_curve.size == 0
    assert features.loudness.value is not None


def test_clicks_at_random_times_have_no_tempo() -> None:
    chance = np.random.default_rng(8)
    clicks = np.zeros(20 * RATE, np.float32)
    clicks[chance.integers(0, len(clicks), 60)] = 0.9

    assert extract(clicks, RATE).tempo.reason == "no_regular_pulse"


def test_notes_at_random_have_no_key() -> None:
    chance = np.random.default_rng(4)
    notes = [_sine(220 * 2 ** (step / 12), 0.25) for step in chance.permutation(np.repeat(np.arange(12), 4))]

    assert extract(np.concatenate(notes), RATE).key.reason == "ambiguous"


@pytest.mark.parametrize("tempo", [70, 100, 128, 170])
def test_a_metronome_is_followed_exactly(tempo: int) -> None:
    clicks = np.zeros(16 * RATE, np.float32)
    for start in (np.arange(0, 16, 60 / tempo) * RATE).astype(int):
        clicks[start : start + 400] = np.sin(np.arange(400) * 0.2)[: len(clicks) - start]

    features = extract(clicks, RATE)

    assert features.tempo.value == pytest.approx(tempo, rel=0.01)
    assert np.diff(features.beats) == pytest.approx(60 / tempo, abs=0.05)


def test_pushing_in_blocks_equals_one_piece(music: Floats, plain: Features) -> None:
    kernel = Extractor(RATE, 2)
    for start in range(0, len(music), 5000):
        kernel.push(music[start : start + 5000])

    streamed = kernel.finish()

    _same_music(plain, streamed)
    assert streamed.loudness == plain.loudness
    assert _similarity(plain, streamed) > 0.99999


def test_long_recordings_are_analysed_up_to_the_limit_but_measured_whole(
    music: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor, "ANALYSED_SECONDS", 5.0)
    louder_end = np.concatenate((music * np.float32(0.1), music))

    features = extract(louder_end, RATE)

    assert features.provenance.window == pytest.approx((0, 5), abs=0.1)
    assert features.duration_ms == 24_000
    # the loud second half lies outside the window, yet leads the loudness
    assert features.loudness.value == pytest.approx(extract(music, RATE).loudness.value, abs=1)


def test_the_input_is_left_untouched(music: Floats) -> None:
    before = soxr.resample(music, RATE, 22050).astype(np.float32)
    copy = before.copy()

    extract(before[:, :1], 22050)

    assert np.array_equal(before, copy)
