"""The lab: stress and replay driven from Python, on Rust loops that release the GIL."""
