"""How each kind of client is built or installed into the cache, and the command that comes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.brokers.commands import need
from tools.brokers.debian import apt_install

from ..building import BuildError, build_command, built

FOLDER = Path(__file__).parent
PROTON_HEADER = Path("/usr/include/proton/container.hpp")
OPENSSL_HEADER = Path("/usr/include/openssl/ssl.h")


@dataclass(frozen=True)
class Command:
    """What is run, and the environment for it; the arguments that `python/task.py` describes follow."""

    words: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def environment_of(package_folder: Path) -> dict[str, str]:
    """The environment in which Python finds the package uamqp of a folder before any other."""
    if not (package_folder / "uamqp").is_dir():
        raise BuildError(f"there is no package uamqp in {package_folder}")
    return {**os.environ, "PYTHONPATH": str(package_folder)}


def script(python: Path, name: str, package_folder: Path | None = None) -> Command:
    """A program in Python, with the package uamqp of a folder or with what its interpreter has."""
    environment = environment_of(package_folder) if package_folder else dict(os.environ)
    return Command([str(python), str(FOLDER / "python" / name)], environment)


def installed_script(python: Path, name: str, *requirements: str) -> Command:
    """A program in Python with packages of its own."""

    def install(folder: Path) -> None:
        build_command(folder, [python, "-m", "venv", folder / "venv"])
        pip = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        build_command(folder, [*pip, *requirements])

    recipe = f"{python.resolve()} {answer(python, '--version')} {requirements}"
    folder = built(name.removesuffix(".py"), install, recipe=recipe)
    return script(folder / "venv/bin/python", name)


def node_script(name: str, requirement: str) -> Command:
    """A program in JavaScript with a package of its own."""
    need("node", "rhea needs it; install the packages 'nodejs' and 'npm'")

    def install(folder: Path) -> None:
        need("npm", "it installs rhea; install the package 'npm'")
        build_command(folder, ["npm", "install", "--no-audit", "--no-fund", "--prefix", folder, requirement])

    modules = built(name.removesuffix(".js"), install, recipe=requirement) / "node_modules"
    return Command(["node", str(FOLDER / "node" / name)], {**os.environ, "NODE_PATH": str(modules)})


def go_program() -> Command:
    sources = [FOLDER / "go" / name for name in ("go.mod", "main.go")]

    def build(folder: Path) -> None:
        need("go", "it builds the client on go-amqp")
        for source in sources:
            shutil.copy(source, folder)
        build_command(folder, ["go", "-C", folder, "mod", "tidy"])
        build_command(folder, ["go", "-C", folder, "build", "-o", "client", "."])

    return Command([str(built("go-amqp", build, sources) / "client")])


def rust_program() -> Command:
    sources = [FOLDER / "rust" / name for name in ("Cargo.toml", "src/main.rs")]

    def build(folder: Path) -> None:
        need("cargo", "it builds the client on fe2o3-amqp")
        if not OPENSSL_HEADER.exists():
            apt_install(["libssl-dev", "pkg-config"], folder / "apt.log")
        shutil.copytree(FOLDER / "rust", folder / "rust")
        manifest = folder / "rust/Cargo.toml"
        build_command(folder, ["cargo", "build", "--release", "--manifest-path", manifest])
        shutil.copy(folder / "rust/target/release/bench", folder / "client")
        shutil.rmtree(folder / "rust")

    return Command([str(built("fe2o3-amqp", build, sources) / "client")])


def proton_cpp_program() -> Command:
    source = FOLDER / "cpp/proton.cpp"
    compiler = ("g++", "-O2", "-std=c++17", "-Wall", "-Wextra")

    def build(folder: Path) -> None:
        need("g++", "it builds the client on proton C++")
        if not PROTON_HEADER.exists():
            apt_install(["libqpid-proton-cpp12-dev"], folder / "apt.log")
        build_command(folder, [*compiler, "-o", folder / "client", source, "-lqpid-proton-cpp"])

    return Command([str(built("proton-cpp", build, [source], " ".join(compiler)) / "client")])


def answer(program: Path, argument: str) -> str:
    """What a program prints that is told one thing. Raises BuildError where it does not run."""
    try:
        return subprocess.run([program, argument], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{program} does not run: {error}")
