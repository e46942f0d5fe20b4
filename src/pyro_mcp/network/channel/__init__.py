"""How the two processes of a gateway talk."""
