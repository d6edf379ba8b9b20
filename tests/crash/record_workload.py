"""Run by `record`: DIRECTORY WORKLOAD."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from crash.workload import main

main()
