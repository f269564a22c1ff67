"""Who may come in: the keys and tokens that requests bring, and what they are told without one."""
