"""The diarizer for two-channel calls: each channel is one speaker."""

from __future__ import annotations

import numpy as np

from callmood.diarize.turns import (
    MAX_PAUSE_S,
    MIN_TURN_S,
    Regions,
    join_regions,
    mark_overlap,
    require_telephone_rate,
)
from callmood.diarize.vad import RATE_HZ, STEP_S, level_db, speech_in_calls
from callmood.errors import RecordingError
from callmood.types import Audio, Floats, Turn

ECHO_DB = 15.0
"""Cross-talk and line echo are at least this far below the voice that they copy."""
ECHO_CORRELATION = 0.7
"""... and their level follows that voice's: least correlation of the two levels in dB."""
ECHO_DELAY_S = 0.25
"""... at most this much later (a telephone line's round trip)."""
_CONTEXT_S = 0.3
"""Taken on either side of a region, so that a short one has enough levels to correlate."""


class ChannelsDiarizer:
    """Voice activity per channel; the left one is S1, the right one S2."""

    name = "channels 3"
    by_channel = True

    def __call__(self, audio: Audio) -> tuple[Turn, ...]:
        """Turns of both channels, ordered by start.

        Raises RecordingError for audio of one channel.
        """
        require_telephone_rate(audio, RATE_HZ)
        if audio.channels != 2:
            raise RecordingError(
                "The diarizer `channels` needs two channels with different content and this recording has "
                "one; use --diarizer builtin or auto."
            )
        levels = [level_db(channel) for channel in audio.samples]
        turns = []
        for channel, regions in enumerate(speech_in_calls(list(audio.samples))):
            own = np.array(
                [not is_echo(region, levels[channel], levels[1 - channel]) for region in regions], dtype=bool
            )
            for start_s, end_s in join_regions(regions[own], max_pause_s=MAX_PAUSE_S, min_s=MIN_TURN_S):
                turns.append(
                    Turn(
                        speaker=f"S{channel + 1}", channel=channel, start_s=float(start_s), end_s=float(end_s)
                    )
                )
        return mark_overlap(turns)


def is_echo(region: Regions, level: Floats, other: Floats) -> bool:
    """Whether what a channel carries in `region` (start, end) is a faint copy of the other channel.

    `level` and `other` are the levels of the two channels per 32 ms (see `level_db`).
    """
    first = max(0, int((region[0] - _CONTEXT_S) / STEP_S))
    last = min(len(level), int((region[1] + _CONTEXT_S) / STEP_S) + 1)
    copy = level[first:last]
    for delay in range(int(ECHO_DELAY_S / STEP_S) + 1):
        voice = other[max(0, first - delay) : last - delay]
        late = copy[len(copy) - len(voice) :]
        if len(voice) < 3:
            continue
        # Power, not dB, averages to the level of the voice: pauses must not count.
        below_db = 10.0 * np.log10(np.mean(10 ** (voice / 10)) / np.mean(10 ** (late / 10)))
        if below_db < ECHO_DB or voice.std() == 0 or late.std() == 0:
            continue
        if np.corrcoef(late, voice)[0, 1] >= ECHO_CORRELATION:
            return True
    return False
