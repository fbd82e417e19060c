"""`python -m pysnnmed` is the command `pysnnmed`."""

import sys

from .cli import main

sys.exit(main())
