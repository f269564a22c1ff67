"""Who is let in, what they may do, how much of it, and the record of what they did."""
