"""How hypothesis looks for counterexamples.

At a desk every run looks somewhere else. Continuous integration repeats the same examples, so that no commit
is held up by what another one broke. HYPOTHESIS_PROFILE=thorough looks twenty times as long.
"""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline per example: a loaded machine is no finding.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "desk"))
