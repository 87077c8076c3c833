"""The folder of the model `tiny-dit`, which cloakwork finds beside this file."""
