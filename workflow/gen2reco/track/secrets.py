"""Nothing secret leaves: credentials are struck out of all text that is spooled, shown, replayed or exported."""

import os
import re

_SECRET_NAME = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")
STRUCK = "***"


def scrub(text: str) -> str:
    """The text without `user:password@` of addresses and without the values of secret environment variables."""
    text = _USER_INFO.sub(f"{STRUCK}@", text)
    for name, value in os.environ.items():
        if len(value) >= 6 and value in text and _SECRET_NAME.search(name):
            text = text.replace(value, STRUCK)
    return text
