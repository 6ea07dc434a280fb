"""Becomes another program that the kernel kills with its parent: `python leash.py PARENT COMMAND...`.

A supervisor that is killed cannot clean up, so the wish is left with the kernel (Linux), where it survives the exec.
Run as a file of its own, because nothing may run in a forked copy of a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask to be killed with the parent, and become the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the wish was heard.
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the point


if __name__ == "__main__":
    main()
