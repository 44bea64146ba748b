"""The book: notebooks, tutorials and helpers as one site of pages that needs no server and no network."""
