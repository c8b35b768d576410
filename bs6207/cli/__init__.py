"""What people type and see: commands, options, tables, progress."""
