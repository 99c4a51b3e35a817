"""What a message, a connection and a link cost, and that it stays the same however many there are. See README.md."""
