"""Escalations of scripted calls: `python -m benchmarks.escalation SHARED [--folds 3 4] [--json FILE]`.

Calls between voices of the corpora in SHARED (`benchmarks/scripted.py` writes their scripts), each scored by the network
of the fold that held both of its speakers out, over evaluation noise and rooms. Prints one table of each condition:

- `two channels` and `one channel`: the two lines on a channel each, the agent's known; or mixed, nobody's role known, so
  that either may escalate.
- `true turns` and `diarized`: turns as scripted; or by channel, and by voice in one channel.
- `levelled`: every turn at the same level before the line, so that loudness tells nothing.

AUC: that a call that escalates has a higher `escalation_score` than a quiet one; then against each kind of quiet call.
An event is right where it overlaps the true stretch; precision is the share of right events, recall that of the
escalations that are found, the error of the onset that of the first right event. False alarms are the events in quiet
calls. A band (view `trajectories`) is right in a window where it holds what the acted emotions come to, smoothed likewise.
95 % intervals from a bootstrap over calls.

What the networks find is kept in `--cache`, so that another rule can be measured without hearing the calls again.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.calls import KEPT_OUT
from benchmarks.scripted import ANGRY_THROUGHOUT, QUIET, Script, render, scripts, true_turns
from callmood.diarize.engine import Diarizer, make_diarizer
from callmood.diarize.turns import mark_overlap, mixed
from callmood.diarize.vad import RATE_HZ
from callmood.emotions import EMOTIONS
from callmood.metrics import area_under_curve, interval_95
from callmood.model_files import models_hash
from callmood.pipeline import Engines, analyze_audio
from callmood.settings import ESCALATION_THRESHOLD
from callmood.trajectory import EscalationRule, affect_of, course_of, escalation_scores, find_escalations
from callmood.trajectory.speech import speech_per_window
from callmood.types import Analysis, Audio, CallMetadata, Escalation, Leg, Recording, Turn
from training.acoustics import read_noises, read_rooms
from training.augment import Acoustics
from training.corpora import CORPORA, read_manifest, speaker_traits
from training.speaker import HELD_OUT
from training.splits import SPLIT

FOLDS = (3, 4)
"""Those whose calls decided nothing; 0 to 2 are the development set."""
CALLS = 60
"""Of each fold."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How calls are heard."""

    channels: int
    diarized: bool
    levelled: bool = False

    def __str__(self) -> str:
        words = [
            "two channels" if self.channels == 2 else "one channel",
            "diarized" if self.diarized else "true turns",
        ]
        return ", ".join([*words, "levelled"] if self.levelled else words)


CONDITIONS = (
    Condition(channels=2, diarized=False),
    Condition(channels=1, diarized=False),
    Condition(channels=2, diarized=True),
    Condition(channels=1, diarized=True),
    Condition(channels=2, diarized=False, levelled=True),
)
KEPT_OUT_CONDITIONS = (Condition(channels=1, diarized=True),)

