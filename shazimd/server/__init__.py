"""HTTP over a Unix socket.

verbs.py       the table of verbs, which the client imports as well: hence no imports in this module
app.py         the handlers: from a request to a verb of the service, and to a response
  openapi.py     the OpenAPI document of the verbs
  parameters.py  checks the query string
  bodies.py      reads pictures, within limits of size, time and memory
  forms.py       the two pictures of a form
  answers.py     JSON, errors with their status, streams of lines
  events.py      streams of alerts
access.py      who asks, and who may change something
sharing.py     each user's share of the server: limits, turns, pace
service.py     the verbs of the daemon, as the server calls them
run.py         the server's thread        guard.py   limits of a connection
sockets.py     the listening socket: bound, or passed by systemd
"""
