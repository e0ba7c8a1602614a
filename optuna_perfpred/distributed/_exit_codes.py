"""Exit codes of a worker, as schedulers understand them."""

from __future__ import annotations

import signal


DONE = 0
# A bad argument, configuration or objective: a restart would not help.
USAGE = 1
# argparse exits with 2.
# The objective raised again and again: a restart would not help.
OBJECTIVE_FAILED = 3
# The storage could not be reached, or the worker broke: a restart may help.
BROKEN = 4
SIGINT = 128 + signal.SIGINT
SIGTERM = 128 + signal.SIGTERM

EXPLAINED = """\
exit codes:
    0  done: enough trials, enough time, or the study was stopped
    1  a bad argument, configuration file, objective or storage that no restart would mend, told
       on the standard error
    2  an argument that cannot be read
    3  the objective failed: several trials in a row, or each trial of this worker
    4  the storage cannot be reached, or the worker broke; a restart may help
  130  stopped by SIGINT, its trial left for another worker
  143  stopped by SIGTERM, its trial left for another worker
With --devices the worst of the workers' codes, 128 + N for one ended by the signal N.
"""

# A supervisor starts a worker that ended otherwise again.
FINAL = (DONE, USAGE, 2, OBJECTIVE_FAILED, SIGINT, SIGTERM)
_FROM_THE_BEST = (DONE, SIGINT, SIGTERM, OBJECTIVE_FAILED, BROKEN)


def severity(code: int) -> int:
    """Order exit codes from the best to the worst: signals, then wrong usage come last."""
    if code in _FROM_THE_BEST:
        return _FROM_THE_BEST.index(code)
    return code if code >= 128 else 1000 - code
