"""RabbitMQ 4 on loopback ports, with its management API."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import debian
from .broker import Broker
from .cache import cache_dir, installed
from .errors import BrokerError
from .places import Chroot, Container, Place, container_engine

IMAGE = "rabbitmq:4-management"
FOLDER = f"rabbitmq-{debian.SUITE}"

# The memory strategy "allocated" and the fixed total make the broker independent of /proc, which is not mounted in
# the root folder. The free disk space is not watched: a full disk of the machine must not block a test's senders.
_SETTINGS = """\
listeners.tcp.1 = {listen}:{port}
listeners.ssl.1 = {listen}:{tls_port}
ssl_options.cacertfile = {tls}/ca.pem
ssl_options.certfile = {tls}/server.pem
ssl_options.keyfile = {tls}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
management.tcp.ip = {listen}
management.tcp.port = {management_port}
default_user = {user}
default_pass = {password}
default_user_tags.administrator = true
default_permissions.configure = .*
default_permissions.read = .*
default_permissions.write = .*
loopback_users = none
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = ANONYMOUS
auth_mechanisms.3 = EXTERNAL
anonymous_login_user = {user}
anonymous_login_pass = {password}
ssl_cert_login_from = common_name
max_message_size = 134217728
disk_free_limit.absolute = 1MB
vm_memory_calculation_strategy = allocated
total_memory_available_override_value = 4GB
vm_memory_high_watermark.absolute = 2GB
log.console = true
log.console.level = info
log.console.use_colors = off
log.file = false
"""


@dataclass
class RabbitMQ(Broker):
    """RabbitMQ 4. A queue has to be declared before a client attaches to `/queues/NAME`."""

    name = "rabbitmq"

    @classmethod
    def install(cls) -> Place:
        if container_engine():
            return Container(Path("/"), IMAGE)
        if debian.has_rabbitmq_4():
            installed("rabbitmq-apt", debian.install_on_machine)
            return Place(Path("/"))
        if os.geteuid() != 0:
            raise BrokerError(
                "only root can run RabbitMQ here: it is put into a Debian root folder, which needs chroot"
            )
        return _chroot(installed(FOLDER, debian.bootstrap))

    @classmethod
    def _known_places(cls) -> list[Place]:
        places: list[Place] = [Container(Path("/"), IMAGE) if container_engine() else Place(Path("/"))]
        folder = cache_dir() / FOLDER
        return [*places, _chroot(folder)] if folder.is_dir() else places

    def _configure(self) -> None:
        settings = self.run / "rabbitmq.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            _SETTINGS.format(
                listen=self.place.listen,
                port=self.port,
                tls_port=self.tls_port,
                management_port=self.management_port,
                tls=self.place.inside(self.run / "tls"),
                user=self.user,
                password=self.password,
            )
        )
        (self.run / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_auth_mechanism_ssl].\n")

    def _command(self) -> tuple[list[str], dict[str, str]]:
        """The server beside a port mapper (epmd) of its own, which ends with it and listens on loopback only."""
        inside = self.place.inside(self.run)
        mapper_port, node_port = self.more_ports
        env = {
            "HOME": str(inside),
            "ERL_EPMD_PORT": str(mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(inside / "erl_crash.dump"),
            "RABBITMQ_NODENAME": f"{self.run.name}@localhost",
            "RABBITMQ_DIST_PORT": str(node_port),
            "RABBITMQ_MNESIA_BASE": str(inside / "data"),
            "RABBITMQ_LOG_BASE": str(inside / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(inside / "generated"),
            "RABBITMQ_CONFIG_FILE": str(inside / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(inside / "enabled_plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(inside / "no-environment-file"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server, instead of a shell that waits for it
        }
        server = "rabbitmq-server" if isinstance(self.place, Container) else str(debian.SERVER)
        return ["/bin/sh", "-c", f"epmd & exec {server}"], env

    # -- management

    @property
    def address_prefix(self) -> str:
        return "/queues/"

    def address(self, queue: str) -> str:
        """The AMQP address of a queue: in it, special characters are percent-encoded."""
        return self.address_prefix + _quoted(queue)

    def declare_queue(self, name: str, queue_type: str = "classic", arguments: Mapping[str, Any] | None = None) -> None:
        """Make a durable queue of a type ("classic", "quorum", "stream") in the virtual host /."""
        body = {"durable": True, "arguments": {"x-queue-type": queue_type, **(arguments or {})}}
        self.api("PUT", f"/queues/%2F/{_quoted(name)}", body)

    def delete_queue(self, name: str) -> None:
        self.api("DELETE", f"/queues/%2F/{_quoted(name)}", missing_ok=True)

    def force_close_connections(self, reason: str = "closed by the test") -> None:
        """Close the user's connections. Clients get a Close with amqp:internal-error and the reason in its text."""
        self.api("DELETE", f"/connections/username/{_quoted(self.user)}", headers={"X-Reason": reason}, missing_ok=True)

    def api(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        missing_ok: bool = False,
    ) -> Any:
        """One call of the HTTP management API (`path` is what follows /api): the JSON answered, or None."""
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"http://{self.host}:{self.management_port}/api{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {token}", "Content-Type": "application/json", **(headers or {})},
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=30) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and missing_ok:
                    return None
                raise BrokerError(f"{method} {path}: {error}: {error.read().decode(errors='replace')}")
        except OSError as error:
            raise BrokerError(f"{method} {path}: {error}")
        return json.loads(text) if text else None


def _chroot(folder: Path) -> Chroot:
    return Chroot(Path("/"), folder / "root")


_quoted = partial(urllib.parse.quote, safe="")
