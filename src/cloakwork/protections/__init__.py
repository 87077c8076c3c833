"""Protections (photos -> protected photos): one file, one paper.

Conventions, in which nearly every release differs and which no method's "Departures" repeats:
- photos keep their size, where releases squeeze or cut them to a square; PGD cuts a square at
  random along the long side in every step, so that no strip stays unprotected, while a surrogate
  learns from the centre;
- budgets and steps are rounded: 6.4 and .64 stand for 6.375 and .6375 (.05 and .005 on [-1, 1]);
- a random start is cut to the pixel range before the first gradient (so are those of Mist and
  Diff-Protect; PhotoGuard's and PID's only after it);
- latents are the posterior's mean unless --sample-posterior is given; those of pictures that do not
  change are encoded once;
- the saved 8-bit file keeps the budget, where releases truncate or round and overstep it by up to
  one level;
- weights that learn are kept in fp32, and arithmetic is fp32 unless the user chooses otherwise;
- with several surrogates their gradients are averaged, or, where surrogates learn in turns with
  PGD, the photos after each turn;
- where surrogates learn from clean photos and none are given (`clean`), they learn from the photos
  themselves, unprotected; photos and class pictures are taken in turn, the latter drawn in 25 DDIM
  steps with guidance 7.5;
- a target is our own pattern or any image, where releases have pictures of their own;
- the laptop presets ("tiny") are ours: budget 11, a step of a tenth of it, fewer steps, and the
  learning rate of the attacker's preset "tiny", since the published ones do not move a small model.
"""
