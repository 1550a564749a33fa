"""The pages that people see: their endpoints, templates, texts, branding and content security policy. Rules are in `flows` and `oauth`."""
