"""From a run folder to one self-contained page; nothing here loads a model."""
