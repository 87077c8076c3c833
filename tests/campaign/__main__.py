"""`python -m campaign`."""

import sys

from campaign.command import main

if __name__ == "__main__":
    sys.exit(main())
