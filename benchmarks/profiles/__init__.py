"""How well profiles of real engines predict steps that they have not seen."""
