"""Corpora in the layout of their authors: names, labels, speakers, and the options that name them."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
from audio import tone, write_wav

from callmood.errors import RecordingError, UsageError
from training.corpora import (
    CORPORA,
    SHARED,
    Clip,
    add_corpus_options,
    clips_from_options,
    load_clip,
    read_manifest,
    read_official,
    speaker_traits,
)


def lay_out(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("corpus", "name", "file", "speaker", "emotion"),
    [
        (
            "ravdess",
            "Actor_12/03-01-06-01-02-01-12.wav",
            "ravdess/12/03-01-06-01-02-01-12.opus",
            "ravdess/12",
            "fearful",
        ),
        (
            "ravdess",
            "Actor_01/03-01-02-01-01-01-01.wav",
            "ravdess/01/03-01-02-01-01-01-01.opus",
            "ravdess/01",
            "neutral",
        ),
        (
            "crema-d",
            "AudioWAV/1001_DFA_ANG_XX.wav",
            "crema-d/1001/1001_DFA_ANG_XX.opus",
            "crema-d/1001",
            "angry",
        ),
        (
            "crema-d",
            "AudioWAV/1040_ITH_SAD_X.wav",
            "crema-d/1040/1040_ITH_SAD_X.opus",
            "crema-d/1040",
            "sad",
        ),
        ("tess", "OAF_angry/OAF_back_angry.wav", "tess/OAF/OAF_back_angry.opus", "tess/OAF", "angry"),
        (
            "tess",
            "OAF_Pleasant_surprise/OAF_back_ps.wav",
            "tess/OAF/OAF_back_ps.opus",
            "tess/OAF",
            "surprised",
        ),
        (
            "tess",
            "YAF_pleasant_surprised/YAF_dog_ps.wav",
            "tess/YAF/YAF_dog_ps.opus",
            "tess/YAF",
            "surprised",
        ),
        ("tess", "YAF_fear/YAF_back_fear.wav", "tess/YAF/YAF_back_fear.opus", "tess/YAF", "fearful"),
        ("tess", "OAF_neutral/OA_bite_neutral.wav", "tess/OAF/OA_bite_neutral.opus", "tess/OAF", "neutral"),
        ("savee", "DC/a01.wav", "savee/DC/DC_a01.opus", "savee/DC", "angry"),
        ("savee", "AudioData/KL/sa15.wav", "savee/KL/KL_sa15.opus", "savee/KL", "sad"),
        ("savee", "JK_su02.wav", "savee/JK/JK_su02.opus", "savee/JK", "surprised"),
    ],
)
def test_official_names_give_the_clip_its_name_in_our_manifests(
    tmp_path: Path, corpus: str, name: str, file: str, speaker: str, emotion: str
) -> None:
    clips, left_out = read_official(corpus, lay_out(tmp_path / "download", name))

    assert clips == [
        Clip(file=file, path=tmp_path / "download" / name, corpus=corpus, speaker=speaker, emotion=emotion)
    ]
    assert left_out == {}


@pytest.mark.parametrize("corpus", CORPORA)
def test_official_layout_and_manifest_give_the_same_clips(tmp_path: Path, corpus: str) -> None:
    manifest = SHARED / "corpora" / f"{corpus}.csv"
    if not manifest.exists():
        pytest.skip("the manifests of the corpora are not here")
    listed, left_out = read_manifest(manifest)
    faults = [
        line.split(",")[0]
        for line in manifest.read_text().splitlines()[1:]
        if not any(line.startswith(f"{clip.file},") for clip in listed)
    ]
    for file in [clip.file for clip in listed] + faults:
        _, speaker, name = file.split("/")
        # SAVEE's own files do not repeat the speaker.
        lay_out(
            tmp_path,
            f"{speaker}/{Path(name).stem.removeprefix(f'{speaker}_' if corpus == 'savee' else '')}.wav",
        )

    clips, official_left_out = read_official(corpus, tmp_path)

    def told(clips: list[Clip]) -> list[tuple[str, str, str]]:
        return sorted((clip.file, clip.speaker, clip.emotion) for clip in clips)

    assert told(clips) == told(listed)
    assert official_left_out == left_out


def test_what_is_no_speech_of_the_corpus_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = lay_out(
        tmp_path,
        "Actor_07/03-01-05-01-01-01-07.wav",
        "Actor_07/._03-01-05-01-01-01-07.wav",
        "Actor_07/03-02-05-01-01-01-07.wav",
        "Actor_07/03-02-04-01-01-01-07.wav",
        "Actor_07/01-01-05-01-01-01-07.wav",
        "Actor_07/03-01-03-01-02-02-07.wav",
        "Actor_07/03-01-09-01-02-02-07.wav",
        "Actor_07/notes.txt",
        "again/Actor_07/03-01-05-01-01-01-07.wav",
    )

    clips, left_out = read_official("ravdess", folder)

    assert [clip.path for clip in clips] == [folder / "Actor_07/03-01-05-01-01-01-07.wav"]
    assert left_out == {
        "song": 2,
        "sound of a video": 1,
        "name not of ravdess": 1,
        "same audio as 03-01-03-01-02-01-07": 1,
        "there twice": 1,
    }


@pytest.mark.parametrize("corpus", CORPORA)
def test_a_folder_without_clips_names_the_layout(tmp_path: Path, corpus: str) -> None:
    example = {"crema-d": "AudioWAV/", "ravdess": "Actor_01/", "tess": "OAF_angry/", "savee": "DC/a01"}[
        corpus
    ]

    with pytest.raises(UsageError, match=rf"other.*{corpus}.*{example}"):
        read_official(corpus, lay_out(tmp_path / "other", "song.wav"))
    with pytest.raises(UsageError, match="nowhere"):
        read_official(corpus, tmp_path / "nowhere")


def one_clip(path: Path) -> Clip:
    return Clip(file="x", path=path, corpus="c", speaker="c/1", emotion="sad")


def test_two_channels_become_their_mean_at_our_rate(tmp_path: Path) -> None:
    low, high = tone(hz=300, amplitude=0.4, rate_hz=48_000), tone(hz=900, amplitude=0.2, rate_hz=48_000)
    path = write_wav(tmp_path / "03-01-01-01-01-01-01.wav", low, high, rate_hz=48_000)

    samples = load_clip(one_clip(path), rate_hz=8000)

    expected = tone(hz=300, amplitude=0.2) + tone(hz=900, amplitude=0.1)
    assert samples.shape == (8000,)
    assert samples.dtype == np.float32
    assert samples[400:-400] == pytest.approx(expected[400:-400], abs=2e-3)


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pointer = tmp_path / "1001_DFA_ANG_XX.wav"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    empty = write_wav(tmp_path / "empty.wav", np.zeros(0, dtype=np.float32))

    with pytest.raises(RecordingError, match="1001_DFA_ANG_XX"):
        load_clip(one_clip(pointer), rate_hz=8000)
    with pytest.raises(RecordingError, match=r"empty\.wav: holds no samples"):
        load_clip(one_clip(empty), rate_hz=8000)


def test_manifests_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    with pytest.raises(UsageError, match=r"m\.csv: no manifest"):
        read_manifest(manifest)
    manifest.write_text("path,label\na.wav,sad\n")
    with pytest.raises(UsageError, match="no column file, corpus, speaker, emotion"):
        read_manifest(manifest)
    manifest.write_text("file,corpus,speaker,emotion\na.wav,c,c/1,bored\n")
    with pytest.raises(UsageError, match="holds no clip labelled"):
        read_manifest(manifest)


def test_sex_and_age_group_of_speakers(tmp_path: Path) -> None:
    audio = lay_out(tmp_path, "AudioWAV/1001_DFA_ANG_XX.wav") / "AudioWAV"
    (tmp_path / "VideoDemographics.csv").write_text(
        "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,x,y\n1002,29,Female,x,y\n1003,30,Female,x,y\n"
        "1004,49,Male,x,y\n1005,50,Male,x,y\n1006,,Female,x,y\n"
    )
    asked = [f"crema-d/100{i}" for i in range(1, 8)]
    asked += ["ravdess/01", "ravdess/24", "tess/OAF", "tess/YAF", "savee/JK", "mine/7"]

    traits = speaker_traits(asked, audio)

    assert traits == {
        "crema-d/1001": ("male", "50 and over"),
        "crema-d/1002": ("female", "under 30"),
        "crema-d/1003": ("female", "30 to 49"),
        "crema-d/1004": ("male", "30 to 49"),
        "crema-d/1005": ("male", "50 and over"),
        "crema-d/1006": ("female", None),
        "ravdess/01": ("male", None),
        "ravdess/24": ("female", None),
        "tess/OAF": ("female", "50 and over"),
        "tess/YAF": ("female", "under 30"),
        "savee/JK": ("male", None),
    }
    assert set(speaker_traits(asked)) == set(asked[7:-1])


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_corpus_options(parser)
    return parser.parse_args(arguments)


def test_corpora_come_from_their_own_folders_and_the_others_from_manifests(tmp_path: Path) -> None:
    crema = lay_out(tmp_path / "crema", "AudioWAV/1001_DFA_ANG_XX.wav")
    savee = lay_out(tmp_path / "savee", "DC/a01.wav")
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for corpus in ("crema-d", "tess"):
        (manifests / f"{corpus}.csv").write_text(f"file,corpus,speaker,emotion\nx-{corpus},{corpus},s,sad\n")

    def files(*arguments: str, **only: list[str]) -> list[str]:
        return [clip.file for clip in clips_from_options(options(*arguments), **only)]

    own = ("--crema-d", str(crema), "--savee", str(savee))
    with_manifests = (*own, "--corpora", str(manifests))
    from_own = ["crema-d/1001/1001_DFA_ANG_XX.opus", "savee/DC/DC_a01.opus"]
    assert files(*own) == from_own
    assert files(*with_manifests) == [from_own[0], "x-tess", from_own[1]]
    assert files(*with_manifests, corpora=["tess"]) == ["x-tess"]
    assert files("--corpora", str(manifests)) == ["x-crema-d", "x-tess"]
    with pytest.raises(UsageError, match="--ravdess"):
        files(*with_manifests, corpora=["ravdess"])
    with pytest.raises(UsageError, match="holds no manifest"):
        files("--corpora", str(tmp_path))
