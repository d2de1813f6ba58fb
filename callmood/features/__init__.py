"""MFCC front end, shared by training and inference."""

from callmood.features.mfcc import FrontEnd, network_input, normalize

__all__ = ["FrontEnd", "network_input", "normalize"]
