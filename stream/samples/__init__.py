"""The bundled clip, `sample.mp4`; made by `python -m detector.data.render_sample stream/samples/sample.mp4`."""
