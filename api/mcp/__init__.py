"""The door for assistants: the jobs as tools, resources and tasks of the Model Context Protocol."""
