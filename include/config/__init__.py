"""What the user writes (pipeline files, settings) and the words every part shares (errors, exit codes, results)."""
