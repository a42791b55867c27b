"""When a trial is stopped: one file for each rule."""
