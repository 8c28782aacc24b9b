"""What users never touch; nothing here imports from the rest of the package."""
