"""The search for the best values of some keys: engines that choose them, trials, and what comes of it."""
