"""What the waveform and the channel-stack half of the bench share: networks, training, faults."""
