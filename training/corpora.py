"""Corpora as lists of clips, their known faults, and speaker-independent folds."""

from __future__ import annotations

import argparse
import csv
import logging
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from callmood.emotions import EMOTIONS
from callmood.errors import EmptyRecordingError, RecordingError, UsageError
from callmood.types import Floats

log = logging.getLogger("training")

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""The data beside the project, if nothing else is said."""

CORPORA = ("crema-d", "ravdess", "tess", "savee")

SAME_AS = {"calm": "neutral"}
"""Labels of a corpus that count as one of the seven."""

FAULTS = {
    "1076_MTI_SAD_XX": "silent",
    "1013_WSI_SAD_XX": "same audio as 1013_WSI_DIS_XX",
    "1013_WSI_DIS_XX": "same audio as 1013_WSI_SAD_XX",
    "1017_IWW_ANG_XX": "same audio as 1017_IWW_FEA_XX",
    "1017_IWW_FEA_XX": "same audio as 1017_IWW_ANG_XX",
    "1006_TIE_HAP_XX": "same audio as 1006_TIE_NEU_XX",
    "1006_TIE_NEU_XX": "same audio as 1006_TIE_HAP_XX",
    "03-01-03-01-02-02-07": "same audio as 03-01-03-01-02-01-07",
}
"""Clips (by file stem) that are left out of training and evaluation, with the reason.

Faults that cost no clip: TESS names one clip of OAF `OA_bite_neutral` (`LAYOUTS` knows that speaker), and some files
of RAVDESS have two channels (`load_clip` averages them).
"""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One labelled utterance."""

    file: str
    """As in the manifest; unique. Folds, random draws and the teacher go by it."""
    path: Path
    corpus: str
    speaker: str
    emotion: str
    """One of the seven."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a corpus names its recordings, as its authors publish them."""

    example: str
    name: re.Pattern[str]
    """Of a clip, as `folder/stem`, with its groups `speaker` and `emotion`."""
    emotions: Mapping[str, str]
    """Codes of the names, and the labels that they stand for."""
    stem: str = "{stem}"
    """Name of the clip in the manifests, of `stem` and of the groups of `name`."""
    speakers: Mapping[str, str] = field(default_factory=dict)
    """Speakers that are misspelt in some names."""
    others: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    """Stems that are no clips of ours, by the reason why."""


LAYOUTS = {
    "crema-d": Layout(
        example="AudioWAV/1001_DFA_ANG_XX.wav",
        name=re.compile(r".*/(?P<speaker>1\d{3})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{1,2}"),
        emotions={
            "ANG": "angry",
            "DIS": "disgust",
            "FEA": "fearful",
            "HAP": "happy",
            "NEU": "neutral",
            "SAD": "sad",
        },
    ),
    "ravdess": Layout(
        example="Actor_01/03-01-05-01-02-01-01.wav",
        name=re.compile(r".*/03-01-(?P<emotion>\d\d)-\d\d-\d\d-\d\d-(?P<speaker>\d\d)"),
        emotions={
            "01": "neutral",
            "02": "calm",
            "03": "happy",
            "04": "sad",
            "05": "angry",
            "06": "fearful",
            "07": "disgust",
            "08": "surprised",
        },
        others={
            "song": re.compile(r"0[123]-02(-\d\d){5}"),
            "sound of a video": re.compile(r"0[12]-01(-\d\d){5}"),
        },
    ),
    "tess": Layout(
        example="OAF_angry/OAF_back_angry.wav",
        name=re.compile(r".*/(?P<speaker>OAF?|YAF)_\w+_(?P<emotion>[a-z]+)"),
        emotions={
            "angry": "angry",
            "disgust": "disgust",
            "fear": "fearful",
            "happy": "happy",
            "neutral": "neutral",
            "ps": "surprised",
            "sad": "sad",
        },
        speakers={"OA": "OAF"},
    ),
    "savee": Layout(
        example="DC/a01.wav, or DC_a01.wav",
        name=re.compile(r"(.*/)?(?P<speaker>DC|JE|JK|KL)[/_](?P<emotion>sa|su|[adfhn])(?P<number>\d\d)"),
        emotions={
            "a": "angry",
            "d": "disgust",
            "f": "fearful",
            "h": "happy",
            "n": "neutral",
            "sa": "sad",
            "su": "surprised",
        },
        stem="{speaker}_{emotion}{number}",
    ),
}
"""Of each of `CORPORA`."""


