"""One discovery in a process of its own, to be measured from outside."""

import sys

from include.config.reader import load_pipeline
from include.config.settings import load_settings
from include.ledger.discover import discover

if __name__ == "__main__":
    print(discover(load_pipeline(sys.argv[1]), load_settings(), "benchmark").pending_files)
