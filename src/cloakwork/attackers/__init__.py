"""Attackers (photos -> what an attacker gets from them): one file, one paper.

Conventions, which no method's "Departures" repeats:
- latents are the posterior's mean unless the victim samples its posterior; attackers that train
  encode photos once, unless the loader draws something;
- photos keep their size until they are read: the loader cuts a square and resizes it;
- arithmetic is the victim's dtype, and weights that learn are kept in fp32;
- the presets "tiny" are ours.

Constants that say what a method can: `TRAINS = True` (it trains the victim, so it has a `loader`, a
`token` and a model to write), `SAMPLES = True` (it draws pictures in the way of its field
`sampling`), `TAKES_MASKS = True` (it needs to be told where it may paint). All are False where they
are missing.
"""
