"""Extensions and compile flags; everything else is in pyproject.toml.

Flags are portable: CRC32C picks SSE4.2 or the ARMv8 instruction at run time,
so one wheel serves every CPU of its architecture.

FAUSTC_DEBUG=1 builds with bounds checks and assertions, FAUSTC_ASAN=1 with
AddressSanitizer and UBSan (`make asan`).
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = bool(os.environ.get("FAUSTC_DEBUG") or os.environ.get("FAUSTC_ASAN"))
ASAN = bool(os.environ.get("FAUSTC_ASAN"))

# MSVC is not supported: the client reads sockets with POSIX calls.
compile_args = ["-O3", "-fno-strict-aliasing", "-Wall", "-Wno-unused-function"]
link_args: list[str] = []
if DEBUG:
    compile_args += ["-UNDEBUG", "-g", "-O1"]
if ASAN:
    sanitize = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"]
    compile_args += sanitize
    link_args += sanitize

EXTRA_SOURCES = {"checksum": ["faustc/_native/crc32c.c"]}


def extensions() -> list[Extension]:
    return [
        Extension(
            f"faustc._native.{path.stem}",
            [str(path), *EXTRA_SOURCES.get(path.stem, [])],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
            depends=[str(p) for p in sorted(Path("faustc/_native").glob("*.[ph]*"))],
        )
        for path in sorted(Path("faustc/_native").glob("*.pyx"))
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        language_level="3",
        compiler_directives={
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
            "embedsignature.format": "python",
        },
    ),
)
