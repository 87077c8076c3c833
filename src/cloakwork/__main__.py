"""`python -m cloakwork` is `cloakwork`."""

from __future__ import annotations

import sys

from cloakwork.cli import main

sys.exit(main())
