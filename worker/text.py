"""Text that others wrote, made fit to show."""


def printable(text: str) -> str:
    """`text` with `?` for each character that could steer a terminal, line breaks included."""
    return "".join(char if char.isprintable() else "?" for char in text)
