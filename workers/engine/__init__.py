"""The job engine: plan, run, finish, reap and tick, generic over the kinds of job."""
