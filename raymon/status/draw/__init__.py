"""Drawing of the status page: views and verdicts in, HTML and SVG out; pure functions, no Streamlit, no I/O."""
