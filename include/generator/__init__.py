"""Made-up events with what makes streams hard: late ones, duplicates, a few busy users. One seed, one set of files."""
