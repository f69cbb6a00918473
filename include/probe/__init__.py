"""One look at landing files before they are loaded: whole or broken, how many records, which keys. No Spark."""
