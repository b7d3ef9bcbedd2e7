"""Settings tried on validation rows: drawn, trained, halved, and the best of them proven again."""
