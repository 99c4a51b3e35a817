"""One file out of Maven Central, or out of the mirror that Maven is configured to use instead, verified."""

from __future__ import annotations

import hashlib
import shutil
import urllib.request
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from .cache import say
from .commands import run
from .errors import BrokerError

CENTRAL = "https://repo.maven.apache.org/maven2"


@dataclass(frozen=True)
class Artifact:
    """A file of Maven Central by its coordinates, with the SHA-512 that Central publishes beside it."""

    group: str
    name: str
    version: str
    classifier: str
    extension: str
    sha512: str

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.version}-{self.classifier}.{self.extension}"

    @property
    def path(self) -> str:
        return f"{self.group.replace('.', '/')}/{self.name}/{self.version}/{self.file_name}"

    @property
    def coordinates(self) -> str:
        return f"{self.group}:{self.name}:{self.version}:{self.extension}:{self.classifier}"


def fetch(artifact: Artifact, directory: Path) -> Path:
    """Download the file into `directory`: directly, and where that fails by the `mvn` command."""
    target = directory / artifact.file_name
    address = f"{_repository()}/{artifact.path}"
    try:
        _download(address, target)
    except OSError as error:
        if shutil.which("mvn") is None:
            raise BrokerError(f"{address} cannot be downloaded ({error}), and there is no mvn to try it with")
        say(f"a direct download failed ({error}); trying mvn")
        copy = ["mvn", "-B", "-q", "dependency:copy", f"-Dartifact={artifact.coordinates}"]
        run([*copy, f"-DoutputDirectory={directory}"], log=directory / "mvn.log", timeout=900)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha512").hexdigest()
    if found != artifact.sha512:
        raise BrokerError(f"{artifact.file_name} is not the file it should be: its SHA-512 is {found}")
    return target


def _download(address: str, target: Path) -> None:
    with urllib.request.urlopen(address, timeout=60) as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file, 1 << 20)


def _repository() -> str:
    """Maven Central, or its mirror according to the user's Maven settings."""
    settings = Path.home() / ".m2/settings.xml"
    try:
        root = ElementTree.parse(settings).getroot()
    except (OSError, ElementTree.ParseError):
        return CENTRAL
    for mirror in root.findall("{*}mirrors/{*}mirror"):
        mirrored = (mirror.findtext("{*}mirrorOf") or "").split(",")
        url = (mirror.findtext("{*}url") or "").strip()
        if url.startswith("https://") and {"central", "*", "external:*"} & {name.strip() for name in mirrored}:
            return url.rstrip("/")
    return CENTRAL
