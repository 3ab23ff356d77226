"""To come."""

def run(report, bed, arguments):
    """Nothing."""
