"""Where things are."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ROOT / "bench" / "peers"
BUILD = pathlib.Path(os.environ.get("RINGLET_BUILD_DIR") or ROOT / "build/release").resolve()
SYSTEM_PYTHON3 = "/usr/bin/python3"  # it sees the system's packages
PYTHON3 = os.environ.get("PYTHON3") or (SYSTEM_PYTHON3 if os.access(SYSTEM_PYTHON3, os.X_OK) else "python3")
