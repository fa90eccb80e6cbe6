"""hama: phonemes of speech, for durations and for the phoneme error rate."""
