"""Measurements against what a user would pick instead; each script writes its own table."""
