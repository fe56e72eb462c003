"""Views: from a board and an address to what a page shows, as plain data, without a browser."""
