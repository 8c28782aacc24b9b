"""Loggers of other packages, which say less for a while."""

import contextlib
import logging


@contextlib.contextmanager
def at_least(level, *names):
    """Within it the loggers of these names tell of nothing below a level."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(max(logger.level, level))
        yield
    finally:
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
