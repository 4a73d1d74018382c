"""The answering end: HTTP over a Unix socket.

service.py     what the daemon does for a caller: the seam, the only thing known of the daemon here
app.py         endpoints: a request in, a verb of the service, an answer out
  endpoints.py   the table of what there is, and the OpenAPI document made from it
  parameters.py  the query string, checked
  bodies.py      the pictures sent, within limits of size, time and memory
  answers.py     JSON, errors with their status, streams of lines and events
run.py         the thread that serves        guard.py   what a connection may cost
sockets.py     the socket: taken over, permissioned, passed by systemd
"""

from __future__ import annotations

from shazimd.server.app import create_app
from shazimd.server.run import Server
from shazimd.server.service import Service
from shazimd.server.sockets import bind_socket, systemd_sockets

__all__ = ["Server", "Service", "bind_socket", "create_app", "systemd_sockets"]
