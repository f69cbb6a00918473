"""The algebra of incremental aggregates: SQL text about states that can be merged. Pure; imports nothing of ours."""
