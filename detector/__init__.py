"""People and their actions, in PyTorch: networks, weights, person detectors, training, evaluation.

Nothing in this package knows of cameras, wall-clock time or engines, and importing it imports no torch.
"""

__version__ = "0.1.0"
