"""Drawn people who move: bodies, acts, scenes, videos and training clips."""
