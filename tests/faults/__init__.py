"""What goes wrong outside of medgen, as tools for tests.

``disk``: let any write, sync or rename fail, or kill the process there; look for damaged files and leftovers.
``network``: nothing reaches beyond this machine, and every attempt is known.
``identities``: a person in every place of a header, and a search for traces in what was written or said.
``mutations``: break a promise on purpose, and show the test that notices. ``named``: whether a test exists.
"""
