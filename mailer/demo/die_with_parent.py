"""Ties forked processes to their parents; gunicorn, too, loads this module, as its configuration.

It holds for every process that is forked where this module is imported, and over its exec, but
not for those that subprocess starts without a preexec_fn.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

_forked_by = [os.getpid()]


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, if the kernel is Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _forked_by[-1]:
        os._exit(1)


os.register_at_fork(before=lambda: _forked_by.append(os.getpid()), after_in_child=die_with_parent)
