"""Time lives here: sources, ring buffer, pipeline, overlay, sinks, metrics and the command line."""
