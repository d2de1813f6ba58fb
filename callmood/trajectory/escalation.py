"""Escalations: a speaker who was calm turns negative for long enough, found by a cumulative sum in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from callmood.settings import ESCALATION_THRESHOLD
from callmood.trajectory.affect import strain_of
from callmood.trajectory.speech import speech_per_window, windows_by_speaker
from callmood.types import Escalation, EscalationScore, Floats, OtherParty, Turn, Windows

NEAR_S = 2.0
"""How long before an onset another party's cutting in still counts as belonging to it."""
MIN_OVERLAP_S = 0.25
"""Shorter speech of another party at an onset is the inaccuracy of a boundary."""
MINUTE_S = 60.0
"""Speech of a speaker for which evidence is as it is summed; see `_excess`."""
SHORTEST_S = 25.0
LONGEST_S = 150.0
"""Shorter speech counts as the first, longer as the second: neither was measured."""


@dataclass(frozen=True, kw_only=True)
class EscalationRule:
    """When a rise counts as an escalation, and when it is over."""

    level: float = 0.25
    """Strain above which a window speaks for an escalation, and below which for calm, for a speaker whose usual strain
    is 0."""
    own_share: float = 0.7
    """How much of a speaker's usual strain (the mean) is taken for that speaker's way of talking: 1 would compare
    speakers with themselves alone, 0 all with the same level."""
    threshold_s: float = ESCALATION_THRESHOLD
    """Evidence (strain times seconds of speech) at which an escalation is declared."""
    recovery_s: float = 1.0
    """Evidence of calm (likewise) at which it is over."""
    min_speech_s: float = 10.0
    """Speech below which a speaker has no usual strain, and nothing is claimed."""


def find_escalations(windows: Windows, turns: Sequence[Turn], rule: EscalationRule) -> tuple[Escalation, ...]:
    """Escalations of all speakers of a call, in order of onset.

    A cumulative sum that keeps account of calm (Page's test, Page 1954, one way and the other): with z the `strain_of`
    the windows beyond `level + own_share * mean`, times the seconds that each stands for and scaled by the length of
    the speech (`_excess`), the account is D = max(0, D - z). What it has lost since it was highest is the evidence of an escalation: max D - D. So somebody
    must have been calm before, and no evidence is larger than the calm that it came after. An escalation is declared
    when the evidence reaches `threshold_s`. Its onset is the start of the first window after D was highest; it ends
    with the window at which D was lowest, as soon as D is `recovery_s` higher again, and is recovered where that
    happens while the speaker is still to be heard. Its peak and height are those of the smoothed negativity.
    """
    found: list[Escalation] = []
    steps_s = speech_per_window(windows.turn_index, turns)
    for speaker, own in windows_by_speaker(windows.turn_index, turns).items():
        if float(steps_s[own].sum()) < rule.min_speech_s:
            continue
        excess = _excess(windows.affect.probabilities[own], steps_s[own], rule)
        negativity = windows.negativity_smooth[own].astype(float)
        usual = float(np.median(negativity))
        for onset, end in _rises(excess, rule):
            last = len(own) - 1 if end is None else end
            peak = onset + int(np.argmax(negativity[onset : last + 1]))
            onset_s = float(windows.start_s[own[onset]])
            peak_s = float(windows.start_s[own[peak]] + windows.end_s[own[peak]]) / 2
            height = max(float(negativity[peak]) - usual, 0.0)
            found.append(
                Escalation(
                    speaker=speaker,
                    role=turns[windows.turn_index[own[0]]].role,
                    onset_s=onset_s,
                    peak_s=peak_s,
                    end_s=None if end is None else float(windows.end_s[own[end]]),
                    height=height,
                    slope=height / (peak_s - onset_s),
                    recovered=end is not None,
                    other_party=other_party(
                        turns, speaker, onset_s=onset_s, until_s=float(windows.end_s[own[onset]])
                    ),
                )
            )
    return tuple(sorted(found, key=lambda event: (event.onset_s, event.speaker)))


