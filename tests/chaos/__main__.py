"""`python -m tests.chaos`: one run, or several with seeds that follow each other. Exit code 1 when one has failed."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos.schedule import LASTS, plan
from tests.chaos.show import Options, run, say
from tests.cluster.kafka import KafkaUnavailableError, find


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1, help="so many, with this seed and those after it")
    parser.add_argument("--minutes", type=float, default=1.5, help="of faults; starting and settling come on top")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--rate", type=float, default=50.0, help="records a second")
    parser.add_argument("--only", default="", help=f"kinds of fault, with commas between: {', '.join(LASTS)}")
    parser.add_argument(
        "--folder", type=Path, help="for data and logs; kept. Default: a temporary one, kept on failure"
    )
    parser.add_argument("--plan", action="store_true", help="print the schedule and do nothing")
    given = parser.parse_args()
    kinds = tuple(given.only.split(",")) if given.only else tuple(LASTS)
    if unknown := set(kinds) - set(LASTS):
        parser.error(f"there is no fault {', '.join(sorted(unknown))}")
    if given.plan:
        for action in plan(given.seed, given.minutes * 60, given.workers, kinds):
            print(*action)
        return 0
    try:
        find()
    except KafkaUnavailableError as error:
        parser.error(str(error))
    failed = 0
    for seed in range(given.seed, given.seed + given.runs):
        options = Options(seed, given.minutes * 60, given.workers, given.brokers, given.rate, kinds)
        failed += not _one(options, given.folder)
    return 1 if failed else 0


def _one(options: Options, kept: Path | None) -> bool:
    if kept is None:
        folder = Path(tempfile.mkdtemp(prefix=f"jianguan-chaos-{options.seed}-"))
    else:
        folder = kept / f"seed-{options.seed}"
        folder.mkdir(parents=True)
    passed = False
    try:
        result = run(options, folder)
        passed = result.passed
        print(result.line(), flush=True)
    except Exception:  # noqa: BLE001 - the next seed may tell more
        say(f"seed {options.seed} did not come to an end; see {folder}\n{traceback.format_exc()}")
    if passed and kept is None:
        shutil.rmtree(folder)
    elif not passed:
        say(f"seed {options.seed} FAILED; everything is in {folder}")
    return passed


if __name__ == "__main__":
    sys.exit(main())
