"""HTTP over a Unix socket.

verbs.py       the table of verbs, which the client imports as well: hence no imports in this module
app.py         the handlers: from a request to a verb of the service, and to a response
  openapi.py     the OpenAPI document of the verbs
parameters.py  the parameters of the query string, their schemas and checks
  bodies.py      pictures, read within limits; JSON, errors with their status, streams of lines
  forms.py       the two pictures of a form
  events.py      streams of alerts
users.py       who asks, who may change something; each user's share: limits, turns, pace
service.py     the verbs of the daemon, as the server calls them
run.py         the server's thread        guard.py   limits of a connection
sockets.py     the listening socket: bound, or passed by systemd
"""
