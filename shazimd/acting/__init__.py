"""Clean up duplicates in the user's process; the daemon never imports this package and never writes to a watched file.

facts.py     facts about a file: its state and digest, its header
plan.py      groups of the daemon -> plans: a kept file and the files to act on
journal.py   an append-only record of each act, written before the act
acts.py      trash, move, hard link and reflink, and how each is taken back
trash.py     the trash of freedesktop.org
"""
