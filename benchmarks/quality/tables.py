"""The two tables of the README: photographs, and what shares a template. Some 8 minutes of a processor.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.quality.tables [--part untouched|tuned] [--photos 6] [--pictures 8]
        [--edited 2] [--model bundled]

The first is that of ``run`` on fewer photos, by the search in one process; the second is ``beyond``, by a daemon.
"""

from __future__ import annotations

import argparse

from benchmarks.quality import beyond, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["untouched", "tuned"], default="untouched")
    parser.add_argument("--model", default="bundled", help="a handle; default: %(default)s")
    parser.add_argument("--photos", type=int, default=6, help="of each kind, edited in 46 ways")
    parser.add_argument("--pictures", type=int, default=8, help="of each family")
    parser.add_argument("--edited", type=int, default=2, help="of these, edited in ten ways")
    options = parser.parse_args()
    run.print_missed(run.print_table(options.part, options.model, options.photos).copies)
    beyond.print_table(options.part, options.model, options.pictures, options.edited)


if __name__ == "__main__":
    main()
