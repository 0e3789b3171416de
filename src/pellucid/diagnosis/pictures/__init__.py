"""Pictures of evidence: each draws what a diagnosis has measured already, and measures little."""
