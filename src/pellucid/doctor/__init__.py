"""The Doctor: diagnosis inside anybody's Lightning training."""

from pellucid.doctor.callback import Doctor

__all__ = ["Doctor"]
