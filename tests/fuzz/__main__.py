"""``python -m tests.fuzz codec|engine``: guided by coverage, with atheris. Its options are those of libFuzzer."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["uamqp"]):
    from .targets import TARGETS, seeds


def main() -> None:
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="uamqp-fuzz-") as folder:
        for number, data in enumerate(seeds(name)):
            Path(folder, f"{number:04}").write_bytes(data)
        crashes = Path(__file__).parent / "crashes"
        arguments = [sys.argv[0], f"-artifact_prefix={crashes}/{name}-", "-timeout=10", "-rss_limit_mb=2048"]
        atheris.Setup([*arguments, *options, folder], TARGETS[name])
        atheris.Fuzz()


main()
