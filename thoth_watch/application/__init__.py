"""What the program does, in terms of ports: look at the inbox, transcribe a batch. Imports the domain only."""
