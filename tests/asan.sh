#!/usr/bin/env bash
# Build the extensions under AddressSanitizer and UBSan in a copy of the tree,
# then run the native tests on them, or with MUTANTS=n so many hostile mutants. Linux with gcc.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$root/.cache/asan
mkdir -p "$work"
rm -rf "$work/tree"
mkdir "$work/tree"
cp -r faustc tests setup.py pyproject.toml MANIFEST.in README.md LICENSE "$work/tree/"
cd "$work/tree"
find faustc -name '*.so' -delete
find faustc -name '*.c' ! -name crc32c.c -delete
FAUSTC_ASAN=1 "$root/.venv/bin/python" setup.py -q build_ext --inplace
runtime=$(${CC:-gcc} -print-file-name=libasan.so)
ubsan=$(${CC:-gcc} -print-file-name=libubsan.so)
# CPython itself leaks at exit by design, so leaks are not looked for here; its own
# allocator would hide overruns, so malloc serves every object.
under_sanitizers() {
  LD_PRELOAD="$runtime $ubsan" \
  ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:abort_on_error=1 \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
  PYTHONMALLOC=malloc PYTHONPATH="$work/tree" "$root/.venv/bin/python" "$@"
}
if [ -n "${MUTANTS:-}" ]; then
  under_sanitizers -m tests.unit.native.hostile --mutants "$MUTANTS"
else
  under_sanitizers -m pytest -q -p no:cacheprovider "$@" tests/unit/native
fi
