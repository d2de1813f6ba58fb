"""The MFCC front end: librosa's numbers, whole or in slices."""

import numpy as np
import pytest

from callmood.features import FrontEnd, normalize


@pytest.fixture
def noise() -> np.ndarray:
    """Seventy seconds, longer than one block of the front end."""
    return np.random.default_rng(0).normal(0.0, 0.1, 70 * 8000).astype(np.float32)


def test_mfcc_are_librosas(noise: np.ndarray) -> None:
    import librosa

    mel = librosa.feature.melspectrogram(
        y=noise, sr=8000, n_fft=256, hop_length=100, n_mels=40, fmin=50, fmax=4000, pad_mode="constant"
    )
    level_db = librosa.power_to_db(mel, amin=1e-8, top_db=None)
    expected = librosa.feature.mfcc(S=level_db, n_mfcc=40).T

    assert FrontEnd().mfcc(noise) == pytest.approx(expected, abs=1e-3)


def test_a_turn_cut_from_the_channel_has_the_numbers_of_the_turn_alone(noise: np.ndarray) -> None:
    front_end = FrontEnd()
    first, last = front_end.frame_span(10.0, 12.0)
    channel = front_end.mfcc(noise)[first:last]
    alone = front_end.mfcc(noise[80_000:96_000])

    assert len(channel) == 160
    # Frames at the cut reach beyond it; all others are the same.
    assert channel[2:159] == pytest.approx(alone[2:159], abs=1e-3)


def test_training_and_inference_compute_the_same_frames(tmp_path, noise: np.ndarray) -> None:
    import soundfile

    from training.corpora import Clip, load_clip

    soundfile.write(tmp_path / "clip.wav", noise[:16_000], 8000, subtype="FLOAT")
    clip = Clip(file="clip.wav", path=tmp_path / "clip.wav", corpus="c", speaker="s", emotion="happy")

    trained_on = FrontEnd().mfcc(load_clip(clip, rate_hz=8000))

    assert trained_on == pytest.approx(FrontEnd().mfcc(noise[:16_000]), abs=1e-4)


def test_frame_span_holds_the_centres_inside() -> None:
    # 80 frames a second: frame i is centred on i / 80 s.
    assert FrontEnd().frame_span(0.5, 1.0) == (40, 80)
    assert FrontEnd().frame_span(0.501, 0.502) == (41, 41)


def test_digital_silence_is_at_the_floor() -> None:
    mfcc = FrontEnd().mfcc(np.zeros(8000, dtype=np.float32))

    # 40 bands of -80 dB; the orthonormal DCT makes C0 = sqrt(40) * -80 and all else 0.
    assert mfcc[:, 0] == pytest.approx(np.full(81, -80.0 * np.sqrt(40)), rel=1e-5)
    assert mfcc[:, 1:] == pytest.approx(np.zeros((81, 39)), abs=1e-3)


def test_normalize_takes_mean_and_deviation_of_the_reference() -> None:
    reference = np.array([[0.0, 10.0], [4.0, 30.0]], dtype=np.float32)

    # Relative to mean (2, 20) and deviation (2, 10); then as it is, but for the mean of C0.
    assert normalize(np.array([[6.0, 25.0]], dtype=np.float32), reference) == pytest.approx(
        np.array([[2.0, 0.5, 4.0, 25.0]])
    )
