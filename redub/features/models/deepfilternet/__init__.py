"""DeepFilterNet 3: speech out of noise."""
