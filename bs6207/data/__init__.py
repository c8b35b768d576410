"""Images, where they come from, and how they are blurred and dealt out."""
