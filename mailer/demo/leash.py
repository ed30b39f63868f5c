"""Starts a command that ends when the demo does: python leash.py PARENT-ID COMMAND ….

Run as a file, not imported: the request belongs between fork and exec, where a Python with
threads should not run code of its own. The kernel keeps it over the exec.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become the command, to be told to end when the parent does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("The demo ended before this began.")
    os.execvp(command[0], command)  # noqa: S606 - no shell is what we want


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
