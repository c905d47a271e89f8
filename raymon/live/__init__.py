"""From the nodes' metrics pages to views and verdicts, while somebody looks; imports no torch and no ray."""
