"""The bundled clip, `sample.mp4`, and the command that makes it: `python -m stream.samples`."""
