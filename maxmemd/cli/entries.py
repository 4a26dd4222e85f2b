"""The newest entries of a domain's history, page after page."""

from maxmemd.cli.invocation import Invocation, quoted
from maxmemd.rest.reply import Answer, Body


def newest_entries(call: Invocation, ref: str, want: int, *, page: int) -> Answer:
    """Return a reply with the newest `want` entries, or the refusal of one of its pages.

    `page` is how many are asked for at once. A page may have fewer, as its bytes are bounded.
    """
    entries: list[Body] = []
    query = f"limit={min(want, page)}"
    while True:
        answer = call.read(f"domains/{quoted(ref)}/history?{query}")
        if answer.status != 200:
            return answer
        entries += answer.body["entries"]
        more = answer.body.get("next_before")
        if more is None or len(entries) >= want or not answer.body["entries"]:
            return Answer(200, {"entries": entries, "next_before": more})
        query = f"limit={min(want - len(entries), page)}&before={more}"
