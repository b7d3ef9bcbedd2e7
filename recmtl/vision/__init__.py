"""Everything about images: data, networks, metrics, and the study on them."""
