"""Diagnosis: why is this reconstruction bad, proved."""

from pellucid.diagnosis.diagnose import diagnose
from pellucid.diagnosis.evidence import Bar, Diagnosis, Evidence, Finding, NotTested, Rung
from pellucid.diagnosis.subject import Subject, as_subject

__all__ = [
    "Bar",
    "Diagnosis",
    "Evidence",
    "Finding",
    "NotTested",
    "Rung",
    "Subject",
    "as_subject",
    "diagnose",
]
