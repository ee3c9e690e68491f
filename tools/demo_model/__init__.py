"""How the bundled demo model was made: provenance, one stage per module (see README.md)."""
