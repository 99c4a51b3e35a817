"""Apache ActiveMQ Artemis on loopback ports, managed by messages to its management address."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import debian, maven
from .broker import Broker
from .cache import installed
from .commands import run
from .errors import BrokerError
from .places import Container, Place, container_engine
from .stomp import Stomp

VERSION = "2.40.0"
IMAGE = f"apache/activemq-artemis:{VERSION}"

ARTIFACT = maven.Artifact(
    group="org.apache.activemq",
    name="apache-artemis",
    version=VERSION,
    classifier="bin",
    extension="tar.gz",
    sha512="270a00dc3028fb3b93c6aa09aa3e40fbe76015029e5308e0aac241589299a72dac9bb50a10e7e86ad66185e2d8bc7224626810df12f1ee05694322054ad32700",
)

_MANAGER = "manager"

# Senders are never blocked: no limit to the disk's use, and addresses page when the memory is used up. The journal is
# not forced onto the disk, so what was accepted outlives the broker's process (a kill, too), not the machine.
_SETTINGS = """\
<?xml version="1.0"?>
<configuration xmlns="urn:activemq">
  <core xmlns="urn:activemq:core">
    <name>{name}</name>
    <persistence-enabled>true</persistence-enabled>
    <journal-type>NIO</journal-type>
    <journal-datasync>false</journal-datasync>
    <journal-directory>data/journal</journal-directory>
    <bindings-directory>data/bindings</bindings-directory>
    <paging-directory>data/paging</paging-directory>
    <large-messages-directory>data/large-messages</large-messages-directory>
    <journal-min-files>2</journal-min-files>
    <journal-pool-files>4</journal-pool-files>
    <max-disk-usage>-1</max-disk-usage>
    <message-expiry-scan-period>500</message-expiry-scan-period>
    <acceptors>
      <acceptor name="amqp">tcp://{listen}:{port}?{amqp}</acceptor>
      <acceptor name="amqps">tcp://{listen}:{tls_port}?{amqp};{tls}</acceptor>
      <acceptor name="management">tcp://{listen}:{management_port}?protocols=STOMP</acceptor>
    </acceptors>
    <security-settings>
      <security-setting match="#">
        <permission type="createNonDurableQueue" roles="users"/>
        <permission type="deleteNonDurableQueue" roles="users"/>
        <permission type="createDurableQueue" roles="users"/>
        <permission type="deleteDurableQueue" roles="users"/>
        <permission type="createAddress" roles="users"/>
        <permission type="deleteAddress" roles="users"/>
        <permission type="consume" roles="users"/>
        <permission type="browse" roles="users"/>
        <permission type="send" roles="users"/>
        <permission type="manage" roles="managers"/>
      </security-setting>
    </security-settings>
    <address-settings>
      <address-setting match="#">
        <dead-letter-address>DLQ</dead-letter-address>
        <expiry-address>ExpiryQueue</expiry-address>
        <max-delivery-attempts>10</max-delivery-attempts>
        <redelivery-delay>0</redelivery-delay>
        <address-full-policy>PAGE</address-full-policy>
        <default-address-routing-type>ANYCAST</default-address-routing-type>
        <default-queue-routing-type>ANYCAST</default-queue-routing-type>
        <auto-create-addresses>true</auto-create-addresses>
        <auto-create-queues>true</auto-create-queues>
        <auto-delete-addresses>false</auto-delete-addresses>
        <auto-delete-queues>false</auto-delete-queues>
      </address-setting>
    </address-settings>
    <addresses>
      <address name="DLQ"><anycast><queue name="DLQ"/></anycast></address>
      <address name="ExpiryQueue"><anycast><queue name="ExpiryQueue"/></anycast></address>
    </addresses>
  </core>
