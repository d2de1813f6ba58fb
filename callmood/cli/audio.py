"""Commands that hear recordings or live audio without a database: each parses, opens, calls and prints."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, cast

import typer

from callmood.cli import options as opt
from callmood.cli.output import chosen_format, emit, say, write
from callmood.errors import Exit, UsageError
from callmood.settings import load_settings
from callmood.threads import one_thread

if TYPE_CHECKING:
    from callmood.types import Role


def classify(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Recordings of one utterance each.")],
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    models: opt.Models = None,
) -> None:
    """Name the emotion of single utterances, without a database."""
    from callmood.cli.classify import classify_each
    from callmood.cli.layouts import UTTERANCES

    output = chosen_format(as_json=as_json, as_csv=as_csv)
    table, errors = classify_each(files, models=load_settings({"models": models}).settings.models)
    write(table, output, UTTERANCES)
    for error in errors:
        say(f"callmood: {error}")
    raise typer.Exit(Exit.SOME_FAILED if errors else Exit.OK)


def diarize(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Recordings.")],
    as_rttm: Annotated[
        bool,
        typer.Option(
            "--rttm",
            help="Print RTTM; each file is named without its extension, and spaces in names become `_`.",
        ),
    ] = False,
    as_json: opt.AsJson = False,
    as_csv: opt.AsCsv = False,
    diarizer: opt.Diarizer = None,
    speakers: opt.Speakers = None,
    pyannote_pipeline: opt.PyannotePipeline = None,
    device: opt.Device = None,
    models: opt.Models = None,
) -> None:
    """Tell who speaks when, without a database and without emotions."""
    from callmood.cli.diarize import Sentences, rttm_of_each, turns_of_each
    from callmood.cli.layouts import TURNS_OF_FILES

    if as_rttm and (as_json or as_csv):
        raise UsageError("--rttm, --json and --csv exclude one another; give one of them.")
    output = chosen_format(as_json=as_json, as_csv=as_csv)
    given = {
        "diarizer": diarizer,
        "speakers": speakers,
        "pyannote_pipeline": pyannote_pipeline,
        "device": device,
        "models": models,
    }
    sentences = Sentences()
    if as_rttm:
        emit(rttm_of_each(files, given, sentences))
    else:
        write(turns_of_each(files, given, sentences), output, TURNS_OF_FILES, empty="no turns")
    for sentence in sentences.remarks + sentences.failures:
        say(f"callmood: {sentence}")
    raise typer.Exit(Exit.SOME_FAILED if sentences.failures else Exit.OK)


def listen(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="- for standard input, or a named pipe.", show_default=False),
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option(
            "--socket", metavar="PATH", help="Serve a Unix socket instead: each connection is a stream."
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="Serve a TCP port of 127.0.0.1; 0 takes a free one."
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option("--rate", metavar="HZ", help="Sampling rate of PCM; WAV tells its own.")
    ] = 8000,
    channels: Annotated[
        int, typer.Option("--channels", metavar="N", help="Channels of PCM, 1 or 2; WAV tells its own.")
    ] = 1,
    agent_channel: Annotated[
        int | None,
        typer.Option(
            "--agent-channel",
            metavar="0|1",
            min=0,
            max=1,
            help="The channel of two that the agent speaks on: 0 is left, 1 is right.",
        ),
    ] = None,
    party: Annotated[
        str | None,
        typer.Option(
            "--party",
            metavar="agent|customer",
            help="Who speaks in a stream of one channel, where it is one party alone.",
        ),
    ] = None,
    emotion_for: opt.EmotionFor = None,
    escalation_threshold: opt.EscalationThreshold = None,
    device: opt.Device = None,
    models: opt.Models = None,
) -> None:
    """Follow live audio (WAV, or PCM of 16 bit), with a JSON line for each half second."""
    # Many small products a second: more threads would wait for each other, at full speed, and take four times as much.
    os.environ.update(one_thread())
    from callmood.cli.listen import hear_input, serve
    from callmood.live import StreamFormat, load_engine

    serving = socket is not None or port is not None
    if serving == (source is not None):
        raise UsageError("Name one input (- for standard input), or --socket or --port to serve many.")
    if party not in (None, "agent", "customer"):
        raise UsageError(f"--party is {party!r}; it must be agent or customer.")
    raw = StreamFormat(
        rate_hz=rate, channels=channels, agent_channel=agent_channel, party=cast("Role | None", party)
    )
    given = {
        "emotion_for": emotion_for,
        "escalation_threshold": escalation_threshold,
        "device": device,
        "models": models,
    }
    engine = load_engine(load_settings(given).settings)
    if source is not None:
        raise typer.Exit(hear_input(engine, source, raw))
    serve(engine, raw, path=socket, port=port)
