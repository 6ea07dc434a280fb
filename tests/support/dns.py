"""A name server that answers with the addresses a test gives, as that of a cluster does for a headless service."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

TYPE_A, CLASS_IN, HEADER_BYTES = 1, 1, 12
ANSWERED = 0x8180  # a response, recursion available, no error


class NameServer(asyncio.DatagramProtocol):
    """Knows one name, whatever it is asked for: that of the hosts in `hosts`, IPv4 addresses."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.address = ""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self.address = "{}:{}".format(*transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        end = data.index(0, HEADER_BYTES) + 5  # the name ends with an empty label; type and class follow
        (kind,) = struct.unpack_from("!H", data, end - 4)
        hosts = self.hosts if kind == TYPE_A else []
        answers = b"".join(
            struct.pack("!HHHIH4s", 0xC000 | HEADER_BYTES, TYPE_A, CLASS_IN, 0, 4, ipaddress.IPv4Address(host).packed)
            for host in hosts
        )
        header = data[:2] + struct.pack("!5H", ANSWERED, 1, len(hosts), 0, 0)
        self._transport.sendto(header + data[HEADER_BYTES:end] + answers, addr)

    def target(self, port: int) -> str:
        """Return the gRPC target of the name at `port`, looked up here."""
        return f"dns://{self.address}/replicas.test:{port}"


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Run a name server on a free port for the time of the context."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
