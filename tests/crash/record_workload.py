"""Run by `record`: DIRECTORY WORKLOAD, or by tests with the MARKS of what is made."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crash.workload import main

main()
