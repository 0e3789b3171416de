"""The five stories of docs/claims.md, one file each: claim, theory, measurement, diagnosis."""
