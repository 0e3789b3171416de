"""The parts of a run's page, one file each: a function from RunContents to a Section."""
