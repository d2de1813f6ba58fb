"""Tables of MPEG audio headers (ISO 11172-3 and 13818-3); indices are those of the header's fields."""

from __future__ import annotations

LAYER2_KBPS = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
"""Bit rates by index 1 to 14."""
LAYER3_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
LOW_RATE_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
"""Of both layers, at the lower sampling rates of MPEG-2 and 2.5."""
RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Sampling rates by version (3 is MPEG-1) and index."""
