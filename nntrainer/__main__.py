"""``python -m nntrainer``."""

from nntrainer.cli import main

main()
