"""One folder a method, alike inside: model, loss, fit, config."""