Heard: TypeAlias = tuple[Script, Analysis]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was made of one call."""

    script: Script
    score: float
    events: tuple[Escalation, ...]
    within: Mapping[str, tuple[int, int]]
    """By dimension: windows whose band holds the truth, and windows."""

    @property
    def right(self) -> tuple[Escalation, ...]:
        """Events that overlap the true stretch, in order of onset."""
        onset_s, end_s = self.script.onset_s, self.script.end_s
        if onset_s is None:
            return ()
        return tuple(
            event
            for event in self.events
            if (end_s is None or event.onset_s < end_s) and (event.end_s is None or event.end_s > onset_s)
        )


class Told:
    """Stands for a diarizer: the turns of the script."""

    name = "script"

    def __init__(self, turns: Sequence[Turn], *, by_channel: bool) -> None:
        self.turns = turns
        self.by_channel = by_channel

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        return mark_overlap(list(self.turns))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.escalation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shared", type=Path)
    parser.add_argument("--models", type=Path, default=Path("benchmarks/folds"), help="folder of fold0, ...")
    parser.add_argument("--folds", type=int, nargs="+", default=FOLDS)
    parser.add_argument("--calls", type=int, default=CALLS, help=f"of each fold; default: {CALLS}")
    parser.add_argument(
        "--kept-out",
        action="store_true",
        help="only speakers that the voice networks (benchmarks/kept_out) were not trained on here either, in one channel and by them",
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/escalation"))
    parser.add_argument("--threshold", type=float, default=ESCALATION_THRESHOLD)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(arguments)
    rule = EscalationRule(threshold_s=options.threshold)
    told = {}
    for condition in KEPT_OUT_CONDITIONS if options.kept_out else CONDITIONS:
        heard = [
            call
            for fold in options.folds
            for call in hear(
                options.shared,
                options.models / f"fold{fold}",
                condition,
                fold=fold,
                count=options.calls,
                kept_out=options.kept_out,
                cache=options.cache,
            )
        ]
        told[str(condition)] = figures([outcome(script, analysis, rule) for script, analysis in heard])
        print(table(str(condition), told[str(condition)]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def hear(
    shared: Path, run: Path, condition: Condition, *, fold: int, count: int, kept_out: bool, cache: Path
) -> list[Heard]:
    """Scripts of a fold and what its network made of them, from the cache where it is there."""
    hashes = f"{models_hash(run / 'models')}-{models_hash(KEPT_OUT if kept_out else None)}"
    name = f"fold{fold}-{count}{'-kept-out' if kept_out else ''}-{condition}-{hashes}.pickle".replace(
        ", ", "-"
    )
    file = cache / name.replace(" ", "-")
    if not file.is_file():
        print(f"{file}: hearing {count} calls", file=sys.stderr)
        heard = list(_hear(shared, run, condition, fold=fold, count=count, kept_out=kept_out))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pickle.dumps(heard))
    # Only this program's own files are read back.
    found: list[Heard] = pickle.loads(file.read_bytes())  # noqa: S301
    return found


def _hear(
    shared: Path, run: Path, condition: Condition, *, fold: int, count: int, kept_out: bool
) -> Iterator[Heard]:
    from callmood.emotion.model import EmotionModel

    corpora = shared / "corpora"
    held_out = set(json.loads((run / SPLIT).read_text(encoding="utf-8"))["held_out"])
    clips = [
        clip
        for corpus in CORPORA
        for clip in read_manifest(corpora / f"{corpus}.csv")[0]
        if clip.file in held_out and not (kept_out and clip.speaker not in HELD_OUT)
    ]
    sex = {
        name: str(traits.sex)
        for name, traits in speaker_traits([clip.speaker for clip in clips], corpora).items()
    }
    acoustics = Acoustics(
        noises=tuple(read_noises(shared / "noise", rate_hz=RATE_HZ)),
        rooms=tuple(read_rooms(shared / "noise" / "rir", rate_hz=RATE_HZ)),
    )
    model = EmotionModel(run / "models")
    auto = make_diarizer("auto", speakers=2, models=KEPT_OUT if kept_out else None)
    for script in scripts(clips, sex, fold=fold, count=count):
        audio = render(script, acoustics, levelled=condition.levelled)
        agent_channel: int | None = 1 - script.customer_channel
        if condition.channels == 1:
            audio, agent_channel = mixed(audio), None
        diarizer: Diarizer = auto
        if not condition.diarized:
            turns = true_turns(script, channels=condition.channels)
            diarizer = Told(turns, by_channel=condition.channels == 2)
        recording = Recording(
            call_id=script.name,
            legs=(Leg(path=Path(script.name)),),
            content_hash=script.name,
            metadata=CallMetadata(agent_channel=agent_channel),
        )
        engines = Engines(diarizer=diarizer, model=model, emotion_for="everyone")
        yield script, analyze_audio(audio, recording, engines)


def outcome(script: Script, analysis: Analysis, rule: EscalationRule) -> Outcome:
    """Score and escalations of those who are not known to be the agent, as `call_summary` takes them."""
    agents = {turn.speaker for turn in analysis.turns if turn.role == "agent"}
    scores = escalation_scores(analysis.windows, analysis.turns, rule)
    return Outcome(
        within=_within(script, analysis),
        script=script,
        score=max((one.score for one in scores if one.speaker not in agents), default=0.0),
        events=tuple(
            event
            for event in find_escalations(analysis.windows, analysis.turns, rule)
            if event.speaker not in agents
        ),
    )


def _within(script: Script, analysis: Analysis) -> dict[str, tuple[int, int]]:
    windows = analysis.windows
    middle_s = (windows.start_s + windows.end_s) / 2
    acted = np.zeros(len(middle_s), dtype=int)
    spoken = np.zeros(len(middle_s), dtype=bool)
    for utterance in script.utterances:
        inside = (middle_s >= utterance.start_s) & (middle_s <= utterance.end_s)
        acted[inside] = EMOTIONS.index(utterance.clips[0].emotion)
        spoken |= inside
    steps_s = speech_per_window(windows.turn_index, analysis.turns)
    found = course_of(windows.affect, windows.turn_index, steps_s, analysis.turns)
    meant = affect_of(np.eye(len(EMOTIONS), dtype=np.float32)[acted])
    truth = course_of(meant, windows.turn_index, steps_s, analysis.turns)
    within = {}
    for name in ("valence", "arousal", "negativity"):
        off = np.abs(getattr(found, name) - getattr(truth, name))[spoken]
        right = off <= 1.96 * getattr(found, f"{name}_se")[spoken]
        within[name] = (int(right.sum()), len(right))
    return within


def figures(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, float, float]]:
    """Each figure with its 95 % interval; NaN where there is nothing to tell it of."""
    point = _point(outcomes)
    intervals = interval_95(
        lambda rows: _point([outcomes[row] for row in rows]), [one.script.name for one in outcomes]
    )
    return {name: (value, *intervals[name]) for name, value in point.items()}


def _point(outcomes: Sequence[Outcome]) -> dict[str, float]:
    escalating = [one for one in outcomes if one.script.escalates]
    quiet = [one for one in outcomes if one.script.kind in QUIET]
    constant = [one for one in outcomes if one.script.kind == ANGRY_THROUGHOUT]
    found = [one for one in escalating if one.right]
    errors_s = [abs(one.right[0].onset_s - _known(one.script.onset_s)) for one in found]
    ends_s = [
        abs(event.end_s - one.script.end_s)
        for one in found
        if (event := one.right[-1]).end_s is not None and one.script.end_s is not None
    ]
    events = [event for one in (*escalating, *quiet) for event in one.events]
    return {
        "AUC": _auc(escalating, quiet),
        **{
            f"AUC against {kind}": _auc(escalating, [one for one in quiet if one.script.kind == kind])
            for kind in QUIET
        },
        "AUC against quiet calls that are not loud": _auc(
            escalating, [one for one in quiet if one.script.kind != "loud happy"]
        ),
        "AUC against angry throughout": _auc(escalating, constant),
        "AUC of pure anger": _auc([one for one in escalating if one.script.outburst == ("angry",)], quiet),
        "precision": _ratio(sum(len(one.right) for one in escalating), len(events)),
        "recall": _ratio(len(found), len(escalating)),
        "onset error, median s": float(np.median(errors_s)) if errors_s else np.nan,
        "recovery told right": _ratio(
            sum(one.right[-1].recovered == (one.script.end_s is not None) for one in found), len(found)
        ),
        "end error, median s": float(np.median(ends_s)) if ends_s else np.nan,
        "false alarms per hour": _per_hour(quiet),
        "false alarms per hour, not loud": _per_hour(
            [one for one in quiet if one.script.kind != "loud happy"]
        ),
        "events per hour, angry throughout": _per_hour(constant),
        **{
            f"{name} within its band": _ratio(
                sum(one.within[name][0] for one in outcomes), sum(one.within[name][1] for one in outcomes)
            )
            for name in ("valence", "arousal", "negativity")
        },
        "calls": float(len(outcomes)),
        "escalating": float(len(escalating)),
        "quiet hours": sum(one.script.duration_s for one in quiet) / 3600,
    }


def _known(value: float | None) -> float:
    assert value is not None
    return value


def _auc(escalating: Sequence[Outcome], others: Sequence[Outcome]) -> float:
    scores = np.array([one.score for one in (*escalating, *others)])
    positive: NDArray[np.bool_] = np.arange(len(scores)) < len(escalating)
    return area_under_curve(scores, positive)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else np.nan


def _per_hour(outcomes: Iterable[Outcome]) -> float:
    told = list(outcomes)
    hours = sum(one.script.duration_s for one in told) / 3600
    return _ratio(sum(len(one.events) for one in told), hours)


def table(condition: str, told: dict[str, tuple[float, float, float]]) -> str:
    """As Markdown."""
    lines = [f"\n| {condition} | | 95 % |", "| --- | --- | --- |"]
    for name, (value, low, high) in told.items():
        lines.append(f"| {name} | {value:.3g} | {low:.3g} to {high:.3g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
