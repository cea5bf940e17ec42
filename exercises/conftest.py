"""The fixtures `answer` and `rng`; see `minigrad/course/plugin.py` for whose answers are tested."""

from minigrad.course.plugin import *  # noqa: F403
