"""Measurements of raymon: each a script that prints what it measured."""
