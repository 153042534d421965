"""The process: `aiq`, and `python -m aiq`."""

from __future__ import annotations

import sys

from aiq.cli import streams
from aiq.cli.app import app


def main() -> None:
    """Run the command line and end the process with its exit status."""
    streams.prepare()
    exit_code = 0
    try:
        app(prog_name="aiq")
    except SystemExit as end:
        exit_code = end.code if isinstance(end.code, int) else 0
    except OSError:
        # Only help and version are written unguarded; `finish` meets the same error and says so.
        pass
    sys.exit(streams.finish(exit_code))


if __name__ == "__main__":
    main()
