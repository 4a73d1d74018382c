"""The page of `shazimctl web`: a process of the user, on the loopback address, that asks the daemon over its socket.

serve.py      the server's run: address, link, browser       guard.py     cookie, token, Host and Origin, headers
app.py        routes and errors                              render.py    templates and their filters
page.py       what the routes share
listing.py    groups, a pair                                 browse.py    groups in the order that a person sees
deciding.py   decisions, undo, rules for many                rules.py     rules, as decisions (pure)
watching.py   new alerts, live events, a picture to ask about
cleaning.py   plan, apply and undo of a clean-up             cleanup.py   its steps in a thread
words.py      verdict, map and facts in words (pure)
pictures.py   pictures for the screen, by signed links       cache.py     their files, with a bound
live.py       the daemon's events and state, for all open tabs
"""