def escalation_scores(
    windows: Windows, turns: Sequence[Turn], rule: EscalationRule
) -> tuple[EscalationScore, ...]:
    """How strongly each speaker of a call escalates who was scored for `min_speech_s` or more, in order of their names.

    The evidence is the largest that `find_escalations` comes across, so that there is an escalation exactly where it
    is no lower than the rule's threshold. The score is `score_of` it.
    """
    steps_s = speech_per_window(windows.turn_index, turns)
    scores = []
    for speaker, own in windows_by_speaker(windows.turn_index, turns).items():
        if float(steps_s[own].sum()) < rule.min_speech_s:
            continue
        excess = _excess(windows.affect.probabilities[own], steps_s[own], rule)
        evidence = _largest_evidence(excess)
        scores.append(EscalationScore(speaker=speaker, evidence=evidence, score=score_of(evidence)))
    return tuple(scores)


def score_of(evidence: float) -> float:
    """Evidence from 0 on as a score in [0, 1), 0.5 at the default threshold, whatever the threshold is set to.

    Examples
    --------
    >>> score_of(0.0), score_of(ESCALATION_THRESHOLD)
    (0.0, 0.5)
    """
    return evidence / (evidence + ESCALATION_THRESHOLD)


def other_party(turns: Sequence[Turn], speaker: str, *, onset_s: float, until_s: float) -> OtherParty | None:
    """What others did when a speaker's escalation began, its first window being from `onset_s` to `until_s`.

    `interrupting`: another party's turn began while the speaker's was going on, in that window or up to `NEAR_S`
    before it. `speaking`: another party was heard in that window for `MIN_OVERLAP_S` or more. Else `silent`; None
    where nobody else is heard in the whole call.
    """
    others = [turn for turn in turns if turn.speaker != speaker]
    own = [turn for turn in turns if turn.speaker == speaker]
    if not others:
        return None
    for turn in others:
        if onset_s - NEAR_S <= turn.start_s < until_s and any(
            mine.start_s < turn.start_s < mine.end_s for mine in own
        ):
            return "interrupting"
    heard_s = sum(max(min(turn.end_s, until_s) - max(turn.start_s, onset_s), 0.0) for turn in others)
    return "speaking" if heard_s >= MIN_OVERLAP_S else "silent"


def _excess(probabilities: Floats, steps_s: NDArray[np.float64], rule: EscalationRule) -> NDArray[np.float64]:
    """What each of a speaker's windows says for an escalation (below 0: for calm), shape (n,).

    By chance alone, sums over more speech come to more: as the root of its length, which they are divided by.
    """
    strain = strain_of(probabilities).astype(float)
    beyond = strain - rule.level - rule.own_share * np.average(strain, weights=steps_s)
    return np.asarray(beyond * steps_s * np.sqrt(MINUTE_S / np.clip(steps_s.sum(), SHORTEST_S, LONGEST_S)))


def _largest_evidence(excess: NDArray[np.float64]) -> float:
    total = np.concatenate([[0.0], np.cumsum(excess)])
    account = np.maximum.accumulate(total) - total
    return float((np.maximum.accumulate(account) - account).max())


def _rises(excess: NDArray[np.float64], rule: EscalationRule) -> Iterator[tuple[int, int | None]]:
    """First and last window of each escalation; the last is None where it has not ended."""
    account = highest = 0.0
    onset = 0
    lowest: float | None = None
    """Since the declaration; None while there is none."""
    end = 0
    for index, value in enumerate(excess.tolist()):
        account = max(0.0, account - value)
        if lowest is None:
            if account >= highest:
                onset, highest = index + 1, account
            elif highest - account >= rule.threshold_s:
                lowest, end = account, index
        elif account <= lowest:
            lowest, end = account, index
        elif account - lowest >= rule.recovery_s:
            yield onset, end
            onset, highest, lowest = index + 1, account, None
    if lowest is not None:
        yield onset, None
