"""What docs/why-one-arbiter.md says of each model, in the order of the table's columns."""

EXPECTED = {
    "arbiter": "yes yes yes yes yes yes",
    "recompute": "yes yes no no no no",
    "recompute-lock": "yes yes yes no crash yes",
    "recompute-two": "no yes no no no no",
    "recompute-two-lock": "no yes no no no no",
    "modify": "no no no no no no",
    "modify-lock": "no no no no no no",
    "add": "crash crash yes no no no",
    "parts": "yes yes yes no yes no",
}
