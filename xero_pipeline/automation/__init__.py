"""The job, the schedule and the sensors that start runs, and the alerts that people get."""
