"""Models of images and texts by two towers, which name classes without training."""
