"""Sessions over flows: resumption, candidates, timers."""
