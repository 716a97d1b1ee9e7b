#!/bin/sh
# `docker run IMAGE nntrainer doctor`, `docker run IMAGE doctor` and `docker run IMAGE python script.py` all do what they say:
# a program of the image is run, anything else is a verb of nntrainer.
# (`which`, because `command -v` also finds what the shell itself has, such as export.)
if which -- "$1" >/dev/null 2>&1; then exec "$@"; else exec nntrainer "$@"; fi
