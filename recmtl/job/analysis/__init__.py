"""What results.json says beside verdicts: importance of features, slices, and drift of the data."""
