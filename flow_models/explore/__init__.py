"""The explorer: a local page on a trained model, in Streamlit.

`opened` and the modules below it compute, `app` and the `..._page` modules show, `server` serves on
loopback alone.
"""
