"""`kizu up`: start, watch and stop every process of an embedded installation. Standard library only, to stay small."""
