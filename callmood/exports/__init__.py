"""Turns and escalations in the formats of other programs, and copies of the database for them to open."""
