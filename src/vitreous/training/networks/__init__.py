"""Networks that methods share: encodings, perceptrons, volumes as neural fields."""
