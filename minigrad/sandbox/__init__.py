"""Runs code that nobody trusts: plain values in, plain values out, walls around.

For the grader, for pass@k and for agents. `Sandbox` is all that others need; `plain` says what
may pass, `jail` puts up the walls, `rules` says what the kernel refuses besides, `worker` is the
process behind them. A kernel for GPUs is run there in a way of its own: `language` says what it may
be made of, `launching` simulates and watches it.
"""

from minigrad.sandbox.box import Limits, Sandbox, best_tier
from minigrad.sandbox.jail import TIERS
from minigrad.sandbox.plain import Given
from minigrad.sandbox.verdicts import Failure, Fault
