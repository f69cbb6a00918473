"""What the entry scripts call: session, probe, readers, batches, stream."""
