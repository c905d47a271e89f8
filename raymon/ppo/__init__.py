"""raymon's own trainer: PPO with three ways to sample from parallel environments, recorded by raymon."""
