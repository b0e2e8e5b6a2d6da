"""The tests in `guest` are for the guest alone; test_guest_*.py have them run there."""

from __future__ import annotations

import os

collect_ignore = [] if "IN_GUEST" in os.environ else ["guest"]
