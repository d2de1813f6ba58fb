"""Scripted telephone calls whose customer is known to escalate or to stay calm, spoken by voices of corpora.

A call is a script first (`Script`: who says which clips when, and where the truth lies), and becomes sound with
`render`: in two channels or in one, with the clips' own levels or with every turn at the same one. All that is random
follows from the seed, the script's name among it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from callmood.diarize.vad import RATE_HZ
from callmood.types import Audio, Floats, Turn
from training.augment import Acoustics, add_noise, band_limit, encode, reverberate
from training.corpora import Clip
from training.speaker import speech_of

AGENT, CUSTOMER = 0, 1

CALM = ("neutral", "happy", "sad", "surprised")
OUTBURSTS: dict[tuple[str, ...], float] = {
    ("angry",): 0.6,
    ("angry", "fearful"): 0.1,
    ("angry", "disgust"): 0.15,
    ("fearful",): 0.075,
    ("disgust",): 0.075,
}
"""What the utterances of an escalation are drawn from, and how many of the escalations have it."""

ESCALATING = ("lasting", "recovered")
"""Kinds of call that escalate: to the end, or with an end."""
QUIET = ("neutral", "mixed", "sad", "loud happy")
"""Kinds that do not: neutral throughout; any calm emotion at each turn; one that turns sad as another turns angry;
one that turns happy, `LOUDER_DB` louder."""
ANGRY_THROUGHOUT = "angry throughout"
"""Negative from the first word to the last, which is no escalation; beside the others."""
LOUDER_DB = 10.0

SHARES: dict[str, float] = {
    "lasting": 0.225,
    "recovered": 0.225,
    "neutral": 0.125,
    "mixed": 0.125,
    "sad": 0.125,
    "loud happy": 0.125,
    ANGRY_THROUGHOUT: 0.05,
}
CODECS = ("ULAW", "ALAW", "GSM610")
LEVEL_DBFS = -23.0
"""Level of a party's speech over the call, or of each of its turns where levels are equalised; drawn 6 dB about it."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One turn of a script."""

    party: int
    """`AGENT` or `CUSTOMER`."""
    clips: tuple[Clip, ...]
    start_s: float
    end_s: float
    gain_db: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Script:
    """One call, without its sound."""

    name: str
    kind: str
    fold: int
    speakers: tuple[str, str]
    """Agent and customer."""
    customer_channel: int
    utterances: tuple[Utterance, ...]
    onset_s: float | None
    """Where the customer's first negative turn begins, where the call escalates."""
    end_s: float | None
    """Where the last one ends, where it recovers after it."""
    outburst: tuple[str, ...] = ()
    """Emotions of the negative turns."""

    @property
    def duration_s(self) -> float:
        return self.utterances[-1].end_s + 0.5

    @property
    def escalates(self) -> bool:
        return self.kind in ESCALATING


def scripts(
    clips: Sequence[Clip], sex: Mapping[str, str], *, fold: int, count: int, seed: int = 0
) -> Iterator[Script]:
    """Calls between the speakers of `clips`, which are all of one fold; each is the customer about equally often.

    Four of five are between speakers of one sex; both are of one corpus wherever it has two of that sex.
    """
    own: dict[str, dict[str, list[Clip]]] = {}
    for clip in sorted(clips, key=lambda clip: clip.file):
        own.setdefault(clip.speaker, {}).setdefault(clip.emotion, []).append(clip)
    rng = np.random.default_rng([seed, fold])
    kinds = np.repeat(list(SHARES), _dealt(count, list(SHARES.values())))
    rng.shuffle(kinds)
    customers = np.resize(rng.permutation(sorted(own)), count)
    for index, (kind, customer) in enumerate(zip(kinds, customers, strict=True)):
        name = f"fold{fold}-{index:03d}"
        agent = _partner(str(customer), sorted(own), sex, rng)
        yield _script(name, str(kind), fold, agent, str(customer), own, rng)


def _dealt(count: int, shares: Sequence[float]) -> list[int]:
    """`count` dealt by shares that sum to 1."""
    bounds = np.round(np.concatenate([[0.0], np.cumsum(shares)]) * count).astype(int)
    return np.diff(bounds).tolist()


