"""The status page: a Streamlit server and the sections of the page."""
