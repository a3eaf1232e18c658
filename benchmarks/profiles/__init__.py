"""What profiles are worth: on steps they have not seen, when they are wrong, and when nobody could measure one."""