def read_manifest(manifest: Path, *, root: Path | None = None) -> tuple[list[Clip], dict[str, int]]:
    """Clips of a manifest with the columns `file,corpus,speaker,emotion`, and counts of those left out.

    `file` is relative to `root` (default: the manifest's folder).

    Raises
    ------
    UsageError
        It cannot be read, lacks a column, or holds no clip with one of our labels.
    """
    folder = root or manifest.parent
    needed = ("file", "corpus", "speaker", "emotion")
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [column for column in needed if column not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(
                    f"{manifest}: has no column {', '.join(missing)}; a manifest is a CSV with "
                    f"{','.join(needed)}."
                )
            labelled = [
                Clip(
                    file=row["file"],
                    path=folder / row["file"],
                    corpus=row["corpus"],
                    speaker=row["speaker"],
                    emotion=row["emotion"],
                )
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{manifest}: no manifest to read ({error}); name a CSV with {','.join(needed)}."
        ) from error
    clips, left_out = _usable(labelled)
    if not clips:
        raise UsageError(f"{manifest}: holds no clip labelled with one of {', '.join(EMOTIONS)}.")
    return clips, left_out


def read_official(corpus: str, folder: Path) -> tuple[list[Clip], dict[str, int]]:
    """Clips of one of `CORPORA` as its authors publish it, anywhere below `folder`, and counts of those left out.

    A clip's `file` is the name that our manifests give it (`crema-d/1001/1001_DFA_ANG_XX.opus`), whatever it is called
    on the disk: of the same clips, folds, random draws and the teacher's names then agree with those of the manifests.

    Raises
    ------
    UsageError
        There is no clip of the corpus below `folder`.
    """
    layout = LAYOUTS[corpus]
    found: list[Clip] = []
    passed_over: dict[str, int] = {}
    for path in sorted(folder.rglob("*")):
        # Archives made on a Mac hold a hidden `._NAME.wav` beside each file.
        if path.suffix.lower() != ".wav" or path.name.startswith("."):
            continue
        clip = _named_clip(corpus, layout, path)
        if isinstance(clip, Clip):
            found.append(clip)
        else:
            passed_over[clip] = passed_over.get(clip, 0) + 1
    clips, left_out = _usable(found)
    if not clips:
        raise UsageError(
            f"{folder}: holds no clips of {corpus}; name the folder of the unpacked corpus, with files like "
            f"{layout.example} in it."
        )
    return clips, passed_over | left_out


def _named_clip(corpus: str, layout: Layout, path: Path) -> Clip | str:
    """The clip that a file's name tells of, with its corpus' own label; else the reason why it is none."""
    name = layout.name.fullmatch(f"{path.parent.name}/{path.stem}")
    if name is None or name["emotion"] not in layout.emotions:
        reasons = [reason for reason, stem in layout.others.items() if stem.fullmatch(path.stem)]
        return reasons[0] if reasons else f"name not of {corpus}"
    speaker = layout.speakers.get(name["speaker"], name["speaker"])
    stem = layout.stem.format(**name.groupdict(), stem=path.stem)
    return Clip(
        file=f"{corpus}/{speaker}/{stem}.opus",
        path=path,
        corpus=corpus,
        speaker=f"{corpus}/{speaker}",
        emotion=layout.emotions[name["emotion"]],
    )


def _usable(labelled: Iterable[Clip]) -> tuple[list[Clip], dict[str, int]]:
    """Clips with one of our labels, without those of `FAULTS` and repetitions, and counts of those left out."""
    clips: dict[str, Clip] = {}
    left_out: dict[str, int] = {}
    for clip in labelled:
        emotion = SAME_AS.get(clip.emotion, clip.emotion)
        reason = FAULTS.get(Path(clip.file).stem)
        if emotion not in EMOTIONS:
            reason = f"label {emotion}"
        elif clip.file in clips:
            # Some downloads hold a corpus twice, the second time in a folder of its own.
            reason = "there twice"
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            clips[clip.file] = replace(clip, emotion=emotion)
    return list(clips.values()), left_out


def add_official_options(parser: argparse._ActionsContainer) -> None:
    """An option for each corpus, such as `--ravdess DIR`, that names it in its official layout."""
    for corpus in CORPORA:
        parser.add_argument(
            f"--{corpus}",
            type=Path,
            metavar="DIR",
            help=f"{corpus} as its authors publish it (files like {LAYOUTS[corpus].example})",
        )


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Options that name corpora: each in its official layout, or a folder with manifests of them."""
    add_official_options(parser)
    parser.add_argument(
        "--corpora",
        type=Path,
        metavar="DIR",
        help="folder with a manifest NAME.csv of each corpus that is not named on its own; default, where none "
        "is: ../shared/corpora",
    )


def clips_from_options(options: argparse.Namespace, *, corpora: Sequence[str] | None = None) -> list[Clip]:
    """Clips of the corpora that the options of `add_corpus_options` name, in the order of `CORPORA`.

    With `corpora`, only of these, and each has to be there.

    Raises
    ------
    UsageError
        A folder or manifest holds no clips, or a corpus of `corpora` is not there.
    """
    official = official_folders(options)
    manifests: Path | None = options.corpora or (None if official else SHARED / "corpora")
    clips: list[Clip] = []
    for corpus in (name for name in CORPORA if corpora is None or name in corpora):
        manifest = manifests / f"{corpus}.csv" if manifests else None
        if corpus in official:
            found, left_out = read_official(corpus, official[corpus])
        elif manifest and manifest.is_file():
            found, left_out = read_manifest(manifest)
        elif corpora is None:
            continue
        else:
            raise UsageError(
                f"{manifest or corpus}: not there; name the folder of {corpus} with --{corpus}, or the folder of "
                "its manifest with --corpora."
            )
        log.info("%s: %d clips; left out: %s", corpus, len(found), left_out or "none")
        clips += found
    if not clips:
        raise UsageError(
            f"{manifests}: holds no manifest ({', '.join(f'{name}.csv' for name in CORPORA)}); name another folder "
            f"with --corpora, or corpora with {', '.join(f'--{name}' for name in CORPORA)}."
        )
    return clips


def official_folders(options: argparse.Namespace) -> dict[str, Path]:
    """Folder of each corpus that the options name in its official layout."""
    folders = {corpus: getattr(options, corpus.replace("-", "_")) for corpus in CORPORA}
    return {corpus: folder for corpus, folder in folders.items() if folder is not None}


class Traits(NamedTuple):
    """What is published of a speaker; None where it is not."""

    sex: str | None
    """`female` or `male`."""
    age: str | None
    """One of `AGES`."""


AGES = ("under 30", "30 to 49", "50 and over")

DEMOGRAPHICS = ("crema-d-speakers.csv", "VideoDemographics.csv")
"""Files that tell sex and age of CREMA-D's actors: the one beside our manifest, and the official one."""


def speaker_traits(speakers: Iterable[str], *folders: Path) -> dict[str, Traits]:
    """Sex and age group of those speakers of `CORPORA` of whom either is known.

    CREMA-D's are read from one of `DEMOGRAPHICS` in `folders`, or beside them (the official file lies beside
    `AudioWAV`). RAVDESS publishes no ages of single actors, and SAVEE's speakers are 27 to 31 years old.
    """
    known = {
        f"ravdess/{actor:02d}": Traits("male" if actor % 2 else "female", None) for actor in range(1, 25)
    }
    known |= {f"savee/{name}": Traits("male", None) for name in ("DC", "JE", "JK", "KL")}
    known |= {"tess/OAF": Traits("female", age_group(64)), "tess/YAF": Traits("female", age_group(26))}
    for folder in folders:
        for path in (place / name for place in (folder, folder.parent) for name in DEMOGRAPHICS):
            if path.is_file():
                known |= dict(_crema_d_traits(path))
    return {speaker: known[speaker] for speaker in sorted(set(speakers)) if speaker in known}


def _crema_d_traits(path: Path) -> Iterator[tuple[str, Traits]]:
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        if not {"ActorID", "Age", "Sex"} <= set(reader.fieldnames or ()):
            raise UsageError(f"{path}: has no columns ActorID, Age and Sex; fetch it again or remove it.")
        for row in reader:
            sex = row["Sex"].strip().lower()
            yield (
                f"crema-d/{row['ActorID'].strip()}",
                Traits(
                    sex if sex in ("female", "male") else None,
                    age_group(int(row["Age"])) if row["Age"].strip().isdigit() else None,
                ),
            )


VOTES = ("crema-d-votes.csv", "summaryTable.csv", "processedResults/summaryTable.csv")
"""Files that tell what a crowd heard in the clips of CREMA-D: the one beside our manifest, and the official one."""
_VOTE_CODES = {
    "A": "angry",
    "D": "disgust",
    "F": "fearful",
    "H": "happy",
    "N": "neutral",
    "S": "sad",
}


def crowd_votes(*folders: Path) -> dict[str, tuple[str, ...]]:
    """Of each clip of CREMA-D, by its stem, the emotion that most of those who heard its sound alone named; several
    where as many named another.

    Read from one of `VOTES` in `folders`, or beside them.

    Raises
    ------
    UsageError
        There is no such file, or it is another.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in (place / name for folder in folders for place in (folder, folder.parent) for name in VOTES):
        if path.is_file():
            with path.open(newline="", encoding="utf-8-sig") as lines:
                reader = csv.DictReader(lines)
                if not {"FileName", "VoiceVote"} <= set(reader.fieldnames or ()):
                    raise UsageError(f"{path}: has no columns FileName and VoiceVote; fetch it again.")
                for row in reader:
                    votes = tuple(
                        _VOTE_CODES[code] for code in row["VoiceVote"].split(":") if code in _VOTE_CODES
                    )
                    if votes:
                        found[row["FileName"]] = votes
    if not found:
        raise UsageError(
            f"{', '.join(map(str, folders))}: no votes on CREMA-D ({' or '.join(VOTES)}); fetch them, or train "
            "with votes_share=0."
        )
    return found


def age_group(years: int) -> str:
    """The one of `AGES` that an age belongs to."""
    return AGES[0] if years < 30 else AGES[1] if years < 50 else AGES[2]


def load_clip(clip: Clip, *, rate_hz: int) -> Floats:
    """Samples of a clip, shape (n,), float32, mono (the mean of its channels), resampled to `rate_hz`.

    Raises
    ------
    RecordingError
        It cannot be read, or holds no samples.
    """
    import soundfile
    import soxr

    try:
        samples, source_rate_hz = soundfile.read(clip.path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise RecordingError(
            f"{clip.path}: cannot be read as audio ({error}); fetch the clip again or take it out of the corpus."
        ) from error
    if not len(samples):
        raise EmptyRecordingError(
            f"{clip.path}: holds no samples; fetch the clip again or take it out of the corpus."
        )
    mono = samples.mean(axis=1)
    return np.asarray(soxr.resample(mono, source_rate_hz, rate_hz, quality="HQ"), dtype=np.float32)


def speaker_folds(clips: Iterable[Clip], *, folds: int, seed: int) -> dict[str, int]:
    """Fold of each speaker: speakers of each corpus are shuffled and dealt in turn."""
    speakers: dict[str, set[str]] = {}
    for clip in clips:
        speakers.setdefault(clip.corpus, set()).add(clip.speaker)
    fold_of: dict[str, int] = {}
    for corpus in sorted(speakers):
        names = sorted(speakers[corpus])
        random.Random(f"{seed} {corpus}").shuffle(names)  # noqa: S311 - reproducible folds, not secrets
        fold_of.update({name: index % folds for index, name in enumerate(names)})
    return fold_of


def label_indices(clips: Sequence[Clip]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Index into `EMOTIONS` of each clip's label, shape (n,)."""
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], dtype=np.int64)
