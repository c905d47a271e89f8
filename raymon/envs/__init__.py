"""Environments: everything between an id on the command line and arrays of float32."""

from raymon.envs.collect import FragmentCollector, SampledFragment
from raymon.envs.env_error import EnvError
from raymon.envs.make import make_vector
from raymon.envs.threaded import ThreadedVector
from raymon.envs.vector import Vector

__all__ = ["EnvError", "FragmentCollector", "SampledFragment", "ThreadedVector", "Vector", "make_vector"]
