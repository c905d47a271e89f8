"""`raymon train`: options to a run and its surroundings, everything started being ended again.

Nothing heavy is imported before the options are known to be good. Exit codes: 0 trained, 1 the run failed, 2 wrong use
or surroundings that cannot work, 128 + signal when stopped early.
"""

import argparse
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymon.train.config import Config


def main(arguments: list[str]) -> int:
    """Run `raymon train`."""
    # Before numpy and torch are loaded: the matrices are small, one thread is fastest and leaves cores to the workers.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Lost workers are reported in a sentence of our own; Ray's paragraph would bury it.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")

    config = parse(arguments)
    if config is None:
        return 0
    config.check()
    if config.engine == "rllib":
        from raymon.train import rllib_engine

        return int(rllib_engine.run(config))
    if importlib.util.find_spec("torch") is None:  # it is imported only while Ray starts
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    from raymon.train import host

    return host.run(config)


def parse(arguments: list[str]) -> "Config | None":
    """Return the configuration from the command line, over that of `--config` or of the run to resume.

    None when `--save-config` was all that was asked for. Raises `ConfigError`, `CheckpointError` or `SystemExit`.
    """
    import tyro

    from raymon.train import checkpoint
    from raymon.train import config as configuration

    files = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    files.add_argument("--config", type=Path)
    files.add_argument("--save-config", type=Path)
    files.add_argument("--resume", type=Path)
    given, rest = files.parse_known_args(arguments)
    default = configuration.Config() if given.config is None else configuration.load(given.config)
    if given.resume is not None:
        stored = checkpoint.load(given.resume)
        default = configuration.from_plain({**stored.config, "resume": str(given.resume)}, str(given.resume))
    config: configuration.Config = tyro.cli(
        configuration.Config,
        args=rest,
        default=default,
        prog="raymon train",
        description="Train with PPO and parallel sampling, everything visible. --config FILE reads the options below "
        "from YAML or TOML, --save-config FILE writes them and ends.",
    )
    if given.save_config is not None:
        config.check()
        configuration.save(config, given.save_config)
        print(f"options written to {given.save_config}; raymon train --config {given.save_config} uses them")
        return None
    return config
