"""What everything stands on: libcrypto, atomics, buffers, queues, timers, mailboxes, counters."""
