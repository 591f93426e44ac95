"""``python -m aurora_supervisor`` is the command ``aurora-supervisor``."""

from __future__ import annotations

import sys

from aurora_supervisor.cli import main

if __name__ == "__main__":
    sys.exit(main())
