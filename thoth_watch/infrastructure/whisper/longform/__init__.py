"""Cut recordings of any length into windows, and follow each recording through them."""
