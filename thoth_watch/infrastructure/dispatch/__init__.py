"""Where claimed batches are carried out."""
