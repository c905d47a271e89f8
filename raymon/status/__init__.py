"""Looking at a run: scrape, judge, show. Runs when someone looks; imports no torch, no ray."""
