"""The trainer: PPO with three ways to sample from parallel environments, visible through raymon's metrics."""
