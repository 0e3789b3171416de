"""Models over codes: transformers that predict every code from those before it, and draw more.

layout        codes (B, P…[, L]) as one sequence, residual levels innermost
transformer   the model; text and clip_text turn prompts into its conditions, phrases makes them
fit, ngrams   training with exact resume; what counting codes reaches
sampling      cached, batched, guided drawing on decoding, cache and packed
stored        RUN/priors/NAME/: weights and prior.json, bound to the codes they model
"""

from pellucid.priors.layout import Layout
from pellucid.priors.sampling import Drawing, sample
from pellucid.priors.stored import load_prior, save_prior
from pellucid.priors.transformer import CodeTransformer

__all__ = ["CodeTransformer", "Drawing", "Layout", "load_prior", "sample", "save_prior"]