def _partner(customer: str, speakers: Sequence[str], sex: Mapping[str, str], rng: np.random.Generator) -> str:
    same_sex = rng.random() < 0.8
    others = [name for name in speakers if name != customer]
    others = [name for name in others if (sex[name] == sex[customer]) == same_sex] or others
    corpus = customer.split("/")[0]
    return str(rng.choice([name for name in others if name.split("/")[0] == corpus] or others))


def _script(
    name: str,
    kind: str,
    fold: int,
    agent: str,
    customer: str,
    own: Mapping[str, Mapping[str, Sequence[Clip]]],
    rng: np.random.Generator,
) -> Script:
    length_s = float(np.exp(rng.uniform(np.log(60.0), np.log(300.0))))
    has = own[customer]
    outbursts = [kinds for kinds in OUTBURSTS if all(emotion in has for emotion in kinds)]
    shares = np.array([OUTBURSTS[kinds] for kinds in outbursts])
    outburst = outbursts[int(rng.choice(len(outbursts), p=shares / shares.sum()))]
    calm = [emotion for emotion in CALM if emotion in has]
    # Half of the calls are calm in one way throughout, the others in any.
    usual = [str(rng.choice(calm))] if rng.random() < 0.5 else calm
    if kind in ("neutral", "loud happy"):
        usual = ["neutral"]
    elif kind == "mixed":
        usual = calm
    stretch = _stretch(kind, length_s, rng)
    changed: Sequence[str] = {"sad": ["sad"], "loud happy": ["happy"]}.get(kind, list(outburst))
    utterances: list[Utterance] = []
    negative: list[Utterance] = []
    now_s, party = float(rng.uniform(0.3, 1.5)), int(rng.integers(2))
    while now_s < length_s:
        inside = party == CUSTOMER and stretch[0] <= now_s < stretch[1]
        clips = own[(agent, customer)[party]]
        emotions = ["neutral"] if party == AGENT else changed if inside else usual
        chosen, spoken_s = _words(clips, emotions, rng)
        utterance = Utterance(
            party=party,
            clips=chosen,
            start_s=now_s,
            end_s=now_s + spoken_s,
            gain_db=LOUDER_DB if inside and kind == "loud happy" else 0.0,
        )
        utterances.append(utterance)
        if inside:
            negative.append(utterance)
        # One turn in ten begins before the other has ended.
        gap_s = rng.uniform(-0.6, 0.0) if rng.random() < 0.1 else rng.uniform(0.1, 1.0)
        now_s = utterance.end_s + float(gap_s)
        party = 1 - party
    escalates = kind in ESCALATING and bool(negative)
    return Script(
        name=name,
        kind=kind,
        fold=fold,
        speakers=(agent, customer),
        customer_channel=int(rng.integers(2)),
        utterances=tuple(utterances),
        onset_s=negative[0].start_s if escalates else None,
        end_s=negative[-1].end_s if escalates and kind == "recovered" else None,
        outburst=outburst if kind in (*ESCALATING, ANGRY_THROUGHOUT) else (),
    )


def _stretch(kind: str, length_s: float, rng: np.random.Generator) -> tuple[float, float]:
    """From where to where the customer is other than usual; at least 18 s, which holds two of the customer's turns."""
    if kind in ("neutral", "mixed"):
        return length_s, length_s
    if kind == ANGRY_THROUGHOUT:
        return 0.0, length_s
    part_s = max(float(rng.uniform(0.2, 0.4)) * length_s, 18.0)
    # What turns sad or happy does so to the end or not, as what turns angry.
    if kind == "lasting" or (kind != "recovered" and rng.random() < 0.5):
        return length_s - part_s, length_s
    begin_s = float(rng.uniform(0.25, 0.45)) * length_s
    return begin_s, begin_s + part_s


def _words(
    clips: Mapping[str, Sequence[Clip]], emotions: Sequence[str], rng: np.random.Generator
) -> tuple[tuple[Clip, ...], float]:
    """Clips of one of the emotions that are 2 to 5 s long together, and their length with the pauses between."""
    of_one = clips[str(rng.choice(list(emotions)))]
    wanted_s = float(rng.uniform(2.0, 5.0))
    chosen: list[Clip] = []
    spoken_s = 0.0
    while not chosen or spoken_s < wanted_s - 1.0:
        left = [clip for clip in of_one if clip not in chosen] or list(of_one)
        chosen.append(left[int(rng.integers(len(left)))])
        spoken_s += len(_speech(chosen[-1])) / RATE_HZ + (PAUSE_S if len(chosen) > 1 else 0.0)
    return tuple(chosen), spoken_s


