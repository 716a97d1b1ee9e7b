"""One Horovod worker: ``python -m nntrainer.training.worker``, started by ``nntrainer.training.launch``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nntrainer.config import load_config
from nntrainer.errors import Interrupted, NNTrainerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one fold as one of several workers.

    Args:
        arguments: the command line; the process's own if absent.

    Returns:
        The exit code: 0 also when interrupted, so that the launcher lets the other workers end by themselves.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the fold's directory, with config.json")
    parser.add_argument("--fold", type=int, required=True, help="the fold")
    parser.add_argument(
        "--parent", type=int, default=None, help="process id of the launcher, where it is on this machine"
    )
    given = parser.parse_args(arguments)

    from nntrainer.training.distributed import join, set_up_devices
    from nntrainer.training.interrupt import process_lives, somebody_listens
    from nntrainer.training.launch import FileProgress
    from nntrainer.training.load import load_training_data
    from nntrainer.training.loop import train_fold
    from nntrainer.training.record import read_training, write_training

    chief = True
    try:
        # What the launcher wrote is resolved: the environment has had its say.
        config = load_config(given.directory / "config.json", environment={})
        workers = join(config.training.workers)
        chief = workers.chief
        set_up_devices(workers.local_rank, workers.local_size, config.training.threads, config.model.by_event)
        data = load_training_data(config, given.fold, workers.rank, workers.size)
        train_fold(
            config,
            given.fold,
            given.directory,
            data,
            workers=workers,
            launcher_lives=partial(process_lives, given.parent) if given.parent else somebody_listens,
            progress=FileProgress(given.directory / "progress.json"),
        )
    except Interrupted:
        return 0
    except NNTrainerError as error:
        sys.stderr.write(f"error: {error}\n")
        if chief and read_training(given.directory).get("state") != "failed":
            write_training(given.directory, state="failed", fold=given.fold, error=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
