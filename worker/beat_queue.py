"""When more runs wait than workers get to (pure)."""

QUEUE_FLOOR = 1000  # messages; a queue shorter than this is never too long


def is_too_long(messages: int, entries: int, was_too_long: bool) -> bool:
    """Whether more messages wait than workers get to; expired ones stay in Redis until a worker meets them.

    The queue is short again at half of that, so that the answer does not change with each message.
    """
    limit = max(3 * entries, QUEUE_FLOOR)
    return messages > (limit / 2 if was_too_long else limit)
