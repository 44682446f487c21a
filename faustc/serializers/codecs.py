"""Codecs, under the name where Faust's users look for them."""

from ..codecs import (
    Binary,
    Codec,
    CodecArg,
    Pickle,
    allow_pickle,
    codecs,
    dumps,
    forbid_pickle,
    get_codec,
    json,
    loads,
    pickle_codec,
    raw,
    register,
)

__all__ = [
    "Binary",
    "Codec",
    "CodecArg",
    "Pickle",
    "allow_pickle",
    "codecs",
    "dumps",
    "forbid_pickle",
    "get_codec",
    "json",
    "loads",
    "pickle_codec",
    "raw",
    "register",
]