</configuration>
"""

_AMQP = (
    "protocols=AMQP;saslMechanisms=PLAIN,ANONYMOUS,EXTERNAL;anycastPrefix=queue://;multicastPrefix=topic://;"
    "amqpCredits=1000;amqpLowCredits=300;amqpMinLargeMessageSize=102400"
)

_TLS = (
    "sslEnabled=true;wantClientAuth=true;keyStoreType=PEMCFG;keyStorePath={tls}/server.pemcfg;"
    "trustStoreType=PEM;trustStorePath={tls}/ca.pem"
)

# A login without a name is the guest's; one with a wrong password is refused.
_LOGIN = """\
activemq {
  org.apache.activemq.artemis.spi.core.security.jaas.PropertiesLoginModule sufficient
    org.apache.activemq.jaas.properties.user="artemis-users.properties"
    org.apache.activemq.jaas.properties.role="artemis-roles.properties";
  org.apache.activemq.artemis.spi.core.security.jaas.TextFileCertificateLoginModule sufficient
    org.apache.activemq.jaas.textfiledn.user="certificate-users.properties"
    org.apache.activemq.jaas.textfiledn.role="artemis-roles.properties";
  org.apache.activemq.artemis.spi.core.security.jaas.GuestLoginModule sufficient
    credentialsInvalidate=true
    org.apache.activemq.jaas.guest.user="guest"
    org.apache.activemq.jaas.guest.role="users";
};
"""


@dataclass
class Artemis(Broker):
    """ActiveMQ Artemis. A queue comes to be when a client first attaches to `NAME`; `topic://NAME` is a topic."""

    name = "artemis"

    manager_password: str = field(default_factory=lambda: os.urandom(12).hex())

    @classmethod
    def install(cls) -> Place:
        if container_engine():
            return Container(Path("/opt/activemq-artemis"), IMAGE)
        folder = installed(f"artemis-{VERSION}", _unpack)
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            debian.apt_install(["default-jre-headless"], folder / "apt.log")
        return Place(folder)

    @classmethod
    def _known_places(cls) -> list[Place]:
        engine = container_engine()
        return [Container(Path("/opt/activemq-artemis"), IMAGE) if engine else Place(Path("/"))]

    def _configure(self) -> None:
        """Let Artemis make an instance, for its scripts, and put our settings in place of its own."""
        instance = self.run / "instance"
        create = [
            str(self.place.home / "bin/artemis"),
            "create",
            str(instance),
            "--silent",
            "--no-web",
            "--no-autotune",
        ]
        create += ["--user=replaced", "--password=replaced", "--require-login"]
        command, env = self.place.command(create, {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}, self.run, ())
        run(command, log=self.log_file, timeout=120, env=env)
        settings = instance / "etc"
        tls = self.run / "tls"
        (tls / "server.pemcfg").write_text(f"source.key={tls}/server.key\nsource.cert={tls}/server.pem\n")
        files = {
            "broker.xml": _SETTINGS.format(
                name=self.run.name,
                listen=self.place.listen,
                port=self.port,
                tls_port=self.tls_port,
                management_port=self.management_port,
                amqp=_AMQP,
                tls=_TLS.format(tls=tls),
            ),
            "login.config": _LOGIN,
            "artemis-users.properties": f"{self.user} = {self.password}\n{_MANAGER} = {self.manager_password}\n",
            "artemis-roles.properties": f"users = {self.user},{_MANAGER}\nmanagers = {_MANAGER}\n",
            "certificate-users.properties": f"{self.user} = CN={self.user}\n",
        }
        for name, text in files.items():
            (settings / name).write_text(text)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        java = "-Xms128M -Xmx512M -XX:+UseSerialGC -Dlog4j2.disableJmx=true"
        java += " --add-opens java.base/jdk.internal.misc=ALL-UNNAMED"
        return [str(self.run / "instance/bin/artemis"), "run"], {"JAVA_ARGS": java}

    # -- management

    def declare_queue(self, name: str) -> None:
        """Make a durable anycast queue, with an address of the same name."""
        settings = {"name": name, "address": name, "routing-type": "ANYCAST", "durable": True, "auto-delete": False}
        self.manage("createQueue", json.dumps(settings), True)

    def delete_queue(self, name: str) -> None:
        try:
            self.manage("destroyQueue", name, True, True)
        except BrokerError as error:
            if "AMQ229017" not in str(error):  # there is no such queue
                raise

    def force_close_connections(self) -> None:
        """Close all AMQP connections."""
        with self._manager() as manager:
            for connection in json.loads(self._call(manager, "listConnectionsAsJSON")):
                if "Stomp" not in connection["implementation"]:
                    self._call(manager, "closeConnectionWithID", connection["connectionID"])

    def manage(self, operation: str, *arguments: object, resource: str = "broker") -> Any:
        """One operation of Artemis' management (those of ActiveMQServerControl by default): what it returns."""
        with self._manager() as manager:
            return self._call(manager, operation, *arguments, resource=resource)

    def _manager(self) -> Stomp:
        try:
            return Stomp(self.host, self.management_port, _MANAGER, self.manager_password)
        except OSError as error:
            raise BrokerError(f"the management of {self.name} cannot be reached: {error}")

    def _call(self, manager: Stomp, operation: str, *arguments: object, resource: str = "broker") -> Any:
        replies = f"management.{os.urandom(8).hex()}"
        header = {"id": replies, "destination": replies, "subscription-type": "ANYCAST", "durable": "false"}
        manager.send("SUBSCRIBE", header)
        request = {
            "destination": "activemq.management",
            "reply-to": replies,
            "_AMQ_ResourceName": resource,
            "_AMQ_OperationName": operation,
        }
        manager.send("SEND", request, json.dumps(arguments))
        headers, body = manager.receive("MESSAGE")
        manager.send("UNSUBSCRIBE", {"id": replies})
        if headers.get("_AMQ_OperationSucceeded") != "true":
            raise BrokerError(f"{self.name} refused {operation}{arguments}: {body}")
        return json.loads(body)[0] if body else None


def _unpack(folder: Path) -> None:
    """Download the distribution, and unpack it without its top folder."""
    archive = maven.fetch(ARTIFACT, folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    archive.unlink()
    top = folder / f"apache-artemis-{VERSION}"
    for entry in top.iterdir():
        entry.rename(folder / entry.name)
    top.rmdir()
