"""The first process of the stand-in for Kafka's image: its variables to a configuration, then the broker.

    python3 entry.py          serve; KAFKA_NODE_ID is node.id, KAFKA_LOG_DIRS is log.dirs …, as in Apache's image
    python3 entry.py probe    exit code 0: it answers on port 9092
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

FOLDER = Path("/tmp/kafka")
CLUSTER = "5L6g3nShT-eMCtK--X86sw"
LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.out.ref=out
"""
NOT_SETTINGS = {"KAFKA_HEAP_OPTS"}


def serve() -> None:
    FOLDER.mkdir(exist_ok=True)
    if Path("/opt/tansu/tansu").exists():
        address = f"tcp://{socket.gethostbyname(socket.gethostname())}:9092"
        command = ["/opt/tansu/tansu", "broker", "--silent", "--cluster-id", CLUSTER]
        command += ["--storage-engine", "memory://tansu/"]
        command += ["--listener-url", "tcp://0.0.0.0:9092", "--advertised-listener-url", address]
        os.execv(command[0], command)
    config = FOLDER / "server.properties"
    config.write_text("".join(f"{name}={value}\n" for name, value in settings().items()))
    (FOLDER / "log4j2.properties").write_text(LOGGING)
    java = ["/opt/java/bin/java", f"-Dlog4j2.configurationFile=file:{FOLDER}/log4j2.properties"]
    java += [*os.environ.get("KAFKA_HEAP_OPTS", "-Xmx256m").split(), "-XX:+UseSerialGC", "-cp", "/opt/kafka/libs/*"]
    form = [*java, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", CLUSTER, "-c", str(config)]
    subprocess.run(form, check=True)
    os.execv(java[0], [*java, "kafka.Kafka", str(config)])


def settings() -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name.startswith("KAFKA_") and name not in NOT_SETTINGS}
    return {name.removeprefix("KAFKA_").lower().replace("_", "."): value for name, value in ours.items()}


def answers() -> bool:
    """Whether it answers a request for API versions."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection((socket.gethostname(), 9092), 3.0) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(4)) == 4
    except OSError:
        return False


if __name__ == "__main__":
    if sys.argv[1:] == ["probe"]:
        sys.exit(not answers())
    serve()
