"""The `sluice` command: arguments in, figures out. What it does is done by include.ledger and include.submit."""
