"""What several endpoints share: rules and store brought together, each use case in one function."""
