"""One file per row of the fault catalogue: from measurements to a finding."""
