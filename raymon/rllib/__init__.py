"""Callbacks for RLlib's new API stack: the same metrics as any other trainer, with one worker per env runner.

    config.callbacks(raymon.rllib.Callbacks)

Runs in every env runner and in the algorithm's process. A worker's number is RLlib's worker index; 0 is the local
runner, which samples only without remote ones. Evaluation runners are not recorded: their indices would clash. RLlib
calls no callback where sampling, learning or sending weights begins, so those methods are wrapped on the objects; if
RLlib renames one, its phase stays empty.
"""

from raymon.rllib.callbacks import Callbacks

__all__ = ["Callbacks"]
