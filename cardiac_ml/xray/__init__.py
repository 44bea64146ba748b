"""A box around the heart on a chest X-ray."""
