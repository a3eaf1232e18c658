"""What profiles are worth when they are wrong, and when nobody could measure one."""
