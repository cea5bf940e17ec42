"""What a learner runs: the command line; later the exercise runner and the grader."""
