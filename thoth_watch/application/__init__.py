"""The use cases, written against ports: scan the inbox, transcribe a batch, publish. Imports the domain only."""