PAUSE_S = 0.2
"""Between the clips of a turn."""


@lru_cache(maxsize=4096)
def _speech(clip: Clip) -> Floats:
    return speech_of(clip)


def true_turns(script: Script, *, channels: int) -> tuple[Turn, ...]:
    """The turns as scripted: S1 is on the left or, in one channel, spoke first."""
    first = script.utterances[0].party

    def turn(utterance: Utterance) -> Turn:
        on_right = (utterance.party == CUSTOMER) == (script.customer_channel == 1)
        second = on_right if channels == 2 else utterance.party != first
        return Turn(
            speaker="S2" if second else "S1",
            channel=int(on_right) if channels == 2 else 0,
            start_s=utterance.start_s,
            end_s=utterance.end_s,
        )

    return tuple(map(turn, script.utterances))


def render(script: Script, acoustics: Acoustics, *, levelled: bool) -> Audio:
    """The call over two telephone lines, the agent's and the customer's, each on its channel.

    With `levelled` every turn has the same level before the line, so that loudness tells nothing. Rooms, noise, bands,
    codecs and levels are drawn by the script's name, so that all versions of a call have the same.
    """
    digest = hashlib.sha256(script.name.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    lines = [_line(script, party, acoustics, levelled=levelled, rng=rng) for party in (AGENT, CUSTOMER)]
    samples = np.stack(lines if script.customer_channel == 1 else lines[::-1])
    return Audio(
        samples=np.asarray(np.clip(samples, -1.0, 1.0), dtype=np.float32),
        rate_hz=RATE_HZ,
        source_rate_hz=RATE_HZ,
        source_channels=2,
        codec="PCM_16",
    )


def _line(
    script: Script, party: int, acoustics: Acoustics, *, levelled: bool, rng: np.random.Generator
) -> Floats:
    """One party's end of the call, shape (n,)."""
    speech = np.zeros(round(script.duration_s * RATE_HZ) + RATE_HZ, dtype=np.float32)
    power, heard = 0.0, 0
    for utterance in (one for one in script.utterances if one.party == party):
        pause = np.zeros(round(PAUSE_S * RATE_HZ), dtype=np.float32)
        parts = [part for clip in utterance.clips for part in (pause, _speech(clip))][1:]
        spoken = np.concatenate(parts) * 10 ** (utterance.gain_db / 20)
        if levelled:
            spoken = spoken / np.sqrt(np.mean(spoken**2))
        start = round(utterance.start_s * RATE_HZ)
        speech[start : start + len(spoken)] += spoken
        power, heard = power + float(np.sum(spoken**2)), heard + len(spoken)
    speech = speech[: round(script.duration_s * RATE_HZ)]
    level_dbfs = LEVEL_DBFS + rng.uniform(-6.0, 6.0)
    out = np.asarray(speech * 10 ** (level_dbfs / 20) / np.sqrt(power / max(heard, 1)), dtype=np.float32)
    in_room, noisy = rng.random() < 0.2, rng.random() < 0.6
    room = acoustics.rooms[int(rng.integers(len(acoustics.rooms)))]
    noise = acoustics.noises[int(rng.integers(len(acoustics.noises)))]
    if in_room:
        out = reverberate(out, room)
    if noisy:
        out = add_noise(out, noise, snr_db=float(rng.uniform(12.0, 30.0)), rng=rng)
    out = band_limit(
        out, low_hz=float(rng.uniform(150, 350)), high_hz=float(rng.uniform(3200, 3700)), rate_hz=RATE_HZ
    )
    codec = str(rng.choice(CODECS))
    coded = encode(out, subtype=codec, rate_hz=RATE_HZ)
    # Some codecs give a few samples less back than they were given.
    return np.pad(coded, (0, max(len(out) - len(coded), 0)))[: len(out)]
