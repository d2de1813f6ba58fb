"""Causal analysis of audio as it comes: live streams, and recordings in the same way.

`wire` turns bytes into samples, `turns` finds speech, `hearing` decides what the network is to hear of each
half second, `mood` follows each speaker, `engine` runs many streams side by side. `lines` writes them as JSON,
`standard_input` and `server` connect them to the world, and `recorded` takes a whole recording through the same code.
Nothing here looks ahead: what is said of a moment depends on nothing that was heard after the hop in which it is said.
"""

from callmood.live.engine import Engine, Stream
from callmood.live.listener import listen
from callmood.live.load import load_engine
from callmood.live.wire import StreamFormat

__all__ = ["Engine", "Stream", "StreamFormat", "listen", "load_engine"]
