"""``python -m hpcml`` is the command ``hpcml``."""

import sys

from hpcml.cli.main import main

sys.exit(main())
