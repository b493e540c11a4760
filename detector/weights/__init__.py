"""Weights: records of what is published, the cache, downloads, our own file, and which of them to use."""
