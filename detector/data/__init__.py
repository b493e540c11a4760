"""Data sets: readers of their published files, decoding, sampling, transforms. No networks, no training."""
