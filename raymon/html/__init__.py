"""Markup, charts and style of everything raymon draws as HTML: the page and the reports. Makes strings, no Streamlit."""
