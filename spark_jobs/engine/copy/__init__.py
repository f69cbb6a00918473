"""COPY INTO: one statement's batch from its files to the target's commit."""
