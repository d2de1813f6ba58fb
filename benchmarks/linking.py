"""How often `callmood link-agents` finds the agent of a mono call: `python -m benchmarks.linking SHARED`.

Scripted telephone calls as in `benchmarks.diarization`: each speaker of a corpus is an agent who talks to each other
speaker of it once, emotions drawn anew at every utterance. For every number of calls, agents are linked on as many
calls as that, drawn 20 times (seeded). With the true turns, and with those of the built-in diarizer, where the agent is
the speaker who shares most seconds with the true one.

`--development` takes speakers that the network (`benchmarks/kept_out`) has heard; by default they are those that it never heard. Nothing
was fitted to either: the confidence was set by hand before the first measurement.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.calls import KEPT_OUT
from benchmarks.diarization import _scripted
from callmood.diarize.builtin import BuiltinDiarizer
from callmood.diarize.turns import mark_overlap
from callmood.diarize.voice import VoiceModel
from callmood.diarize.voiceprint import voiceprints
from callmood.linking import Choice, Voices, choose
from callmood.types import Audio, Turn
from training.corpora import Clip, read_manifest
from training.speaker import DEVELOPMENT, HELD_OUT

NUMBERS = (3, 5, 7, 10)
DRAWS = 20


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One choice, and whether it is right."""

    choice: Choice
    right: bool


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.linking")
    parser.add_argument("shared", type=Path)
    parser.add_argument("--development", action="store_true", help="speakers that the network heard")
    parser.add_argument(
        "--models", type=Path, default=KEPT_OUT, help="folder of the models; default: benchmarks/kept_out"
    )
    options = parser.parse_args()
    agents = agents_calls(options.shared, DEVELOPMENT if options.development else HELD_OUT, options.models)
    print("| turns | calls per agent | agents | choices | right | right where confidence is 0.9 or more |")
    print("|---|---|---|---|---|---|")
    everything: list[Scored] = []
    for kind in ("true", "diarized"):
        for number in NUMBERS:
            found = [
                scored
                for seed, (_, calls) in enumerate(sorted(agents[kind].items()))
                for scored in linked(calls, number, seed=seed)
            ]
            if not found:
                continue
            everything += found
            enough = sum(len(calls) >= number for calls in agents[kind].values())
            sure = [scored.right for scored in found if scored.choice.confidence >= 0.9]
            share = f"{100 * np.mean(sure):.1f} % of {len(sure)}" if sure else "none"
            right = 100 * np.mean([scored.right for scored in found])
            print(f"| {kind} | {number} | {enough} | {len(found)} | {right:.1f} % | {share} |", flush=True)
    bounds = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.01)
    for low, high in pairwise(bounds):
        some = [scored.right for scored in everything if low <= scored.choice.confidence < high]
        if some:
            print(f"confidence {low} to {min(high, 1.0)}: {100 * np.mean(some):.1f} % right of {len(some)}")


def agents_calls(
    shared: Path, speakers: Sequence[str], models: Path
) -> dict[str, dict[str, list[tuple[Voices, int]]]]:
    """By kind of turns and agent: the voices of each call, and the index of the agent."""
    rows: dict[str, list[Clip]] = {}
    for manifest in ("crema-d.csv", "ravdess.csv"):
        for clip in read_manifest(shared / "corpora" / manifest)[0]:
            if clip.speaker in speakers:
                rows.setdefault(clip.speaker, []).append(clip)
    model, diarizer = VoiceModel(models), BuiltinDiarizer(speakers=2, models=models)
    found: dict[str, dict[str, list[tuple[Voices, int]]]] = {"true": {}, "diarized": {}}
    names = sorted(rows)
    for first, agent in enumerate(names):
        for customer in names[first + 1 :]:
            if agent.split("/")[0] != customer.split("/")[0]:
                continue
            samples, reference, _ = _scripted(
                rows[agent], rows[customer], seed=names.index(agent) * 100 + names.index(customer)
            )
            audio = Audio(
                samples=samples, rate_hz=8000, source_rate_hz=8000, source_channels=1, codec="PCM_16"
            )
            for kind, turns in (("true", mark_overlap(reference)), ("diarized", diarizer(audio))):
                prints = voiceprints(audio, turns, model)
                if len(prints) < 2:
                    continue
                # The call is one of either party, who takes the agent's part once and the customer's once.
                for party in (agent, customer):
                    index = _index_of(party, tuple(prints), turns, reference)
                    voices = Voices(
                        call_id=f"{agent} {customer}",
                        speakers=tuple(prints),
                        embeddings=np.array([voice for voice, _ in prints.values()]),
                    )
                    found[kind].setdefault(party, []).append((voices, index))
    return found


def linked(calls: Sequence[tuple[Voices, int]], number: int, *, seed: int) -> list[Scored]:
    """Choices from `DRAWS` draws of `number` calls; none where there are fewer."""
    if len(calls) < number:
        return []
    rng = np.random.default_rng(seed)
    scored = []
    for _ in range(DRAWS if len(calls) > number else 1):
        drawn = {calls[i][0].call_id: calls[i] for i in rng.choice(len(calls), number, replace=False)}
        for choice in choose([voices for voices, _ in drawn.values()]):
            voices, index = drawn[choice.call_id]
            scored.append(Scored(choice=choice, right=voices.speakers[index] == choice.speaker))
    return scored


def _index_of(party: str, speakers: Sequence[str], turns: Sequence[Turn], reference: Sequence[Turn]) -> int:
    """Of the speakers of `turns`, the one who shares most seconds with `party` in the reference."""
    shared_s = [
        sum(
            max(0.0, min(one.end_s, other.end_s) - max(one.start_s, other.start_s))
            for one in turns
            if one.speaker == speaker
            for other in reference
            if other.speaker == party
        )
        for speaker in speakers
    ]
    return int(np.argmax(shared_s))


if __name__ == "__main__":
    main()
