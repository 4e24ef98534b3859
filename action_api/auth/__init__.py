"""Who is asking: passwords, second factors, sessions, form tokens."""
