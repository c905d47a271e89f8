"""`raymon train`: parse the options, then hand them to an engine.

Nothing heavy is imported before the options are known to be valid. Exit codes: 0 trained, 1 the run failed, 2 wrong use
or an environment, cluster or port that cannot be used, 128 + signal if stopped early.
"""

import argparse
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raymon.train.options import Config


def main(arguments: list[str]) -> int:
    """Run `raymon train`."""
    # Set before numpy and torch are loaded: the matrices are small, and one thread leaves cores to the workers.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Lost workers are reported in one sentence; Ray's paragraph would bury it.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
    config = parse(arguments)
    if config is None:
        return 0
    config.check()
    if config.engine == "rllib":
        from raymon.train import rllib_engine

        return rllib_engine.run(config)
    if importlib.util.find_spec("torch") is None:  # it is imported only while Ray starts
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    from raymon.train import ppo_engine

    return ppo_engine.run(config)


def parse(arguments: list[str]) -> "Config | None":
    """Return the options of the command line, over those of `--config` and of the run to resume.

    None after `--save-config`, which only writes a file.

    Raises:
        ConfigError: A file holds unknown or wrong options, or cannot be written.
        CheckpointError: The run to resume has no usable checkpoint.
        SystemExit: An option is unknown or wrong, or `--help` was asked for.
    """
    import tyro

    from raymon.train import option_files, options

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--config", "--save-config", "--resume"):
        parser.add_argument(option, type=Path)
    files, rest = parser.parse_known_args(arguments)
    default = options.Config() if files.config is None else option_files.load(files.config)
    if files.resume is not None:
        default = _resumed(default, files.resume, rest)
    config: options.Config = tyro.cli(
        options.Config,
        args=rest,
        default=default,
        prog="raymon train",
        description="Train with PPO and parallel sampling by Ray actors, and show everything. --config FILE reads the "
        "options below from YAML or TOML, --save-config FILE writes them and exits.",
    )
    if files.save_config is None:
        return config
    config.check()
    try:
        option_files.save(config, files.save_config)
    except OSError as error:
        raise options.ConfigError(f"{files.save_config} cannot be written: {error.strerror}") from error
    print(f"options written to {files.save_config}; `raymon train --config {files.save_config}` uses them")
    return None


def _resumed(default: "Config", path: Path, rest: list[str]) -> "Config":
    """Return `default` with the hyperparameters and the environment of a checkpoint.

    A checkpoint may come from a stranger: it decides nothing but `CHECKPOINT_OPTIONS`, names neither code to import nor
    a file or server to open, and starts no hundreds of processes.
    """
    from raymon.train import checkpoint, option_files, options

    stored = checkpoint.load(path).config
    if unknown := sorted(stored.keys() - options.CHECKPOINT_OPTIONS - options.HOST_OPTIONS):
        raise options.ConfigError(f"{path}: unknown option {', '.join(unknown)[:200]}; another version wrote it")
    kept = {name: value for name, value in stored.items() if name in options.CHECKPOINT_OPTIONS}
    config = option_files.from_plain({**option_files.as_plain(default), **kept, "resume": str(path)}, str(path))
    typed = {argument.partition("=")[0].replace("_", "-") for argument in rest if argument.startswith("--")}
    if "--env" not in typed:
        checkpoint.check_env(path, config.env)
    for name, most in options.MOST_UNASKED.items():
        option = f"--{name.replace('_', '-')}"
        if (value := getattr(config, name)) > most and option not in typed:
            problem = f"{path} was trained with {value} {name}; if that is wanted here, repeat {option} {value}"
            raise checkpoint.CheckpointError(problem)
    return config
