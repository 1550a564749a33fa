"""What people see: templates, texts, branding and the policy they are served under. Nothing here decides anything."""
