"""From the nodes' metrics pages to views and verdicts, while a viewer is open; imports neither torch nor ray."""
