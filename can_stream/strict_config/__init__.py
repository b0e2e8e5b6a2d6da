"""Configuration files checked whole: a TOML document against a msgspec Struct, all its errors at once."""

from can_stream.strict_config.checking import check
from can_stream.strict_config.errors import ConfigError, Problem
from can_stream.strict_config.reading import MAX_FILE_BYTES, load, read_document

__all__ = ["MAX_FILE_BYTES", "ConfigError", "Problem", "check", "load", "read_document"]
