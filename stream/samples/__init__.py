"""The bundled clip, `sample.mp4`; made by `python -m detector.rendering.sample stream/samples/sample.mp4`."""
