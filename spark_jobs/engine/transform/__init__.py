"""Doing the planned micro-batches of a transformation: source, steps, sinks."""
