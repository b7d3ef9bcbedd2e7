"""How `describe` drafts a schema: sample, profiles, rules of placing, check against the rows."""
