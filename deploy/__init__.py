"""How Backline runs on one machine: servers, workers and front door as processes that are watched over."""
