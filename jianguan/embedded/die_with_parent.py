"""Replace this process by a program that the kernel kills when the process that started it dies.

Run as a script, not imported: `python -I -S die_with_parent.py PARENT_PID PROGRAM [ARGUMENT ...]`.
A wrapper and not `preexec_fn`, because running Python between fork and exec is unsafe once there are threads.
It must not know which program it starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask for SIGKILL at the parent's death, then become the program. Does not return."""
    parent, program = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            sys.stderr.write("prctl refused: this process may outlive its parent\n")
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
    os.execv(program[0], program)  # noqa: S606 - the caller's own list of arguments, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
