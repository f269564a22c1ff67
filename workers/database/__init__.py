"""Looking through a database for what is wrong with it, and putting it right without losing anything."""
