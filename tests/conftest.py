"""Where agents of tests have their locks, and how hypothesis looks for counterexamples.

At a desk every run looks somewhere else. Continuous integration repeats the same examples, so that no commit
is held up by what another one broke. HYPOTHESIS_PROFILE=thorough looks twenty times as long.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# Agents of one id exclude each other by a lock: tests that run side by side have directories of their own.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="edge-agent-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# No deadline per example: a loaded machine is no finding.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "desk"))
