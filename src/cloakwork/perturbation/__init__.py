"""How a perturbation is optimised: PGD, losses, targets, gradients through purifiers, surrogates
that learn.
"""
