"""What tells that two speak at once: its simulated calls, its training, and that it is one file with CAM++."""

from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
import pytest

from callmood.diarize.campplus import BANDS
from callmood.diarize.onnx_session import onnx_session
from callmood.model_files import CAMPPLUS, models_folder, verified
from callmood.types import Floats
from training import overlap
from training.augment import Acoustics
from training.corpora import Clip
from training.export import record
from training.overlap import CHANNELS, HEARD, Recipe, Talk, fit, hearing, joined, listen, simulate

TINY = replace(
    Recipe(), call_s=20.0, epochs=8, batch=4, chunk=30, channels=16, dropout=0.0, learning_rate=1e-2
)


def vowel(pitch_hz: float, seconds: float) -> Floats:
    t = np.arange(int(8000 * seconds)) / 8000
    return (
        np.asarray(sum(np.sin(2 * np.pi * k * pitch_hz * t) / k for k in range(1, 20)), dtype=np.float32)
        * 0.1
    )


@pytest.fixture
def voices(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Clip]]:
    """Three speakers of a single vowel of 2 s, each at a pitch of its own."""
    pitch = {"crema-d/1001": 110.0, "crema-d/1002": 170.0, "crema-d/1003": 240.0}

    def spoken(clip: Clip) -> tuple[Floats, np.ndarray]:
        return vowel(pitch[clip.speaker], 2.0), np.array([[0.1, 0.9], [1.0, 1.9]])

    monkeypatch.setattr(overlap, "_spoken", spoken)
    return {
        name: [Clip(file=name, path=Path("x"), corpus="crema-d", speaker=name, emotion="sad")]
        for name in pitch
    }


@pytest.fixture
def acoustics() -> Acoustics:
    rng = np.random.default_rng(0)
    return Acoustics(noises=(rng.standard_normal(8000).astype(np.float32) * 0.1,), rooms=())


def test_a_simulated_call_has_two_voices_that_never_talk_over_themselves(
    voices: dict[str, list[Clip]], acoustics: Acoustics
) -> None:
    both_s = 0.0
    for number in range(12):
        talk = simulate(voices, acoustics, TINY, number)
        assert len(talk.samples) == 160_000
        assert np.abs(talk.samples).max() == pytest.approx(0.8, abs=1e-3)
        for own in talk.spoken:
            assert len(own)
            assert (own[1:, 0] >= own[:-1, 1]).all()
            assert own.min() >= 0.0
            assert own.max() <= 20.0
        one, other = (
            np.array([((own[:, 0] <= at) & (at < own[:, 1])).any() for at in np.arange(0, 20, 0.01)])
            for own in talk.spoken
        )
        both_s += (one & other).sum() * 0.01
    assert 5.0 < both_s < 80.0  # of 240
    again = simulate(voices, acoustics, TINY, 11)
    assert (again.samples == talk.samples).all()


def test_what_is_heard_is_labelled_where_both_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    monkeypatch.setattr(overlap, "speech_in_calls", lambda _: [np.array([[0.5, 2.6], [3.0, 4.5]])])

    rng = np.random.default_rng(1)
    one, other = vowel(110, 4.0), np.concatenate((np.zeros(16_000), vowel(240, 2.0)))
    samples = np.concatenate((one + other, np.zeros(8000))) + 1e-3 * rng.standard_normal(40_000)
    talk = Talk(samples=samples.astype(np.float32), spoken=(np.array([[0.0, 4.0]]), np.array([[2.0, 4.0]])))
    session = onnx_session(hearing(onnx.load(models_folder() / CAMPPLUS)).SerializeToString())
    first, second = listen(session, talk)
    # Of 2.1 s and 1.5 s, filled up to whole blocks of 0.3 s.
    for (rows, both), steps, begins, ends, filled in ((first, 104, 75, 104, 105), (second, 74, 0, 50, 75)):
        assert rows.shape == (filled, CHANNELS)
        assert np.flatnonzero(both == 1).tolist() == list(range(begins, ends))
        assert np.flatnonzero(both == -1).tolist() == list(range(steps, filled))


def test_a_set_gets_a_network_of_its_own_and_the_default_one_stays(
    voices: dict[str, list[Clip]],
    acoustics: Acoustics,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    clips = [clip for of_one in voices.values() for clip in of_one]
    monkeypatch.setattr(overlap, "clips_from_options", lambda *_, **__: clips)
    monkeypatch.setattr(overlap, "training_acoustics", lambda *_, **__: acoustics)
    monkeypatch.setattr(overlap, "_lessons", lessons)
    monkeypatch.setattr(joblib, "Parallel", lambda **_: list)
    monkeypatch.setattr(joblib, "delayed", lambda function: function)
    (tmp_path / "notes").write_text("x")
    record(tmp_path, {"notes": "a licence"})
    before = verified(CAMPPLUS)
    overlap.main(["--models", str(tmp_path), "--calls", "2"])
    assert verified(CAMPPLUS, tmp_path) == tmp_path / CAMPPLUS
    assert verified(CAMPPLUS) == before
    network = onnx_session(str(tmp_path / CAMPPLUS))
    assert [output.name for output in network.get_outputs()] == ["embeddings", "overlap"]


def lessons(*_: object) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    both = np.repeat([[0, 1, -1]], 8, axis=0).repeat(10, axis=1).astype(np.int8)
    return rng.normal(size=(8, 30, CHANNELS)).astype(np.float16), both


def test_training_finds_what_differs_where_two_speak() -> None:
    import torch

    rng = np.random.default_rng(2)
    both = np.repeat(rng.random((40, 3)) < 0.4, 10, axis=1).astype(np.int8)
    both[:, 25:] = -1
    heard = rng.normal(3.0, 2.0, (40, 30, CHANNELS)).astype(np.float16)
    heard[..., :20] += 4.0 * np.maximum(both, 0)[..., None]
    network = fit(heard, both, TINY)
    with torch.no_grad():
        found = network(torch.tensor(heard.astype(np.float32)).transpose(1, 2))[:, 0].numpy() > 0
    known = both >= 0
    assert (found[known] == both[known]).mean() > 0.9


def test_one_file_says_what_both_networks_say() -> None:
    import onnx
    import torch

    ships = onnx.load(models_folder() / CAMPPLUS)
    heard = hearing(ships)
    torch.manual_seed(0)
    network = overlap.overlap_network(TINY).eval()
    whole = joined(heard, network)
    assert whole.ByteSize() < 12e6
    # In another order onnxruntime needs twice the memory.
    assert [node.name for node in whole.graph.node[: len(heard.graph.node)]] == [
        node.name for node in ships.graph.node[: len(heard.graph.node)]
    ]

    bands = np.random.default_rng(3).normal(0.0, 2.0, (2, 120, BANDS)).astype(np.float32)
    before = onnx_session(ships.SerializeToString()).run(["embeddings"], {"bands": bands})[0]
    after, said = onnx_session(whole.SerializeToString()).run(["embeddings", "overlap"], {"bands": bands})
    parts = onnx_session(heard.SerializeToString()).run(list(HEARD), {"bands": bands})
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.tensor(np.concatenate(parts, axis=1))))[:, 0]
    assert after == pytest.approx(before, abs=1e-4)
    assert said == pytest.approx(expected.numpy().reshape(2, 12, 5).mean(axis=2), abs=1e-3)
    # It can be put into a file that has one already.
    again = joined(hearing(whole), network)
    assert [output.name for output in again.graph.output] == ["embeddings", "overlap"]
    assert again.ByteSize() == pytest.approx(whole.ByteSize(), rel=1e-3)
