"""Installs `ecl_tf`; all that there is to say of it is in pyproject.toml."""

from setuptools import setup

setup()
