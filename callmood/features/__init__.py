"""MFCC front end, shared by training and inference."""

from callmood.features.mfcc import ChannelFrames, FrontEnd, Spread, network_input, normalize

__all__ = ["ChannelFrames", "FrontEnd", "Spread", "network_input", "normalize"]
