"""MFCC front end, shared by training and inference."""

from callmood.features.mfcc import FrontEnd, normalize

__all__ = ["FrontEnd", "normalize"]
