"""Is this a recording? By the extension of its name, or by the first bytes of its content."""

from __future__ import annotations

from pathlib import Path

from callmood.mpeg import LAYER2_KBPS, LAYER3_KBPS, LOW_RATE_KBPS, RATES_HZ

HEAD_BYTES = 4096
"""How much of a file `is_audio_content` wants to see."""

AUDIO_EXTENSIONS = frozenset(
    extension
    for group in (
        "wav wave bwf rf64 w64 aif aiff aifc au snd caf flac wv sph nist",
        "oga ogg opus spx mp2 mp3 mpga aac ac3 m4a m4b amr awb wma",
        "g711 g711a g711u al alaw pcma ul ulaw mulaw pcmu pcm sln vox gsm ilbc lbc",
        "g722 g723 g723_1 tco rco g726 g729 g729a",
        # `ts` (also TypeScript) and `raw` (also photographs) are left to their content.
        "mp4 m4v mov 3gp 3g2 3gpp asf wmv webm mkv mka avi flv mpg mpeg m2ts mts vob",
    )
    for extension in group.split()
)
"""Extensions that promise audio, in lower case and without the dot; raw codecs have no other mark."""

_PREFIXES = (
    b"#!AMR\n",
    b"#!AMR-WB\n",
    b"#!AMR_MC1.0\n",
    b"#!AMR-WB_MC1.0\n",
    b"#!iLBC20\n",
    b"#!iLBC30\n",
    b"NIST_1A\n",
    b"caff\x00\x01",
    b"fLaC\x00\x00\x00\x22",  # the first block is STREAMINFO, 34 bytes long
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),  # ASF: the GUID of its header object
    bytes.fromhex("726966662e91cf11a5d628db04c10000"),  # W64: the GUID of its RIFF chunk
)

_RIFF_FORMS = (b"WAVE", b"AVI ")
_IFF_FORMS = (b"AIFF", b"AIFC")
_PICTURE_BRANDS = frozenset((b"avif", b"avis", b"crx ", b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1"))

_TS_PACKET_BYTES = 188


def has_audio_extension(path: Path) -> bool:
    """Whether the name promises audio, raw codecs and video containers included."""
    return path.suffix[1:].lower() in AUDIO_EXTENSIONS


def is_audio_content(head: bytes) -> bool:
    """Whether a file that begins with `head` (its first `HEAD_BYTES` bytes) is a known audio or video format.

    Formats that begin with a short mark are checked against further fields of their header, so that text or
    random bytes rarely pass.
    """
    return (
        head.startswith(_PREFIXES)
        or (head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] in _RIFF_FORMS)
        or (head[:4] == b"FORM" and head[8:12] in _IFF_FORMS)
        or (head[:4] == b".snd" and 24 <= int.from_bytes(head[4:8]) < 1 << 16)
        or (head[:5] == b"OggS\x00" and head[5:6] < b"\x08")
        or (head[:4] == b"FLV\x01" and head[5:9] == b"\x00\x00\x00\x09")
        or (head[:4] == b"\x1a\x45\xdf\xa3" and (b"webm" in head[:64] or b"matroska" in head[:64]))
        or _is_iso_media(head)
        or _is_id3(head)
        or _is_mpeg_audio(head)
        or _is_adts(head)
        or _is_program_stream(head)
        or _is_transport_stream(head)
    )


def _is_iso_media(head: bytes) -> bool:
    """MP4, M4A, MOV, 3GP; not the pictures (HEIC, AVIF, CR3) that share the container."""
    if len(head) < 16 or int.from_bytes(head[:4]) < 8:
        return False
    return (head[4:8] == b"ftyp" and head[8:12] not in _PICTURE_BRANDS) or (
        head[4:8] == b"moov" and head[12:16] in (b"mvhd", b"cmov")
    )


def _is_id3(head: bytes) -> bool:
    """An ID3v2 tag, which stands before MP3 or AAC."""
    return (
        len(head) >= 10
        and head[:3] == b"ID3"
        and head[3] in (2, 3, 4)
        and head[4] != 0xFF
        and head[5] & 0x0F == 0
        and max(head[6:10]) < 0x80
    )


def _is_mpeg_audio(head: bytes) -> bool:
    """MPEG audio, layers II and III: a valid frame header, and another one where the frame ends."""
    length = _mpeg_frame_bytes(head[:4])
    return bool(length and _mpeg_frame_bytes(head[length : length + 4]))


def _mpeg_frame_bytes(header: bytes) -> int:
    """Length that a frame header announces, 0 where it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer not in (1, 2) or bitrate_index in (0, 15) or rate_index == 3:
        return 0
    if header[3] & 3 == 2:  # reserved emphasis
        return 0
    layer3 = layer == 1
    kbits = LOW_RATE_KBPS if version != 3 else LAYER3_KBPS if layer3 else LAYER2_KBPS
    samples = 576 if layer3 and version != 3 else 1152
    return samples * kbits[bitrate_index - 1] * 125 // RATES_HZ[version][rate_index] + padding


def _is_adts(head: bytes) -> bool:
    """Bare AAC: a valid ADTS header, and another one where the frame ends."""
    length = _adts_frame_bytes(head[:7])
    return bool(length and _adts_frame_bytes(head[length : length + 7]))


def _adts_frame_bytes(header: bytes) -> int:
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 0xF > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length > 7 else 0


def _is_program_stream(head: bytes) -> bool:
    """MPEG program stream: a pack header with the marker bits of MPEG-1 or MPEG-2."""
    return (
        len(head) >= 5
        and head[:4] == b"\x00\x00\x01\xba"
        and (head[4] & 0xC4 == 0x44 or head[4] & 0xF1 == 0x21)
    )


def _is_transport_stream(head: bytes) -> bool:
    """MPEG transport stream: five packets in a row, bare or with the 4-byte timestamp of M2TS."""
    for first, step in ((0, _TS_PACKET_BYTES), (4, _TS_PACKET_BYTES + 4)):
        packets = [head[first + i * step :][:4] for i in range(5)]
        if all(len(p) == 4 and p[0] == 0x47 and p[3] & 0x30 for p in packets):
            return True
    return False
