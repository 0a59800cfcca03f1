"""The verdict table of a report, read from its HTML, and what it should hold by metrics.json."""

from collections import Counter
from html.parser import HTMLParser

TOPICS = {
    "Classifier": ("auc_",),
    "Distributions": ("w1_",),
    "Profiles": ("profile_",),
    "Mean": ("mean_", "shift_response"),
    "Resolution": ("shift_resolution",),
    "Rates": ("shift_",),
}
"""Columns: metrics by the start of their names, the first that fits."""
ORDER = ("pass", "attention", "fail")


class _Cells(HTMLParser):
    """Rows of the table of class `verdict`: each cell as [class, title, text]."""

    def __init__(self, html: str):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "table":
            self.inside = attrs.get("class") == "verdict"
        elif self.inside and tag == "tr":
            self.rows.append([])
        elif self.inside and tag in ("td", "th"):
            self.rows[-1].append([attrs.get("class", ""), attrs.get("title", ""), ""])

    def handle_data(self, data):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1][2] += data.strip()


def shown(html: str) -> Counter:
    """(candidate, topic, colour, title) of every cell that is not empty; the title names metric, verdict and reason."""
    head, *rows = _Cells(html).rows
    assert [cell[2] for cell in head] == ["Stage", "Part", "Candidate", *TOPICS]
    return Counter(
        (row[2][2], topic, colour, title)
        for row in rows
        for topic, (colour, title, _) in zip(TOPICS, row[3:], strict=True)
        if colour != "empty"
    )


def expected(metrics: list[dict]) -> Counter:
    """The same from metrics.json: of each part and kind the gravest headline, of those the farthest from its limit."""
    groups: dict[tuple, list[dict]] = {}
    for m in metrics:
        part, _, short = m["name"].partition("/")
        topic = next((topic for topic, starts in TOPICS.items() if short.startswith(starts)), None)
        if m["headline"] and m["verdict"] and topic and len(m["samples"]) == 2:
            groups.setdefault((m["samples"][1], topic, m["stage"], part), []).append(m)
    found = Counter()
    for (candidate, topic, *_), own in groups.items():
        m = max(own, key=lambda m: (ORDER.index(m["verdict"]), _excess(m)))
        found[candidate, topic, m["verdict"], f"{m['title']}: {m['verdict']}, {m['reason']}; n = {m['n']}"] += 1
    return found


def _excess(m: dict) -> float:
    limit = m["limits"][0] if m["limits"] and m["limits"][0] > 0 else 1.0
    return (abs(m["value"]) - (m["floor"] or 0.0)) / limit
