"""TLS in front of a PostgreSQL server that was built without it: answers the SSLRequest, then hands bytes on.

python tls_server.py CERTIFICATE KEY PORT SERVER_PORT
"""

from __future__ import annotations

import asyncio
import ssl
import sys

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


async def serve(certificate: str, key: str, port: int, server_port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST, "the client asked for no TLS"
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(context)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server_port)
        await asyncio.gather(hand_on(reader, to_server), hand_on(from_server, writer))

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


async def hand_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(1 << 16):
        target.write(data)
        await target.drain()
    target.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
