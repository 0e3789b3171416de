"""What lies in a latent space: between samples, along its axes, near a sample, in its density."""
