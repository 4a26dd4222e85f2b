"""Bodies of requests, replies and problems: `from maxmemd.wire import replies, requests`."""
