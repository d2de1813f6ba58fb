"""`callmood link-agents`: from the recordings that a database names to the agents of its calls."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from callmood.batch import as_before
from callmood.decode import decode
from callmood.diarize.vad import RATE_HZ
from callmood.diarize.voice import VoiceModel
from callmood.diarize.voiceprint import voiceprints
from callmood.errors import DatabaseError, RecordingError
from callmood.linking import Voices, choose
from callmood.model_files import models_hash
from callmood.pseudonyms import Pseudonyms
from callmood.remote import at_hand
from callmood.results.holder import user_name
from callmood.results.store import Store
from callmood.roles import with_agent
from callmood.settings import Settings
from callmood.text import path_text
from callmood.types import LinkedAgent, Recording, Turn

_TOLD = ("channel", "metadata")


@dataclass(frozen=True, kw_only=True)
class LinkSummary:
    """What a run of `link_agents` did."""

    agents: int
    """Agents whose calls were compared."""
    examined: int
    """Calls without told roles whose voices were compared."""
    linked: int
    missing: int
    """Calls whose recordings are not at hand; what was found of them before stays."""


def link_calls(settings: Settings) -> LinkSummary:
    """Compare voices and write roles; see `callmood.link_agents`."""
    from callmood import __version__

    if not Path(settings.db).is_file():
        raise DatabaseError(
            f"{settings.db}: no such database; run `callmood analyze` first, or name it with --db."
        )
    pseudonyms = Pseudonyms.of_settings(settings)
    model = VoiceModel(settings.models, device=settings.device)
    key = path_text if pseudonyms is None else pseudonyms.path
    with Store(settings.db, wait_s=settings.wait, path_key=key) as store:
        store.check_pseudonyms(None if pseudonyms is None else pseudonyms.check)
        turns_of = store.linkable_turns()
        known = [call for call in store.known_calls() if call.call_id in turns_of]
        recordings, _ = as_before(known, store.content_hash, pseudonyms)
        voices: dict[str, list[Voices]] = {}
        examined: list[str] = []
        for recording in recordings:
            source, turns = turns_of[recording.call_id]
            if source not in _TOLD:
                examined.append(recording.call_id)
            found = _voices(recording, turns, model, told=source in _TOLD)
            if found is not None:
                voices.setdefault(str(recording.metadata.agent_id), []).append(found)
        links: dict[str, tuple[str, LinkedAgent, tuple[Turn, ...]]] = {}
        for agent_id, calls in sorted(voices.items()):
            for choice in choose(calls):
                source, turns = turns_of[choice.call_id]
                if source not in _TOLD:
                    own = [turn for turn in turns if turn.speaker == choice.speaker]
                    link = LinkedAgent(
                        agent_id=agent_id,
                        confidence=choice.confidence,
                        spans=tuple((turn.start_s, turn.end_s) for turn in own),
                    )
                    links[choice.call_id] = (choice.speaker, link, with_agent(turns, choice.speaker))
        # A guess stays where voices tell nothing better.
        examined = [call for call in examined if call in links or turns_of[call][0] != "heuristic"]
        store.write_links(
            examined,
            links,
            {
                "linked_at": datetime.now(UTC),
                "linked_by": user_name(),
                "host": platform.node(),
                "version": __version__,
                "model_hash": models_hash(settings.models),
                "agents": len(voices),
                "calls": len(examined),
                "calls_linked": len(links),
            },
        )
    return LinkSummary(
        agents=len(voices),
        examined=len(examined),
        linked=len(links),
        missing=len(known) - len(recordings),
    )


def _voices(recording: Recording, turns: tuple[Turn, ...], model: VoiceModel, *, told: bool) -> Voices | None:
    """The voices of a call; None where they cannot be told, or the agent is told and among none of them."""
    try:
        with at_hand(recording) as local:
            prints = voiceprints(decode(local, rate_hz=RATE_HZ), turns, model)
    except RecordingError:
        return None
    agents = {turn.speaker for turn in turns if turn.role == "agent"}
    own = [index for index, speaker in enumerate(prints) if told and speaker in agents]
    if len(prints) < 2 or (told and not own):
        return None
    return Voices(
        call_id=recording.call_id,
        speakers=tuple(prints),
        embeddings=np.array([voice for voice, _ in prints.values()]),
        told=own[0] if own else None,
    )
