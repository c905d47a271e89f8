"""Markup, charts and style of everything raymon draws as HTML: page and reports. Makes strings, no Streamlit."""
