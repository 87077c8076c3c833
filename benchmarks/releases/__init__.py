"""The released losses and loops of the field, stated again in plain torch.

A statement follows its release line by line: how often it encodes, what it takes gradients of, what
it does with the numbers. It was written from reading, without a line of the release or of the
package's own loops; it gets a model's parts, photos in [0, 1] of the model's own size, and what was
drawn when the package's method ran.
"""
