"""Numbers to judgement: score, verification, verdict. Pure."""
